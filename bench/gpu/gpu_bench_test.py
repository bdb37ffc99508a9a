# SPDX-License-Identifier: Apache-2.0
"""python3 -m unittest discover -s bench/gpu -p '*_test.py'; needs no GPU, no build, no PyTorch."""
import argparse
import contextlib
import ctypes
import importlib.util
import io
import math
import pathlib
import re
import unittest
from unittest import mock

import accuracy
import buffers
import library
import measure
import page
import rows
import run
import torch_peers
import work
from gpu_timer import GpuTimer


def small(group="some", **fields):
    return rows.row(group, "row", **{"B": 2, "T": 12, "H": 4, "HK": 2, "D": 8, **fields})


def seen(case, i, j, queries, keys):
    """Whether query i sees key j, as the words say."""
    place = i + keys - queries
    near = not case["window"] or place - j < case["window"] or j < case["sinks"]
    return (near and (j <= place or not work.is_causal(case))
            and (case["functor"] != "sparse" or (i + j) % 16 != 0))


MASKS = [{}, {"causal": True}, {"T": 5, "S": 12, "causal": True}, {"causal": True, "window": 3},
         {"causal": True, "window": 3, "sinks": 2}, {"causal": True, "window": 40, "sinks": 2},
         {"functor": "sparse", "T": 40, "S": 37}, {"functor": "causal"},
         {"lengths": [3, 8, 1], "B": 3, "causal": True}]


