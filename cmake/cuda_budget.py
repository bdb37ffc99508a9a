#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Builds seqmix::cuda from nothing and holds it against kernels/cuda/instantiations.txt.

Fails when a kernel appears or disappears, when a kernel listed as hot spills more registers than
the table grants it, or when the build takes longer than the table's budget. Prints registers, stack and spills of every kernel.
Needs nvcc, CMake and Ninja; no GPU.
"""
import argparse
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
TABLE = ROOT / "kernels/cuda/instantiations.txt"
TYPES = {"4bf16": "bf16", "3f16": "f16"}
# A kernel's entry, its configuration's first template arguments and its score policy inside, as the
# compiler mangles them: family, element type, width and whether it loads vectors, or, of those that
# are in one family only, element type, widths of keys and of values, warpgroups, keys of a tile.
NAME = re.compile(r"Compiling entry function '_ZN6seqmix4v0_14cuda\d+([a-z_]+)_kernelI.*?_configI"
                  r"(?:NS1_\d+([a-z]+)E)?NS0_(\d[a-z]+\d+)ELi(\d+)E(?:Lb([01])E|Li(\d+)ELi\d+ELi(\d+)E).*?"
                  r"NS1_\d+([a-z]+)_scoreE.*' for 'sm_(\w+)'")
# One that is the same for all widths, loads and scores.
GENERAL_NAME = re.compile(r"Compiling entry function '_ZN6seqmix4v0_14cuda\d+([a-z]+)_kernelI"
                          r"NS1_\d+([a-z]+)ENS0_(\d[a-z]+\d+)EEE.*' for 'sm_(\w+)'")
SPILL = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
REGISTERS = re.compile(r"Used (\d+) registers")


def stack_of_hot(words):
    """The bytes of stack that a hot kernel may take; None: any."""
    if not words:
        return None
    name, _, granted = words[0].partition(":")
    if name != "hot" or len(words) > 1:
        sys.exit(f"{TABLE.name}: {' '.join(words)}?")
    return int(granted or 0)


def read_table():
    budget, kernels = None, {}
    for line in TABLE.read_text().splitlines():
        words = line.split("#")[0].split()
        if words[:1] == ["budget_seconds"]:
            budget = int(words[1])
        elif words:
            kernels[tuple(words[:6])] = stack_of_hot(words[6:])
    return budget, kernels


def parse(log):
    """Kernel -> architecture -> (registers, stack, spill stores)."""
    found, current, spill = {}, None, None
    for line in log.splitlines():
        if match := NAME.search(line):
            kernel, family, element, width, vectors, values, keys, score, arch = match.groups()
            if values is None:
                layout = "vectors" if vectors == "1" else "any"
            else:
                family, kernel = kernel.split("_")
                width = width if values == width else f"{width}/{values}"
                layout = f"boxes:{keys}"
            current = (family, kernel, TYPES.get(element, element), width, layout, score), arch
        elif match := GENERAL_NAME.search(line):
            kernel, family, element, arch = match.groups()
            current = (family, kernel, TYPES.get(element, element), "all", "-", "-"), arch
        elif "Compiling entry function" in line:
            sys.exit(f"a kernel whose name is not understood: {line}")
        elif match := SPILL.search(line):
            spill = [int(x) for x in match.groups()]
        elif (match := REGISTERS.search(line)) and current:
            found.setdefault(current[0], {})[current[1]] = (int(match[1]), spill[0], spill[1])
            current = None
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=2, help="parallel compilations (2)")
    options = parser.parse_args()
    budget, table = read_table()
    environment = {k: v for k, v in os.environ.items() if not k.endswith("_COMPILER_LAUNCHER")}
    environment["PATH"] += os.pathsep + "/usr/local/cuda/bin"
    for tool in ("nvcc", "cmake", "ninja"):
        if shutil.which(tool, path=environment["PATH"]) is None:
            print(f"{tool} is not on the path")
            sys.exit(77)

    with tempfile.TemporaryDirectory() as build:
        began = time.monotonic()
        subprocess.run(["cmake", "-G", "Ninja", "-S", ROOT, "-B", build,
                        "-DCMAKE_BUILD_TYPE=Release", "-DSEQMIX_ENABLE_CUDA=ON",
                        "-DSEQMIX_BUILD_TESTS=OFF", "-DSEQMIX_BUILD_BENCH=OFF",
                        "-DSEQMIX_BUILD_EXAMPLES=OFF", "-DCMAKE_CUDA_FLAGS=-Xptxas=-v"],
                       check=True, env=environment, stdout=subprocess.DEVNULL)
        result = subprocess.run(["cmake", "--build", build, "-j", str(options.jobs)],
                                env=environment, text=True, capture_output=True)
        seconds = time.monotonic() - began
        if result.returncode != 0:
            sys.exit(result.stdout[-4000:] + result.stderr[-4000:])
        found = parse(result.stdout + result.stderr)

    problems = [f"not in {TABLE.name}: {' '.join(k)}" for k in sorted(found.keys() - table.keys())]
    problems += [f"not built: {' '.join(k)}" for k in sorted(table.keys() - found.keys())]
    print(f"{'kernel':44} {'':4} {'sm':>4} {'registers':>9} {'stack':>6} {'spills':>6}")
    for kernel, by_arch in sorted(found.items()):
        granted = table.get(kernel)
        for arch, (registers, stack, spills) in sorted(by_arch.items()):
            print(f"{' '.join(kernel):44} {'' if granted is None else 'hot':4} {arch:>4} {registers:9} "
                  f"{stack:6} {spills:6}")
            if granted is not None and stack > granted:
                problems.append(f"hot, and takes {stack} bytes of stack of {granted} on sm_{arch}: "
                                f"{' '.join(kernel)}")
    print(f"{sum(map(len, found.values()))} kernels, built in {seconds:.0f} s with {options.jobs} "
          f"jobs, budget {budget} s")
    if seconds > budget:
        problems.append(f"the build took {seconds:.0f} s, the budget is {budget} s")
    for problem in problems:
        print(problem)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
