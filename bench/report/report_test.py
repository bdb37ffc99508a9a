# SPDX-License-Identifier: Apache-2.0
"""python3 -m unittest discover -s bench/report -p '*_test.py'"""
import copy
import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

HERE = pathlib.Path(__file__).resolve().parent
SUMMARY = {"median": 2e-3, "p25": 1.9e-3, "p75": 2.2e-3}
RATIO = {"median": 4.0, "p25": 3.9, "p75": 4.1}
PEERS = {
    "benchmark": "peers",
    "context": {"cpu": "A CPU", "isa": "avx2", "seqmix": "1.0", "command": "bench/peers/run.py",
                "rounds": 9},
    "missing": ["ggml: skipped, not built"],
    "rows": [
        {"name": "kda/T:256", "group": "recurrences", "operator": "kda", "threads": 1,
         "causal": False, "T": 256, "S": 256, "H": 8, "HK": 8, "K": 128, "V": 128, "flop": 2e8,
         "bytes": 1e6, "seconds": SUMMARY, "relative_error": 1e-6, "algorithm": "cpu recurrent",
         "probes": {"fma": [2e11, 2e11], "read": [2e10, 2e10], "copy": [1e10, 1.3e10]},
         "peers": {"PyTorch loop": {"relative_error": 2e-6, "seconds": {**SUMMARY, "median": 8e-3},
                                    "ratio": RATIO},
                   "ggml": {"error": "wrong result: off by 0.5"}}},
        {"name": "kda/T:1", "group": "recurrences", "operator": "kda", "threads": 1,
         "causal": False, "T": 1, "S": 1, "H": 8, "HK": 8, "K": 128, "V": 128, "flop": 1e6,
         "bytes": 1e6, "peers": {}, "error": "wrong result: off by 1"}]}
PROGRAMS = {
    "context": {"cpu": "A CPU", "isa": "avx2", "compiler": "c", "flags": "f", "seqmix": "1.0",
                "command": "bench_rope"},
    "benchmarks": [
        {"name": "rope/pairs/auto/T:64/H:2/D:32/f32/threads:1/real_time", "repetitions": 1,
         "real_time": 5.0, "time_unit": "us", "label": "cpu vector", "GFLOP/s": 3.0, "GB/s": 4.0,
         "of_fma": 0.1, "of_read": 0.5, "fma_GFLOP/s": 30.0, "read_GB/s": 8.0, "fma_spread": 0.2,
         "read_spread": 0.01},
        {"name": "rope/pairs/auto/T:65/H:2/D:32/f32/threads:1/real_time", "error_occurred": True,
         "error_message": "wrong result: off by 1"}]}


class Report(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def file(self, name, content):
        path = self.folder / name
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    def report(self, *words):
        return subprocess.run([sys.executable, HERE / "report.py", "--out", self.folder, *words],
                              capture_output=True, text=True)

    def page(self, *words):
        answer = self.report(*words)
        self.assertEqual(answer.returncode, 0, answer.stderr)
        return pathlib.Path(answer.stdout.strip()).read_text()

    def refusal(self, content):
        answer = self.report(self.file("x.json", content))
        self.assertEqual(answer.returncode, 1)
        self.assertEqual(answer.stdout, "")
        self.assertTrue(answer.stderr.startswith("report.py: "), answer.stderr)
        return answer.stderr

    def test_page_of_peers(self):
        page = self.page(self.file("p.json", PEERS))
        self.assertIn("| T256 H8 K128 | 2 ms | 100.0 | 0.50 | 0.50 | 0.04 | 30% | 8 ms | "
                      "**4.00** (3.90 to 4.10) | wrong |", page)
        self.assertIn("ERROR: wrong result: off by 1", page)
        self.assertIn("* ggml: wrong result: off by 0.5 (T256 H8 K128)", page)
        self.assertIn("* ggml: skipped, not built", page)
        self.assertIn("`bench/peers/run.py --filter '^kda/' --threads 1 --rounds 9`: cpu recurrent",
                      page)
        self.assertIn("| kda | 1.0e-06 | 2.0e-06 |", page)

    def test_types_of_peers(self):
        softmax = {**PEERS["rows"][0], "group": "softmax", "operator": "softmax_attention",
                   "peers": {}}
        rows = [softmax, {**softmax, "types": "bf16", "relative_error": 3e-3}]
        context = {**PEERS["context"], "implementation": "amx"}
        page = self.page(self.file("p.json", {**PEERS, "context": context, "rows": rows}))
        self.assertIn("| T256 S256 H8 HK8 D128 | 2 ms |", page)
        self.assertIn("| T256 S256 H8 HK8 D128 bf16 | 2 ms |", page)
        self.assertIn("| softmax_attention bf16 | 3.0e-03 |", page)
        self.assertIn("| implementation | amx |", page)
        self.assertIn("run.py --filter '^softmax_attention/' --threads 1 --rounds 9 "
                      "--implementation amx`", page)
        one = self.page(self.file("p.json", {**PEERS, "context": context, "rows": rows[1:]}))
        self.assertIn("run.py --filter '^softmax_attention/.*/bf16$' --threads 1", one)

    def test_page_of_programs(self):
        page = self.page(self.file("rope.json", PROGRAMS), "--name", "a_page")
        self.assertIn("bench/report/report.py rope.json --name a_page", page)
        self.assertIn("| T64 H2 D32 | f32 | cpu vector | 1 | 5 us | 3.0 | 4.00 | 0.10 | 0.50 | 20% |",
                      page)
        self.assertIn("ERROR: wrong result: off by 1", page)

    def test_many_types_of_programs(self):
        many = copy.deepcopy(PROGRAMS)
        first = many["benchmarks"][0]
        types = [f"f32_over_{i}" for i in range(20)]
        many["benchmarks"] = [{**first, "name": first["name"].replace("f32", t)} for t in types]
        page = self.page(self.file("b.json", many))
        for t in types:
            self.assertIn(f"| {t} |", page)

    def test_both_kinds_make_two_pages(self):
        files = [self.file("p.json", PEERS), self.file("rope.json", PROGRAMS)]
        self.assertEqual(len(self.report(*files).stdout.split()), 2)
        self.assertIn("several pages", self.report(*files, "--name", "x").stderr)

    def test_every_figure_is_beside_its_command(self):
        page = self.page(self.file("p.json", PEERS)).splitlines()
        for i, line in enumerate(page):
            if line.startswith("!["):
                self.assertTrue((self.folder / line.split("(")[1][:-1]).exists(), line)
                self.assertTrue(page[i + 2].startswith("`bench/peers/run.py"), page[i + 2])

    def test_wrong_files(self):
        self.assertIn("not JSON", self.refusal('{"benchmark": "pee'))
        self.assertIn("not written by a bench program", self.refusal({"context": {}}))
        self.assertIn("not written by a bench program", self.refusal([1, 2]))
        for key in ("seconds", "probes", "name", "peers"):
            broken = copy.deepcopy(PEERS)
            del broken["rows"][0][key]
            self.assertIn(f"no '{key}'", self.refusal(broken))
        self.assertIn("no rows", self.refusal({**PEERS, "rows": []}))
        self.assertIn("No such file", self.report(self.folder / "absent.json").stderr)


if __name__ == "__main__":
    unittest.main()
