# SPDX-License-Identifier: Apache-2.0
"""The page of a result file, run with the other tests of this folder."""
import copy
import json
import pathlib
import re
import tempfile
import unittest
from unittest import mock

import page
import rows
from page_text import NotThatFile

RESULTS = pathlib.Path(__file__).resolve().parents[1] / "results"
SUMMARY = {"median": 1e-3, "p25": 0.9e-3, "p75": 1.1e-3}
RATIO = {"median": 1.02, "p25": 1.01, "p75": 1.03}
ERROR = {"rms": 2e-3, "worst_row": 3e-3, "max": 4e-3}
REFUSED = {"refused": "no such head_dim"}


def result(case, **fields):
    peer = {"first_call_seconds": 7.0, "error": {**ERROR, "rms": 1e-3}, "seqmix_seconds": SUMMARY,
            "seconds": SUMMARY, "ratio": RATIO}
    mine = {**case, "flop": 4e11, "pairs": 1000, "kv_bytes": 4e9, "first_call_seconds": 0.01,
            "report": "", "error_seqmix": {**ERROR, "lse": 1e-6}, "seconds": SUMMARY,
            "peers": {name: copy.deepcopy(peer) for name in case["against"]}, **fields}
    if case["group"] in rows.PLAIN:
        mine["plain"] = {"name": "plain/x", "ratio": RATIO, "seconds": SUMMARY}
    if case["group"] == "launch":
        mine |= {"host_seconds": SUMMARY, "host_seconds_inside": SUMMARY}
        for entry in mine["peers"].values():
            entry["host_seconds"] = SUMMARY
    return mine


class Page(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def page(self, results, **more):
        ceiling = {"gemm_tflops": 800.0, "copy_gbps": 4000.0}
        path = self.folder / "x.json"
        path.write_text(json.dumps({
            "context": {"gpu": "A GPU", "command": "bench/gpu/run.py", "rounds": 9},
            "ceilings": {"before": ceiling, "after": ceiling}, "rows": results, **more}))
        return page.write(path).read_text()

    def test_all_rows(self):
        with mock.patch("gpu_plots.pyplot", return_value=None):
            text = self.page([result(case) for case in rows.chosen(rows.all_rows())])
        for group in page.GROUPS:
            self.assertIn(f"\n## {group}\n", text)
        self.assertIn("| D128 T8192 bf16 causal | 1000 us | 400 | 0.50 | 400 | "
                      "**1.02** (1.01 to 1.03) |", text)
        self.assertIn("| D128 T8192 W1024 bf16 causal | 1000 us | 400 | 0.50 | "
                      "**1.02** (1.01 to 1.03) | 400 |", text)
        self.assertIn("| D128 T8192 sparse bf16 |", text)
        self.assertIn("| shape | time | seqmix TFLOP/s | of GEMM | of dense | varlen_attn |", text)
        self.assertIn("| shape | time | seqmix GB/s | of copy | cudnn |", text)
        self.assertIn("2.00e-03, 3.00e-03, 4.00e-03 | 1.0e-06 | 2.000 (!) |", text)
        self.assertIn("* longest first call, not in the times: seqmix 10 ms, cudnn 7 s", text)
        self.assertNotIn(".svg", text)

    def test_plots(self):
        if page.gpu_plots.pyplot() is None:
            self.skipTest("no matplotlib")
        some = rows.chosen(rows.all_rows(), pattern=re.compile("^(forward|window|decode)/.*D:128"))
        plots = re.findall(r"\]\(x_(.*)\.svg\)", self.page([result(case) for case in some]))
        self.assertEqual(plots, ["of_plain", "forward_d128_ratio", "forward_d128_full",
                                 "forward_d128_causal", "decode"])
        for name in plots:
            self.assertTrue((self.folder / f"x_{name}.svg").exists(), name)

    def test_what_is_not_measured(self):
        window, softcap = (next(r for r in rows.chosen(rows.all_rows()) if r["group"] == group)
                           for group in ("window", "softcap"))
        text = self.page([result(window, peers={"flex": REFUSED}),
                          {**softcap, "error": "wrong result: off"}], left_out=["alibi/x", "y"])
        self.assertIn("| refused |", text)
        self.assertIn("* flex: no such head_dim (D128 T8192 W1024 bf16 causal)", text)
        self.assertIn("| ERROR: wrong result: off |", text)
        self.assertIn("Not measured, as time was up: 2 rows, from `alibi/x` on.", text)

    def test_older_files(self):
        older = self.folder / "nvidia_h200.json"
        older.write_text((RESULTS / "nvidia_h200.json").read_text())
        with mock.patch("gpu_plots.pyplot", return_value=None):
            self.assertIn("\n## launch\n", page.write(older).read_text())

    def test_other_files(self):
        path = self.folder / "x.json"
        for text, why in (("{", "not JSON"), ("[]", "not written by run.py"),
                          ("{}", "not written by run.py")):
            path.write_text(text)
            with self.assertRaisesRegex(NotThatFile, why):
                page.write(path)


if __name__ == "__main__":
    unittest.main()
