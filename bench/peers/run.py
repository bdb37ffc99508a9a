#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Times seqmix on the CPU against ggml and PyTorch, in one process, on the same inputs.

    bench/peers/run.py                            builds build/release first; minutes
    bench/peers/run.py --filter kda --threads 1   some rows, one thread
    bench/peers/run.py --list                     the rows' names
    bench/peers/run.py --smoke                    does it run? seconds; the speeds mean nothing

A peer that is not installed is left out, with a line that says so. Every result is compared with
float64 first; a wrong one gets no speed and makes the exit code 1. Writes <out>/<name>.json, and
from it, as report.py does, <out>/<name>.md and its plots.
"""
import argparse
import pathlib
import platform
import re
import shlex
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]


def fail(message):
    sys.exit(f"run.py: {message}")


try:
    import numpy
except ImportError as e:
    fail(f"NumPy is needed here (Debian: python3-numpy): {e}")

import libraries  # noqa: E402
import openblas  # noqa: E402
import operators  # noqa: E402
import torch_cpu  # noqa: E402
from timing import REST_BEFORE_CEILINGS, Timer, summary  # noqa: E402

sys.path.insert(0, str(ROOT / "bench" / "report"))
import peers_page  # noqa: E402
from page_text import slug  # noqa: E402
from record import shown, write_json  # noqa: E402

BUILT = ROOT / "build" / "release"


def build():
    commands = [["cmake", "--preset", "release"],
                ["cmake", "--build", "--preset", "release", "--target", "seqmix_peers"]]
    for command in commands:
        try:
            code = subprocess.run(command, cwd=ROOT, stdout=sys.stderr).returncode
        except OSError as e:
            fail(f"cmake: {e.strerror}")
        if code != 0:
            fail("the build failed; --library takes a library that was built elsewhere")
    return BUILT / "bench" / "peers" / "libseqmix_peer.so"


def open_seqmix(path, implementation):
    try:
        return libraries.Seqmix(path, implementation)
    except (OSError, AttributeError) as e:
        fail(str(e))


def find_peers(arguments, folder):
    """The sides that are installed, and a line for each that is not."""
    found, missing = [], []
    path = arguments.ggml or folder / "libggml_peer.so"
    if "ggml" in arguments.without:
        missing.append("ggml: skipped, as asked")
    elif arguments.ggml is None and not path.exists():
        missing.append("ggml: skipped, libggml_peer.so was not built; CMake says if it found ggml")
    else:
        try:
            found.append(libraries.Ggml(path))
        except (OSError, AttributeError) as e:
            fail(str(e))
    if "torch" in arguments.without:
        missing.append("PyTorch: skipped, as asked")
    else:
        try:
            import torch
            found += torch_cpu.sides(torch)
        except ImportError as e:
            missing.append(f"PyTorch: skipped, {e}")
    return found, missing


def find_sgemm(arguments):
    """The product of OpenBLAS, or none and a line that says so."""
    if "openblas" in arguments.without:
        return None, ["OpenBLAS: skipped, as asked"]
    try:
        return openblas.Sgemm(arguments.openblas, 64 if arguments.smoke else 2048), []
    except (OSError, AttributeError) as e:
        if arguments.openblas is not None:
            fail(str(e))
        return None, [f"OpenBLAS: skipped, {e}"]


# ---- one row ----

def check(call, expected):
    """(error, what is wrong or None) of one call."""
    call.plan(1)
    call.block()
    return operators.complaint(expected, *call.result(), getattr(call, "tolerance", None))


def measure_peer(side, row, x, threads, expected, ours, timer):
    """The peer's entry of a row, and the times of seqmix that were taken beside it."""
    try:
        theirs = side.open(row, x, threads)
    except libraries.Refused as e:
        return {"refused": str(e)}, []
    try:
        error, wrong = check(theirs, expected)
        if wrong:
            return {"error": wrong}, []
        (mine, seconds), ratios = timer.pair(ours, theirs)
        return {"relative_error": error, "seconds": summary(seconds),
                "ratio": summary(ratios)}, mine
    except (libraries.Refused, RuntimeError, TypeError) as e:  # the latter two are PyTorch's
        return {"refused": str(e).splitlines()[0]}, []
    finally:
        if hasattr(theirs, "finish"):
            theirs.finish()


