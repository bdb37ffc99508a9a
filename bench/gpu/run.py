#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Times seqmix's softmax_attention on a GPU against PyTorch, in one process: SDPA by cuDNN and by
FlashAttention 2, varlen_attn, FlexAttention; and its variants against its own plain rows.

    bench/gpu/run.py                                   builds build/gpu_bench first; minutes
    bench/gpu/run.py --library libseqmix_gpu_bench.so  takes what was built elsewhere
    bench/gpu/run.py --quick --filter '^(window|softcap)/' --time-limit 120
    bench/gpu/run.py --list                            the rows' names; needs no GPU

Every result is compared with float64 first; a wrong one gets no speed and makes the exit code 1.
Writes <out>/<name>.json, anew after each row, and from it, as page.py does, <out>/<name>.md and its
plots. First calls, in which kernels are compiled, loaded or chosen, are not in the times.
"""
import argparse
import pathlib
import re
import sys
import time

import context
import folders
import gpu_timer
import page
import rows
import torch_peers
from library import Failed, Library, build
from page_text import slug
from measure import WrongRow, line_of, measure
from record import write_json

FEWEST_ROUNDS = 7


def fail(message):
    sys.exit(f"run.py: {message}")


def parse(words=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--library", type=pathlib.Path, metavar="FILE",
                        help="libseqmix_gpu_bench.so; built when not given")
    parser.add_argument("--out", type=pathlib.Path, metavar="FOLDER",
                        help="of the results (bench/results)",
                        default=folders.ROOT / "bench" / "results")
    parser.add_argument("--name", help="of the results, else from the GPU's")
    parser.add_argument("--rounds", type=int, metavar="N",
                        help="pairs of blocks that are timed for a row and peer, at least "
                             f"{FEWEST_ROUNDS} (9, quick: {FEWEST_ROUNDS})")
    parser.add_argument("--quick", action="store_true", help="some rows only")
    parser.add_argument("--filter", type=re.compile, metavar="REGEX",
                        help="rows whose name has a match; names begin with their group")
    parser.add_argument("--without", action="append", default=[], choices=torch_peers.NAMES,
                        help="leave out a peer; flex compiles for seconds in each of its rows")
    parser.add_argument("--time-limit", type=float, metavar="SECONDS",
                        help="begin no row later than this after the start of the run")
    parser.add_argument("--list", action="store_true", help="print the rows' names, run nothing")
    parser.add_argument("--commit", help="what the library was built from, when built elsewhere")
    arguments = parser.parse_args(words)
    if arguments.rounds is None:
        arguments.rounds = FEWEST_ROUNDS if arguments.quick else 9
    if arguments.rounds < FEWEST_ROUNDS:
        parser.error(f"--rounds: at least {FEWEST_ROUNDS}")
    return arguments


def measure_all(cases, measure_one, document, finished, expired):
    """Measures the rows into document["rows"] until time is up or the GPU gives up; whether it
    still works. finished(number) follows each row; names that are left are document["left_out"]."""
    document["left_out"] = [case["name"] for case in cases]
    for number, case in enumerate(cases, 1):
        if expired():
            return True
        broken = False
        try:
            result = measure_one(case)
        except (WrongRow, Failed) as e:
            result = {**case, "error": str(e)}
        except RuntimeError as e:  # a kernel that went wrong leaves nothing to go on with
            result, broken = {**case, "error": str(e).splitlines()[0]}, True
        document["rows"].append(result)
        document["left_out"].pop(0)
        finished(number)
        if broken:
            return False
    return True


def main():
    began = time.monotonic()
    arguments = parse()
    cases = rows.chosen(rows.all_rows(), arguments.quick, arguments.filter, arguments.without)
    if arguments.list:
        print("\n".join(case["name"] for case in cases))
        return 0
    if not cases:
        fail("no row has such a name")
    try:
        import torch
    except ImportError as e:
        fail(f"PyTorch is needed here: {e}")
    if not torch.cuda.is_available():
        fail("PyTorch finds no GPU")
    try:
        library = Library(arguments.library or build())
    except Failed as e:
        fail(str(e))
    facts = context.machine(torch, library, arguments)
    document = {"context": facts, "ceilings": {}, "rows": []}
    target = arguments.out / f"{arguments.name or slug(facts['gpu'])}.json"
    timer = gpu_timer.GpuTimer(torch, arguments.rounds)
    checked = set()
    seconds = lambda: time.monotonic() - began
    for key, value in facts.items():
        print(f"{key:20} {value}", flush=True)

    with torch.inference_mode():
        ceilings = document["ceilings"]["before"] = gpu_timer.ceilings(torch, timer)
        facts["clocks_after_gemm"] = context.clocks()
        print(f"{'ceilings':20} GEMM {ceilings['gemm_tflops']:.0f} TFLOP/s, copy "
              f"{ceilings['copy_gbps']:.0f} GB/s, clocks {facts['clocks_after_gemm']}", flush=True)

        def finished(number):
            result = document["rows"][-1]
            write_json(target, document)
            print(f"[{number}/{len(cases)} {seconds():4.0f} s] {result['name']:52} "
                  f"{line_of(result, ceilings['gemm_tflops'])}", flush=True)
            if "error" not in result:
                torch.cuda.empty_cache()

        measure_one = lambda case: measure(torch, case, library, timer, facts["l2_bytes"], checked)
        expired = lambda: (arguments.time_limit is not None
                           and seconds() >= arguments.time_limit)
        if measure_all(cases, measure_one, document, finished, expired):
            document["ceilings"]["after"] = gpu_timer.ceilings(torch, timer)

    write_json(target, document)
    print(target)
    print(page.write(target))
    if left := document["left_out"]:
        print(f"run.py: not measured, {len(left)}: " + ", ".join(left), file=sys.stderr)
    wrong = [r["name"] for r in document["rows"] if "error" in r]
    if wrong:
        print("run.py: without a speed: " + ", ".join(wrong), file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
