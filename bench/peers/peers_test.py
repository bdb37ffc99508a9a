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


class Work(unittest.TestCase):
    def test_operations_and_bytes(self):
        row = operators.recurrence("gated_delta_rule", 256, 8, 128)
        self.assertEqual(operators.operations(row), 7 * 256 * 8 * 128 * 128)
        x = operators.inputs(row)
        self.assertEqual(operators.bytes_of(row, x),
                         4 * (4 * 256 * 8 * 128 + 2 * 256 * 8 + 2 * 8 * 128 * 128))
        self.assertEqual(operators.operations(operators.softmax(4, 4, 2, 1, 8, True)),
                         4 * 2 * 10 * 8)

    def test_names_differ(self):
        names = [row.name for row in operators.all_rows()]
        self.assertEqual(len(names), len(set(names)))


class Side:
    """A side that answers with the reference, times `factor`."""

    def __init__(self, name, factor=1.0, offers=True):
        self.name, self.factor, self.offered = name, factor, offers

    def offers(self, row):
        return self.offered

    def open(self, row, x, threads):
        if self.factor == 0:
            raise libraries.Refused("no such shape")
        expected = operators.reference(row, x)
        call = mock.Mock(spec=["plan", "block", "result", "explain"])
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