def measure(row, threads, seqmix, peers, sgemm, timer, tick):
    def ceilings():
        if threads > 1:
            time.sleep(REST_BEFORE_CEILINGS)
        rates = seqmix.probes(threads)
        if sgemm is not None and row.group == "softmax":
            rates["sgemm"] = sgemm.rate(threads)
        return rates

    x = operators.inputs(row)
    expected = operators.reference(row, x)
    result = {"name": f"{row.name}/threads:{threads}", "group": row.group,
              "operator": row.operator, "threads": threads, "causal": row.causal,
              "types": row.types, **{n: getattr(row, n) for n in ("T", "S", "H", "HK", "K", "V")},
              "flop": operators.operations(row), "bytes": operators.bytes_of(row, x), "peers": {}}
    try:
        ours = seqmix.open(row, x, threads)
        result["relative_error"], wrong = check(ours, expected)
    except libraries.Refused as e:
        wrong = str(e)
    if wrong:
        return {**result, "error": wrong}
    result["algorithm"] = ours.explain()
    before = ceilings()
    times = []
    for side in (side for side in peers if side.offers(row)):
        tick(side.name)
        entry, mine = measure_peer(side, row, x, threads, expected, ours, timer)
        result["peers"][side.name] = entry
        times += mine
    result["seconds"] = summary(times or timer.single(ours))
    after = ceilings()
    result["probes"] = {what: [before[what], after[what]] for what in before}
    return result


def line_of(result):
    if "error" in result:
        return "ERROR: " + result["error"]
    seconds = result["seconds"]["median"]
    fma = sum(result["probes"]["fma"]) / 2
    parts = [f"{seconds * 1e6:9.1f} us {result['flop'] / seconds * 1e-9:7.1f} GFLOP/s"
             f" ({result['flop'] / seconds / fma:.2f} of FMA)"]
    if "sgemm" in result["probes"]:
        sgemm = sum(result["probes"]["sgemm"]) / 2
        parts.append(f"sgemm x{result['flop'] / seconds / sgemm:.2f}")
    for name, peer in result["peers"].items():
        if "ratio" in peer:
            parts.append(f"{name} x{peer['ratio']['median']:.2f}")
        else:
            parts.append(f"{name} " + ("refused" if "refused" in peer
                                       else "ERROR: " + peer["error"]))
    return "  ".join(parts)


class Progress:
    """A bar on the terminal's last line; nothing where standard error is no terminal."""

    def __init__(self, steps):
        self.steps, self.done, self.shown = steps, 0, sys.stderr.isatty()

    def show(self, text):
        if self.shown:
            filled = 24 * self.done // self.steps
            bar = "#" * filled + "." * (24 - filled)
            print(f"\r\033[K[{bar}] {self.done}/{self.steps} {text}", end="", file=sys.stderr,
                  flush=True)

    def row(self, text):
        self.done += 1
        if self.shown:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
        print(text, flush=True)


# ---- the machine ----

def cpu_model():
    try:
        for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or "unknown"


def machine(arguments, seqmix, peers, sgemm):
    context = {"cpu": cpu_model(), **seqmix.about}
    if arguments.commit:
        context["seqmix"] = f"{seqmix.about['seqmix'].split()[0]} {arguments.commit}"
    if arguments.implementation:
        context["implementation"] = arguments.implementation
    for side in peers:
        if isinstance(side, libraries.Ggml):
            context.update(side.about)
        else:
            torch = side.torch
            context["torch"] = f"{torch.__version__}, {torch.backends.cpu.get_cpu_capability()}"
    if sgemm is not None:
        context["openblas"] = sgemm.about
    return {**context, "numpy": numpy.__version__, "all_threads": seqmix.all_threads,
            "rounds": arguments.rounds, "block_seconds": arguments.seconds,
            "command": shlex.join(["bench/peers/run.py", *shown(sys.argv[1:])])}


def thread_list(text):
    items = text.split(",")
    if not all(item == "all" or (item.isdigit() and 1 <= int(item) <= 4096) for item in items):
        raise argparse.ArgumentTypeError("numbers of threads from 1 to 4096, or all")
    return items