class Rows(unittest.TestCase):
    def test_names_differ_and_begin_with_the_group(self):
        names = [case["name"] for case in rows.all_rows()]
        self.assertEqual(len(names), len(set(names)))
        for case in rows.all_rows():
            self.assertTrue(case["name"].startswith(case["group"] + "/"))
            self.assertTrue(case["name"].endswith(case["dtype"]))
            self.assertLessEqual(set(case["against"]), set(torch_peers.NAMES))
            self.assertIn(case["functor"], library.FUNCTORS)
            self.assertIn(case["group"], page.GROUPS)

    def test_what_must_be_there(self):
        every = rows.all_rows()
        forward = [r for r in every if r["group"] == "forward"]
        for d in (64, 128, 256):
            for causal in (False, True):
                lengths = {r["T"] for r in forward if r["dtype"] == "bf16"
                           and (r["D"], r["causal"]) == (d, causal)}
                self.assertEqual(lengths, {512, 1024, 2048, 4096, 8192, 16384})
        for case in forward:
            self.assertEqual(case["B"] * case["T"], 16384)
            self.assertEqual(case["H"], 2048 // case["D"])
        self.assertEqual({(r["D"], r["V"]) for r in forward if r["D"] % 64 or r["D"] == 192},
                         {(96, 96), (192, 192), (192, 128)})
        window = [r for r in every if r["group"] == "window"]
        self.assertEqual([(r["B"], r["H"], r["T"], r["D"], r["window"]) for r in window],
                         [(2, 16, 8192, 128, 1024), (2, 16, 8192, 64, 1024)])
        self.assertTrue(all("flex" in r["against"] for r in window))
        for group, dims in (("softcap", {64, 128, 256}), ("alibi", {64, 128, 256}),
                            ("sink_logits", {64, 128, 256}), ("sinks", {64, 128, 256})):
            self.assertEqual({r["D"] for r in every if r["group"] == group}, dims)
        self.assertEqual({r["functor"] for r in every if r["group"] == "functor"},
                         {"softcap", "fast_softcap", "sparse", "causal"})
        self.assertTrue(all(sum(r["lengths"]) == 16384 for r in every if r["group"] == "varlen"))

    def test_chosen(self):
        every = rows.all_rows()
        self.assertEqual(len(rows.chosen(every)), len(every))
        quick = rows.chosen(every, quick=True)
        self.assertLess(len(quick), len(every) / 2)
        self.assertEqual({r["group"] for r in every}, {r["group"] for r in quick})
        self.assertFalse(any("quick" in r for r in quick))
        picked = rows.chosen(every, pattern=re.compile("^window/.*D:64/"), without=["flex"])
        self.assertEqual([r["against"] for r in picked], [["varlen_attn"]])
        self.assertIn("flex", next(r for r in every if r["group"] == "window")["against"])

    def test_plain_rows(self):
        self.assertIsNone(rows.plain_of(rows.forward(64, True, 512)))
        for case in rows.all_rows():
            plain = rows.plain_of(case)
            if plain is None:
                self.assertNotIn(case["group"], rows.PLAIN)
                continue
            for name, value in rows.ABSENT.items():
                if name not in ("causal", "dtype", "against"):
                    self.assertEqual(plain[name], value)
            self.assertNotIn("lengths", plain)
            if case["group"] == "varlen":
                pairs = work.visible_pairs(plain) / work.visible_pairs(case)
                self.assertAlmostEqual(pairs, 1, delta=0.02)
            else:
                self.assertEqual([plain[n] for n in ("B", "T", "S", "H", "HK", "D", "V")],
                                 [case[n] for n in ("B", "T", "S", "H", "HK", "D", "V")])
                self.assertEqual(plain["causal"], work.is_causal(case))


class Work(unittest.TestCase):
    def test_visible_pairs(self):
        for fields in MASKS:
            case = small(**fields)
            pairs = sum(seen(case, i, j, t, s) for _, _, t, _, s in work.sequences(case)
                        for i in range(t) for j in range(s))
            self.assertEqual(work.visible_pairs(case), case["H"] * pairs, fields)

    def test_operations(self):
        self.assertEqual(work.operations(small()), 2 * 16 * 2 * 4 * 144)
        self.assertEqual(work.operations(small(causal=True)), 2 * 16 * 2 * 4 * 72)
        self.assertEqual(work.operations(small(V=24)), 2 * 32 * 2 * 4 * 144)
        windowed = small(causal=True, window=3)
        self.assertEqual(work.operations(windowed), 2 * 16 * 2 * 4 * (1 + 2 + 10 * 3))
        self.assertEqual(work.operations(small(functor="causal")), 2 * 16 * 2 * 4 * 78)
        packed = small(B=2, lengths=[8, 4], causal=True)
        self.assertEqual(work.operations(packed), 2 * 16 * 4 * (64 + 16) / 2)
        known = rows.forward(128, True, 8192)  # 4 B H T S D / 2
        self.assertEqual(work.operations(known), 2 * 2 * 16 * 8192 ** 2 * 128)

    def test_bytes(self):
        case = small(S=20, V=4)
        self.assertEqual(work.kv_bytes(case), 2 * 2 * 20 * 2 * (8 + 4))
        self.assertEqual(work.tensor_bytes(case), 2 * 2 * (8 + 4) * (12 * 4 + 20 * 2))
        self.assertEqual(work.tensor_bytes(small(lengths=[8, 4])), 2 * 16 * (12 * 4 + 12 * 2))

    def test_sets_pass_the_l2_twice(self):
        case = rows.forward(128, False, 512)
        l2 = 60 << 20
        self.assertGreater((buffers.sets_of(case, l2) - 1) * work.tensor_bytes(case), 2 * l2)
        self.assertEqual(buffers.sets_of({**case, "group": "launch"}, l2), 1)
        self.assertEqual(buffers.sets_of(small(), l2), buffers.MOST_SETS)


class Calls(unittest.TestCase):
    def test_fields(self):
        call = library.call_of(small(V=4, causal=True, window=3, sinks=2, functor="sparse"))
        self.assertEqual((call.B, call.T, call.S, call.H, call.HK, call.D, call.V),
                         (2, 12, 12, 4, 2, 8, 4))
        self.assertEqual((call.window_left, call.sink_tokens, call.functor), (2, 2, 3))
        self.assertEqual((call.bf16, call.causal, call.lse), (1, 1, None))
        call = library.call_of(small(dtype="f16", lengths=[3, 8, 1], B=3, softcap=3.0))
        self.assertEqual((call.window_left, call.bf16, call.max_q, call.max_k), (-1, 0, 8, 8))
        self.assertEqual((call.functor, call.softcap), (0, 3.0))

    def test_the_structure_is_that_of_the_header(self):
        """Order and kinds of members, read from the header: the library checks the size alone."""
        text = (pathlib.Path(__file__).parent / "seqmix_gpu.hpp").read_text()
        body = re.search(r"struct seqmix_gpu_call \{(.*?)\n\};", text, re.S).group(1)
        kinds = {"const void": ctypes.c_void_p, "void": ctypes.c_void_p, "float": ctypes.c_void_p,
                 "const float": ctypes.c_void_p, "const std::int32_t": ctypes.c_void_p,
                 "std::int64_t": ctypes.c_int64, "std::int32_t": ctypes.c_int32,
                 "double": ctypes.c_double}
        members = []
        for line in body.splitlines():
            line = line.split("//")[0].strip().rstrip(";")
            if line:
                kind, names = re.fullmatch(r"((?:const )?[\w:]+)\*? (.*)", line).groups()
                for name in names.split(", "):
                    name, array = name.lstrip("*"), name.endswith("[4]")
                    members.append((name.removesuffix("[4]"),
                                    ctypes.c_int64 * 4 if array else kinds[kind]))
        self.assertEqual(members, library.Call._fields_)
        functors = re.findall(r"  seqmix_gpu_(\w+?)_functor,|  seqmix_gpu_(no)_functor", text)
        self.assertEqual([a or b for a, b in functors], ["no", *library.FUNCTORS[1:]])

    def test_slopes(self):
        self.assertEqual(buffers.alibi_slopes(8), [2.0 ** -(h + 1) for h in range(8)])
        self.assertEqual(buffers.alibi_slopes(3), [2.0 ** -4, 2.0 ** -8, 2.0 ** -2])

    def test_a_library_that_is_none(self):
        with self.assertRaises(library.Failed):
            library.Library(pathlib.Path("/nowhere/lib.so"))


class Accuracy(unittest.TestCase):
    def test_complaints(self):
        self.assertIsNone(accuracy.complaint(small(), {"rms": 0.002, "worst_row": 0.003}))
        for error in ({"rms": 0.02, "worst_row": 0.02}, {"rms": 0.002, "worst_row": math.inf},
                      {"rms": math.nan, "worst_row": 0}):
            self.assertIn("wrong result", accuracy.complaint(small(), error))
        self.assertIsNotNone(accuracy.complaint(small(dtype="f16"),
                                                {"rms": 0.002, "worst_row": 0.003}))
        self.assertEqual(accuracy.lse_tolerance(small()), 1e-3)
        self.assertGreater(accuracy.lse_tolerance(small(softcap=3.0)), 3e-3)

    @unittest.skipUnless(importlib.util.find_spec("torch"), "no PyTorch")
    def test_the_reference_pair_by_pair(self):
        import torch
        scores = [{"softcap": 3.0}, {"alibi": True, "causal": True},
                  {"sink_logits": True, "causal": True}, {"V": 4}]
        for fields in MASKS + scores:
            case = small(**fields)
            generator = torch.Generator().manual_seed(1)
            b = buffers.Buffers(torch, case, generator)
            with mock.patch.object(accuracy, "SCORES", 50):
                result, sums = accuracy.reference(torch, case, b)
            for at, q0, t, k0, s in work.sequences(case):
                for h, i in ((0, 0), (3, t - 1), (2, t // 2)):
                    keys = [j for j in range(s) if seen(case, i, j, t, s)]
                    k, v = (x[at, k0:k0 + s, h // 2][keys].double() for x in (b.k, b.v))
                    score = k @ b.q[at, q0 + i, h].double() * case["D"] ** -0.5
                    if case["softcap"]:
                        score = 3 * torch.tanh(score / 3)
                    if case["alibi"]:
                        score -= b.slopes[h] * torch.tensor([abs(i - j) for j in keys])
                    every = score if b.logits is None else torch.cat([score, b.logits[h:h + 1]])
                    lse = torch.logsumexp(every, 0)
                    torch.testing.assert_close(sums[at, h, q0 + i], lse)
                    torch.testing.assert_close(result[at, q0 + i, h], torch.exp(score - lse) @ v)

    @unittest.skipUnless(importlib.util.find_spec("torch"), "no PyTorch")
    def test_errors(self):
        import torch
        expected = torch.tensor([[3.0, 4.0], [0.0, 1.0]], dtype=torch.float64)
        error = accuracy.error_of(expected, torch.tensor([[3.0, 4.0], [0.5, 1.0]]))
        self.assertEqual(error, {"rms": math.sqrt(0.25 / 26), "worst_row": 0.5, "max": 0.5})
        error = accuracy.error_of(expected, torch.tensor([[3.0, math.nan], [0.5, 1.0]]))
        self.assertEqual(set(error.values()), {math.inf})


class Peers(unittest.TestCase):
    def test_masks_of_flex(self):
        for fields in MASKS[:6]:
            case = small(**fields)
            mask = torch_peers.mask_mod(case)
            for i in range(case["T"]):
                for j in range(case["S"]):
                    self.assertEqual(mask is None or mask(0, 0, i, j),
                                     seen(case, i, j, case["T"], case["S"]), (fields, i, j))

    def test_scores_of_flex(self):
        torch = mock.Mock(tanh=math.tanh)
        self.assertIsNone(torch_peers.score_mod(torch, small(), None))
        capped = torch_peers.score_mod(torch, small(softcap=3.0), None)
        self.assertEqual(capped(2.0, 0, 0, 0, 0), 3 * math.tanh(2 / 3))

    def test_titles(self):
        packed = small(lengths=[8, 4])
        self.assertEqual([torch_peers.title(case, name) for case, name in
                          ((small(), "flash"), (packed, "flash"), (packed, "varlen_attn"))],
                         ["flash", "flash, one by one", "varlen_attn"])

    def test_refusals(self):
        notes = [argparse.Namespace(message="Flash attention is not used because:"),
                 argparse.Namespace(message="head_dim is odd (Triggered internally at x.cpp:1)")]
        self.assertEqual(torch_peers.refusal(RuntimeError("No available kernel."), notes),
                         "head_dim is odd")
        self.assertEqual(torch_peers.refusal(ValueError(), []), "ValueError")

    def test_a_peer_that_fails_is_a_line(self):
        ours = mock.Mock(case=small(), buffers=[None])
        with mock.patch("torch_peers.open_peer", side_effect=AssertionError("no compiler")):
            self.assertEqual(measure.measure_peer("flex", ours, None, None),
                             ({"refused": "no compiler"}, []))


class Measure(unittest.TestCase):
    def test_of_plain_is_a_ratio_of_rates(self):
        ours = mock.Mock(case=small(causal=True, window=3, group="window"))
        timer = mock.Mock(**{"pair.return_value": (([1.0, 1.0], [2.0, 3.0]), [2.0, 3.0])})
        checked = set()
        with mock.patch("measure.Side") as side:
            result, mine = measure.measure_plain(ours, 0, timer, checked)
            measure.measure_plain(ours, 0, timer, checked)
        self.assertEqual(side.return_value.check.call_count, 1)
        self.assertEqual(mine, [1.0, 1.0])
        self.assertAlmostEqual(result["plain"]["ratio"]["median"], 2.5 * 33 / 78)
        self.assertEqual(result["plain"]["seconds"]["median"], 2.5)
        self.assertEqual(measure.measure_plain(mock.Mock(case=small()), 0, timer, set()), ({}, []))

    def test_a_wrong_plain_row_is_told(self):
        ours = mock.Mock(case=small(group="softcap", softcap=3.0))
        with mock.patch("measure.Side") as side:
            side.return_value.check.side_effect = measure.WrongRow("wrong result")
            with self.assertRaisesRegex(measure.WrongRow, "^plain/.*: wrong result"):
                measure.measure_plain(ours, 0, None, set())

    def test_pairs_alternate(self):
        calls = []
        timer = GpuTimer(None, 7)
        with mock.patch.object(timer, "plan", side_effect=lambda call: call), \
                mock.patch.object(timer, "block", side_effect=lambda call, plan:
                                  calls.append(call) or {"a": 2.0, "b": 3.0}[call]):
            times, ratios = timer.pair("a", "b")
        self.assertEqual("".join(calls), "abbaabbaabbaab")
        self.assertEqual((times, ratios), (([2.0] * 7, [3.0] * 7), [1.5] * 7))


class Run(unittest.TestCase):
    def measured(self, measure_one, expired=lambda: False):
        document = {"rows": []}
        saved = []
        works = run.measure_all([{"name": n} for n in "abc"], measure_one, document,
                                lambda number: saved.append((number, len(document["rows"]))),
                                expired)
        return works, document, saved

    def test_all_rows(self):
        works, document, saved = self.measured(lambda case: case)
        self.assertTrue(works)
        self.assertEqual(document, {"rows": [{"name": n} for n in "abc"], "left_out": []})
        self.assertEqual(saved, [(1, 1), (2, 2), (3, 3)])

    def test_time_is_up(self):
        over = iter([False, True])
        works, document, saved = self.measured(lambda case: case, lambda: next(over))
        self.assertTrue(works)
        self.assertEqual(([r["name"] for r in document["rows"]], document["left_out"], len(saved)),
                         (["a"], ["b", "c"], 1))

    def test_wrong_rows_go_on_and_a_broken_gpu_does_not(self):
        def measure_one(case):
            raise {"a": measure.WrongRow, "b": library.Failed, "c": RuntimeError}[case["name"]](
                "why\nwhere")
        works, document, saved = self.measured(measure_one)
        self.assertFalse(works)
        self.assertEqual([r["error"] for r in document["rows"]], ["why\nwhere"] * 2 + ["why"])
        works, document, saved = self.measured(mock.Mock(side_effect=RuntimeError("x")))
        self.assertEqual((len(document["rows"]), document["left_out"]), (1, ["b", "c"]))

    def test_options(self):
        self.assertEqual(run.parse([]).rounds, 9)
        quick = run.parse(["--quick", "--time-limit", "90", "--without", "flex"])
        self.assertEqual((quick.rounds, quick.time_limit, quick.without), (7, 90.0, ["flex"]))
        with contextlib.redirect_stderr(io.StringIO()) as told, self.assertRaises(SystemExit):
            run.parse(["--rounds", "6"])
        self.assertIn("at least 7", told.getvalue())

    def test_list_needs_nothing(self):
        with mock.patch("sys.argv", ["run.py", "--list", "--filter", "^varlen/"]), \
                contextlib.redirect_stdout(io.StringIO()) as out:
            self.assertEqual(run.main(), 0)
        self.assertEqual(len(out.getvalue().split()), 4)


if __name__ == "__main__":
    unittest.main()
