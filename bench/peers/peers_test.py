# SPDX-License-Identifier: Apache-2.0
"""python3 -m unittest discover -s bench/peers -p '*_test.py'; needs NumPy, no peer and no build."""
import argparse
import math
import pathlib
import unittest
from unittest import mock

import numpy as np

import libraries
import openblas
import operators
import run
import torch_cpu
from timing import Timer


class References(unittest.TestCase):
    def test_two_tokens_of_one_channel_by_hand(self):
        row = operators.recurrence("kda", 2, 1, 1)
        x = {"q": [2, 3], "k": [1, 2], "v": [5, 7], "g": [math.log(0.5), math.log(0.25)],
             "beta": [0.5, 1]}
        x = {name: np.array(value, float).reshape(2, 1, 1) for name, value in x.items()}
        x["beta"] = x["beta"].reshape(2, 1)
        x["state"] = np.full((1, 1, 1), 4.0)
        # 4 / 2 = 2, + 0.5 (5 - 2) = 3.5; 3.5 / 4 = 0.875, + 2 (7 - 2 * 0.875) = 11.375.
        expected = operators.reference(row, x)
        np.testing.assert_allclose(expected.output[:, 0, 0], [2 * 3.5, 3 * 11.375])
        np.testing.assert_allclose(expected.state, [[[11.375]]])

    def test_one_is_another_with_the_gates_of_it(self):
        row = lambda operator: operators.recurrence(operator, 9, 2, 5)
        x = operators.inputs(row("rwkv7"))
        still = {**x, "a": np.zeros_like(x["a"])}
        scale = 5 ** -0.5  # rwkv7 has none
        self.same(operators.reference(row("gated_linear_attention"), x),
                  operators.reference(row("rwkv7"), still), scale)
        # kk = k of norm 1 at the rates beta, before a decay of none, is the delta rule.
        x["k"] = x["kk"]
        beta = np.full((9, 2), 0.5)
        x["a"] = np.full_like(x["a"], 0.5)
        x["g"] = np.zeros_like(x["g"])
        halved = {**x, "v": 0.5 * x["v"]}
        self.same(operators.reference(row("kda"), {**x, "beta": beta}),
                  operators.reference(row("rwkv7"), halved), scale)
        self.same(operators.reference(row("linear_attention"), x),
                  operators.reference(row("gated_linear_attention"), x), 1)

    def same(self, a, b, scale):
        np.testing.assert_allclose(a.output, scale * b.output, rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(a.state, b.state, rtol=1e-6, atol=1e-9)

    def test_scans(self):
        row = operators.scan("causal_conv1d", 3, 1, 2)
        x = {"x": np.array([1.0, 2, 4]).reshape(3, 1, 1), "weight": np.array([[10.0, 1]])}
        np.testing.assert_allclose(operators.reference(row, x).output[:, 0, 0], [1, 12, 24])
        # With rates that do not differ within a channel, one is the other with channels as heads.
        per_state = operators.scan("selective_scan", 5, 3, 4)
        x = operators.inputs(per_state)
        x["a"] = np.repeat(x["a"][:, :1], 4, axis=1)
        of_heads = {**x, "a": x["a"][:, 0]}
        self.same(operators.reference(per_state, x),
                  operators.reference(operators.scan("ssd", 5, 3, 4), of_heads), 1)

    def test_a_scan_of_one_channel_by_hand(self):
        row = operators.scan("ssd", 2, 1, 1)
        step = math.log(2)  # softplus(0)
        x = {"x": np.array([3.0, 5]).reshape(2, 1, 1), "dt": np.zeros((2, 1)),
             "a": np.array([-1.0]), "B": np.array([[1.0], [2]]), "C": np.array([[1.0], [10]]),
             "state": np.full((1, 1, 1), 4.0)}
        first = 4 / 2 + 3 * step
        second = first / 2 + 2 * 5 * step
        expected = operators.reference(row, x)
        np.testing.assert_allclose(expected.output[:, 0, 0], [first, 10 * second])
        np.testing.assert_allclose(expected.state, [[[second]]])

    def test_softmax(self):
        row = operators.softmax(3, 3, 2, 1, 4, True)
        x = operators.inputs(row)
        expected = operators.reference(row, x)
        np.testing.assert_allclose(expected.output[0], np.repeat(x["v"][0], 2, axis=0), rtol=1e-6)
        weights = np.exp(0.5 * x["q"][2, 1].astype(float) @ x["k"][:, 0].T.astype(float))
        np.testing.assert_allclose(expected.output[2, 1], weights / weights.sum() @ x["v"][:, 0],
                                   rtol=1e-6)

    def test_softmax_of_rounded_inputs(self):
        """Types change a result by what they round, and not by more."""
        of = lambda types: operators.softmax(6, 6, 2, 1, 32, True, types)
        exact = operators.reference(of("f32"), operators.inputs(of("f32")))
        for types in operators.TYPES[1:]:
            expected = operators.reference(of(types), operators.inputs(of(types)))
            error = operators.error_of(expected.output, exact.output)
            self.assertGreater(error, 1e-4, types)
            self.assertLess(error, 2e-2, types)
            self.assertEqual(expected.tolerance, 8e-3 if types == "bf16" else 5e-5)

    def test_a_wrong_result_is_told(self):
        row = operators.recurrence("kda", 4, 1, 8)
        expected = operators.reference(row, operators.inputs(row))
        right = lambda: (expected.output.copy(), expected.state.copy())
        self.assertEqual(operators.complaint(expected, *right()), (0.0, None))
        for which in (0, 1):
            for value in (1e-3, math.nan, math.inf):
                result = right()
                result[which].flat[-1] += value * np.abs(result[which]).max()
                self.assertIn("wrong result", operators.complaint(expected, *result)[1])
        result = right()
        result[0].flat[-1] += 1e-3 * np.abs(result[0]).max()
        self.assertIsNone(operators.complaint(expected, *result, 1e-2)[1])


class Types(unittest.TestCase):
    def test_bf16(self):
        bits = lambda *words: np.array(words, np.uint32).view(np.float32)
        # Below a half, halves to even on both sides, above a half, and a carry into the exponent.
        x = bits(0x3f807fff, 0x3f808000, 0x3f818000, 0x3f808001, 0xbf818000, 0x3fffffff)
        self.assertEqual(operators.to_bf16(x).tolist(),
                         [0x3f80, 0x3f80, 0x3f82, 0x3f81, 0xbf82, 0x4000])
        # Zeros, infinities, the largest float and NaN, also one with low bits alone.
        x = bits(0x80000000, 0x7f800000, 0xff800000, 0x7f7fffff, 0x7fc00000, 0x7f800001, 0xffffffff)
        self.assertEqual(operators.to_bf16(x).tolist(),
                         [0x8000, 0x7f80, 0xff80, 0x7f80, 0x7fc0, 0x7fc0, 0xffff])
        every = np.arange(1 << 16, dtype=np.uint16)
        every = every[~np.isnan(operators.from_bf16(every))]
        np.testing.assert_array_equal(operators.to_bf16(operators.from_bf16(every)), every)

    def test_int8_rows(self):
        x = np.array([[[254, -1, 3, 5.2], [0, 0, 0, 0]], [[-127, 0.5, 1.5, 2.5], [1, 0, 0, -1]]],
                     np.float32)
        q, scale = operators.to_int8(x)
        self.assertEqual((q.dtype, scale.dtype), (np.int8, np.float32))
        np.testing.assert_array_equal(scale, np.array([[2, 0], [1, 1 / 127]], np.float32))
        np.testing.assert_array_equal(q, [[[127, 0, 2, 3], [0] * 4], [[-127, 0, 2, 2],
                                                                      [127, 0, 0, -127]]])
        doubles = operators.doubles({"k": q, "k_scale": scale})
        self.assertEqual(list(doubles), ["k"])
        np.testing.assert_array_equal(doubles["k"][0, 0], [254, 0, 4, 6])

    def test_blocks_of_ggml(self):
        x = np.zeros((2, 3, 64), np.float32)
        x[1, 2, :32] = np.arange(-15, 17) * (127 / 16)
        x[1, 2, 32:] = 254
        blocks = libraries.to_q8_0(x)
        self.assertEqual((blocks.shape, blocks.dtype), ((2, 3, 68), np.uint8))
        self.assertFalse(blocks[0].any())
        first, second = blocks[1, 2, :34], blocks[1, 2, 34:]
        self.assertEqual(first[:2].tolist() + second[:2].tolist(), [0, 0x3c, 0, 0x40])  # 1, 2
        np.testing.assert_array_equal(first[2:].view(np.int8), np.rint(x[1, 2, :32]))
        np.testing.assert_array_equal(second[2:].view(np.int8), [127] * 32)

    def test_inputs(self):
        for types, of_q, of_k in (("f32", np.float32, np.float32), ("bf16", np.uint16, np.uint16),
                                  ("f32_over_bf16", np.float32, np.uint16),
                                  ("f32_over_i8", np.float32, np.int8)):
            row = operators.softmax(5, 7, 4, 2, 32, False, types)
            x = operators.inputs(row)
            self.assertEqual([x[name].dtype for name in "qkv"], [of_q, of_k, of_k])
            self.assertEqual(sorted(x), sorted(operators.arguments(row)))
            self.assertEqual(np.isnan(operators.doubles({"o": libraries.poisoned(
                (2, 3), row.output_type)})["o"]).sum(), 6)

    def test_fields(self):
        row = operators.softmax(5, 7, 4, 2, 32, False, "f32_over_i8")
        call = libraries.fields(row, row.operator, [None], None, None, None, 1, "amx")
        self.assertEqual((call.types, call.implementation), (3, b"amx"))
        self.assertIsNone(libraries.fields(row, "", [], None, None, None, 1).implementation)

    def test_who_offers_what(self):
        sdpa = torch_cpu.Torch(None, "PyTorch SDPA")
        ggml = libraries.Ggml.__new__(libraries.Ggml)
        rows = [operators.softmax(5, 7, 4, 2, 32, False, types) for types in operators.TYPES]
        self.assertEqual([sdpa.offers(row) for row in rows], [True, True, False, False])
        self.assertEqual([ggml.offers(row) for row in rows], [True, False, True, True])


class Work(unittest.TestCase):
    def test_operations_and_bytes(self):
        row = operators.recurrence("gated_delta_rule", 256, 8, 128)
        self.assertEqual(operators.operations(row), 7 * 256 * 8 * 128 * 128)
        x = operators.inputs(row)
        self.assertEqual(operators.bytes_of(row, x),
                         4 * (4 * 256 * 8 * 128 + 2 * 256 * 8 + 2 * 8 * 128 * 128))
        self.assertEqual(operators.operations(operators.softmax(4, 4, 2, 1, 8, True)),
                         4 * 2 * 10 * 8)

    def test_bytes_of_types(self):
        sizes = {"f32": 4 * 3840, "bf16": 2 * 3840, "f32_over_bf16": 4 * 2560 + 2 * 1280,
                 "f32_over_i8": 4 * 2560 + 1280 + 4 * 2 * 20}
        for types, expected in sizes.items():  # q and output are of 1280 numbers, k and v of 640
            row = operators.softmax(10, 10, 4, 2, 32, False, types)
            self.assertEqual(operators.bytes_of(row, operators.inputs(row)), expected, types)

    def test_names_differ(self):
        names = [row.name for row in operators.all_rows()]
        self.assertEqual(len(names), len(set(names)))
        self.assertIn("kda/T:64/H:8/K:128/V:128/f32", names)
        first = "softmax_attention/T:2048/S:2048/H:8/HK:8/D:64/causal:1/"
        self.assertEqual([name[len(first):] for name in names if name.startswith(first)],
                         list(operators.TYPES))


class Side:
    """A side that answers with the reference, times `factor`."""

    def __init__(self, name, factor=1.0, offers=True, tolerance=None):
        self.name, self.factor, self.offered = name, factor, offers
        self.tolerance = tolerance

    def offers(self, row):
        return self.offered

    def open(self, row, x, threads):
        if self.factor == 0:
            raise libraries.Refused("no such shape")
        expected = operators.reference(row, x)
        call = mock.Mock(spec=["plan", "block", "result", "explain", "tolerance"])
        call.tolerance = self.tolerance
        call.result.return_value = (self.factor * expected.output, expected.state)
        call.explain.return_value = "an algorithm"
        return call

    def probes(self, threads):
        return {"fma": 1.0, "read": 1.0, "copy": 1.0}


class Runner(unittest.TestCase):
    def measured(self, ours, *peers, row=operators.recurrence("kda", 3, 1, 4), sgemm=None):
        return run.measure(row, 1, ours, peers, sgemm, Timer(2, 1e-6, 1, most_calls=3),
                           lambda peer: None)

    def test_a_right_row(self):
        result = self.measured(Side("seqmix"), Side("a"), Side("b", offers=False), Side("c", 0))
        self.assertEqual(list(result["peers"]), ["a", "c"])
        self.assertGreater(result["peers"]["a"]["ratio"]["median"], 0)
        self.assertEqual(result["peers"]["c"], {"refused": "no such shape"})
        self.assertIn("seconds", result)

    def test_a_wrong_row_has_no_speed(self):
        result = self.measured(Side("seqmix", 1.001), Side("a"))
        self.assertIn("wrong result", result["error"])
        self.assertNotIn("seconds", result)
        self.assertEqual(result["peers"], {})

    def test_a_wrong_peer_has_no_speed(self):
        result = self.measured(Side("seqmix"), Side("a", 0.999))
        self.assertEqual(list(result["peers"]["a"]), ["error"])
        self.assertIn("seconds", result)

    def test_a_peer_of_its_own_tolerance(self):
        result = self.measured(Side("seqmix"), Side("a", 0.999, tolerance=2e-3))
        self.assertIn("ratio", result["peers"]["a"])
        self.assertEqual(result["types"], "f32")

    def test_peers_that_are_not_installed(self):
        arguments = argparse.Namespace(ggml=None, without=[])
        with mock.patch.dict("sys.modules", {"torch": None}):
            found, missing = run.find_peers(arguments, pathlib.Path("/nowhere"))
        self.assertEqual(found, [])
        self.assertEqual([line.split(":")[0] for line in missing], ["ggml", "PyTorch"])
        self.assertTrue(all("skipped" in line for line in missing))

    def test_a_product_is_a_ceiling_of_attention(self):
        sgemm = mock.Mock(spec=["rate"])
        sgemm.rate.side_effect = [2.0, 4.0]
        attention = operators.softmax(3, 3, 2, 1, 4, True)
        result = self.measured(Side("seqmix"), row=attention, sgemm=sgemm)
        self.assertEqual(result["probes"]["sgemm"], [2.0, 4.0])
        expected = result["flop"] / result["seconds"]["median"] / 3
        self.assertIn(f"sgemm x{expected:.2f}", run.line_of(result))
        self.assertNotIn("sgemm", self.measured(Side("seqmix"), sgemm=sgemm)["probes"])

    def test_a_product_is_a_product(self):
        try:
            sgemm = openblas.Sgemm(size=33)
        except OSError as e:
            self.skipTest(str(e))
        self.assertGreater(sgemm.rate(1), 0)
        np.testing.assert_allclose(sgemm.c, sgemm.a @ sgemm.b, atol=1e-5)

    def test_commands_name_files_alone(self):
        self.assertEqual(run.shown(["--library=/a/b/c.so", "--ggml", "x/y.so", "--filter", "a/b"]),
                         ["--library=c.so", "--ggml", "y.so", "--filter", "a/b"])


if __name__ == "__main__":
    unittest.main()