def parse():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--library", type=pathlib.Path, metavar="FILE",
                        help="libseqmix_peer.so; built when not given")
    parser.add_argument("--ggml", type=pathlib.Path, metavar="FILE",
                        help="libggml_peer.so, if not beside libseqmix_peer.so")
    parser.add_argument("--openblas", type=pathlib.Path, metavar="FILE",
                        help="libopenblas.so, if not where the system looks")
    parser.add_argument("--without", action="append", default=[],
                        choices=("ggml", "torch", "openblas"),
                        help="leave out a peer that is installed")
    parser.add_argument("--implementation", metavar="NAME",
                        help="pins seqmix's implementation for the softmax rows, for instance amx, "
                             "which only runs when it is pinned")
    parser.add_argument("--group", choices=("recurrences", "scans", "softmax"),
                        help="rows of this group")
    parser.add_argument("--filter", type=re.compile, metavar="REGEX",
                        help="rows whose name has a match")
    parser.add_argument("--threads", type=thread_list, default=["1", "all"], metavar="LIST",
                        help="numbers of threads, for instance 1,4,all (1,all)")
    parser.add_argument("--rounds", "--repetitions", type=int, default=15, metavar="N",
                        help="pairs of blocks that are timed for a row and peer (15)")
    parser.add_argument("--seconds", type=float, default=0.03, help="of a block, at least (0.03)")
    parser.add_argument("--out", type=pathlib.Path, help="folder of the results",
                        default=ROOT / "bench" / "results")
    parser.add_argument("--name", help="of the results, else from the CPU's and the rows'")
    parser.add_argument("--commit", help="what the library was built from, when built elsewhere")
    parser.add_argument("--list", action="store_true", help="print the rows' names, run nothing")
    parser.add_argument("--smoke", action="store_true",
                        help="a few tiny rows; writes files only with --name")
    arguments = parser.parse_args()
    if arguments.rounds < 2:
        parser.error("--rounds: at least 2")
    if arguments.smoke:
        arguments.rounds, arguments.seconds = 2, 1e-4
    return arguments


def main():
    arguments = parse()
    rows = [row for row in (operators.smoke_rows if arguments.smoke else operators.all_rows)()
            if arguments.group in (None, row.group)
            and (arguments.filter is None or arguments.filter.search(row.name))]
    if arguments.list:
        print("\n".join(row.name for row in rows))
        return 0
    if not rows:
        fail("no row has such a name")
    library = arguments.library or build()
    seqmix = open_seqmix(library, arguments.implementation)
    if arguments.smoke:
        seqmix.short_probes()
    peers, missing = find_peers(arguments, library.parent)
    sgemm, why = find_sgemm(arguments) if any(r.group == "softmax" for r in rows) else (None, [])
    missing += why
    context = machine(arguments, seqmix, peers, sgemm)
    for key, value in context.items():
        print(f"{key:14} {value}")
    for line in missing:
        print(line)

    threads = list(dict.fromkeys(seqmix.all_threads if n == "all" else int(n)
                                 for n in arguments.threads))
    document = {"benchmark": "peers", "context": context, "missing": missing, "rows": []}
    progress = Progress(len(rows) * len(threads))
    for row in rows:
        for n in threads:
            name = f"{row.name}/threads:{n}"
            timer = Timer(arguments.rounds, arguments.seconds, n)
            progress.show(name)
            result = measure(row, n, seqmix, peers, sgemm, timer,
                             lambda peer: progress.show(f"{name} {peer}"))
            document["rows"].append(result)
            progress.row(f"{name:58} {line_of(result)}")

    if not arguments.smoke or arguments.name:
        write(arguments, document)
    wrong = [f"{row['name']} {who}".strip() for row in document["rows"]
             for who, entry in [("", row), *row["peers"].items()] if "error" in entry]
    if wrong:
        print("run.py: without a speed: " + ", ".join(wrong), file=sys.stderr)
    return 1 if wrong else 0


def write(arguments, document):
    groups = "_".join(dict.fromkeys(row["group"] for row in document["rows"]))
    context = document["context"]
    name = arguments.name or f"{slug(context['cpu'] + ' ' + context['isa'])}_{groups}"
    target = arguments.out / f"{name}.json"
    write_json(target, document)
    print(target)
    print(peers_page.write(target))


if __name__ == "__main__":
    sys.exit(main())
