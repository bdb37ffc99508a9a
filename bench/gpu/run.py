#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Times seqmix's softmax_attention on a GPU against PyTorch's SDPA back-ends, in one process.

    bench/gpu/run.py                                   builds build/gpu_bench first; minutes
    bench/gpu/run.py --library libseqmix_gpu_bench.so  takes what was built elsewhere
    bench/gpu/run.py --quick --filter 'decode'         a few rows, few rounds

Every result is compared with float64 first; a wrong one gets no speed and makes the exit code 1.
Writes <out>/<name>.json, and from it, as page.py does, <out>/<name>.md and its plots.
"""
import argparse
import contextlib
import ctypes
import inspect
import json
import math
import pathlib
import random
import re
import shlex
import statistics
import subprocess
import sys
import time
import warnings

import page

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOKENS = 16384         # of a forward row, in all sequences together
WIDTH = 2048           # heads * D of a forward row
BLOCK_SECONDS = 0.005  # a timed block lasts at least this long
MOST_CALLS = 400       # of a block: more would not fit into the launch queue while the GPU waits
SM_HERTZ = 2e9         # of torch.cuda._sleep, roughly
# Root mean square error of a result, over that of the float64 one: of all rows that are looked at,
# and of the worst among them.
TOLERANCE = {"bf16": (0.008, 0.03), "f16": (0.001, 0.004)}
LSE_TOLERANCE = 1e-3


def fail(message):
    sys.exit(f"run.py: {message}")


# ---- the rows ----

def row(group, name, **fields):
    result = {"name": f"{group}/{name}", "group": group, "dtype": "bf16", "causal": False, **fields}
    result.setdefault("S", result["T"])
    result.setdefault("HK", result["H"])
    return result


def all_rows():
    rows = []
    def forward(d, causal, t, dtype="bf16"):
        rows.append(row("forward", f"D:{d}/causal:{int(causal)}/T:{t}/{dtype}", B=TOKENS // t, T=t,
                        H=WIDTH // d, D=d, causal=causal, dtype=dtype, quick=t in (2048, 16384)))
    for d in (64, 128):
        for causal in (False, True):
            for t in (512, 1024, 2048, 4096, 8192, 16384):
                forward(d, causal, t)
    for d in (64, 128):
        for causal in (False, True):
            forward(d, causal, 4096, "f16")
    rows.append(row("gqa", "B:4/T:4096/H:32/HK:8/D:128/causal:1/bf16", B=4, T=4096, H=32, HK=8,
                    D=128, causal=True, quick=True))
    lengths = [8192, 4096, 2048, 1024, 512, 256, 128, 128]
    for causal in (False, True):
        rows.append(row("varlen", f"N:8/T:{sum(lengths)}/D:128/causal:{int(causal)}/bf16", B=8,
                        T=sum(lengths), H=WIDTH // 128, D=128, causal=causal, lengths=lengths,
                        quick=causal))
    for b, s in ((1, 4096), (1, 32768), (8, 8192), (64, 8192)):
        rows.append(row("decode", f"B:{b}/S:{s}/H:32/HK:8/D:128/bf16", B=b, T=1, S=s, H=32, HK=8,
                        D=128, quick=b == 8))
    rows.append(row("launch", "B:1/T:64/H:1/D:64/bf16", B=1, T=64, H=1, D=64, quick=True))
    return rows


def sequences(case):
    """(batch, first query, queries, first key, keys) of each sequence."""
    if "lengths" not in case:
        return [(b, 0, case["T"], 0, case["S"]) for b in range(case["B"])]
    starts = [sum(case["lengths"][:i]) for i in range(len(case["lengths"]))]
    return [(0, at, n, at, n) for at, n in zip(starts, case["lengths"])]


def work(case):
    """FLOP by the usual convention, 4 T S H D, halved when causal."""
    pairs = sum(t * s for _, _, t, _, s in sequences(case))
    return 4 * pairs * case["H"] * case["D"] / (2 if case["causal"] else 1)


def kv_bytes(case):
    """Keys and values, each read once."""
    return 2 * 2 * sum(n for *_, n in sequences(case)) * case["HK"] * case["D"]


# ---- seqmix ----

class Call(ctypes.Structure):
    """seqmix_gpu_call of seqmix_gpu.cpp."""
    _fields_ = (
        [(name, ctypes.c_void_p)
         for name in ("q", "k", "v", "o", "lse", "lengths", "q_offsets", "k_offsets")]
        + [(name, ctypes.c_int64) for name in ("B", "T", "S", "H", "HK", "D")]
        + [(name + "_strides", ctypes.c_int64 * 4) for name in "qkvo"]
        + [("max_q", ctypes.c_int64), ("max_k", ctypes.c_int64), ("scale", ctypes.c_double)]
        + [(name, ctypes.c_int32) for name in ("bf16", "causal", "ordinal")]
        + [("stream", ctypes.c_void_p)])


class Library:
    def __init__(self, path):
        try:
            library = ctypes.CDLL(str(path.resolve()))  # a bare name would be searched for
        except OSError as e:
            fail(str(e))
        self.attention = library.seqmix_gpu_attention
        self.attention.argtypes = [ctypes.POINTER(Call), ctypes.c_int64]
        self.attention.restype = ctypes.c_char_p
        self.explain = library.seqmix_gpu_explain
        self.explain.argtypes = [ctypes.POINTER(Call)]
        self.explain.restype = ctypes.c_char_p
        library.seqmix_gpu_version.restype = ctypes.c_char_p
        self.version = library.seqmix_gpu_version().decode()


def build():
    folder = ROOT / "build" / "cuda"
    commands = [
        ["cmake", "-S", ROOT, "-B", folder, "-DCMAKE_BUILD_TYPE=Release", "-DSEQMIX_ENABLE_CUDA=ON",
         "-DSEQMIX_BUILD_TESTS=OFF", "-DSEQMIX_BUILD_EXAMPLES=OFF", "-DSEQMIX_BUILD_BENCH=ON"],
        ["cmake", "--build", folder, "--parallel", "--target", "seqmix_gpu_bench"]]
    for command in commands:
        try:
            code = subprocess.run([str(part) for part in command]).returncode
        except OSError as e:
            fail(f"cmake: {e.strerror}")
        if code != 0:
            fail("the build failed; --library takes a library that was built elsewhere")
    return folder / "bench" / "gpu" / "libseqmix_gpu_bench.so"


class Buffers:
    """One set of a row's tensors, [B, T, H, D] (packed: B = 1), and what the two sides call with.

    Both sides read the same memory: PyTorch through transposed views, [B, H, T, D].
    """

    def __init__(self, torch, case, generator):
        self.case = case
        packed = "lengths" in case
        batch = 1 if packed else case["B"]
        dtype = {"bf16": torch.bfloat16, "f16": torch.float16}[case["dtype"]]
        def noise(tokens, heads):
            return torch.randn(batch, tokens, heads, case["D"], device="cuda", dtype=dtype,
                               generator=generator)
        self.q = noise(case["T"], case["H"])
        self.k = noise(case["S"], case["HK"])
        self.v = noise(case["S"], case["HK"])
        self.o = torch.empty_like(self.q)
        self.lse = torch.empty(batch, case["H"], case["T"], device="cuda", dtype=torch.float32)
        self.heads_first = [x.transpose(1, 2) for x in (self.q, self.k, self.v)]

        call = self.call = Call()
        for name in "qkvo":
            tensor = getattr(self, name)
            setattr(call, name, tensor.data_ptr())
            setattr(call, name + "_strides", (ctypes.c_int64 * 4)(*tensor.stride()))
        for name in ("B", "T", "S", "H", "HK", "D"):
            setattr(call, name, case[name])
        call.bf16 = case["dtype"] == "bf16"
        call.causal = case["causal"]
        call.ordinal = torch.cuda.current_device()
        call.stream = torch.cuda.current_stream().cuda_stream
        if case["group"] == "decode":
            self.lengths = torch.full((case["B"],), case["S"], device="cuda", dtype=torch.int32)
            call.lengths = self.lengths.data_ptr()
        if packed:
            offsets = [0]
            for n in case["lengths"]:
                offsets.append(offsets[-1] + n)
            self.offsets = torch.tensor(offsets, device="cuda", dtype=torch.int32)
            call.q_offsets = call.k_offsets = self.offsets.data_ptr()
            call.max_q = call.max_k = max(case["lengths"])
            self.parts = [[x.transpose(1, 2)[:, :, at:at + n] for x in (self.q, self.k, self.v)]
                          for at, n in zip(offsets, case["lengths"])]

    @staticmethod
    def bytes(case):
        queries = (1 if "lengths" in case else case["B"]) * case["T"] * case["H"] * case["D"]
        keys = (1 if "lengths" in case else case["B"]) * case["S"] * case["HK"] * case["D"]
        return 2 * (2 * queries + 2 * keys)


# ---- PyTorch ----

def peers(torch, case):
    """name -> (context in which it runs, call(buffers) -> result, result -> [B, T, H, D])."""
    from torch.nn.attention import SDPBackend, sdpa_kernel
    attention = torch.nn.functional.scaled_dot_product_attention
    backends = {"flash": SDPBackend.FLASH_ATTENTION, "cudnn": SDPBackend.CUDNN_ATTENTION,
                "efficient": SDPBackend.EFFICIENT_ATTENTION}
    options = {"is_causal": case["causal"]}
    if case["HK"] != case["H"]:
        options["enable_gqa"] = True

    def whole(b):
        return attention(*b.heads_first, **options)

    def one_by_one(b):
        return [attention(*part, **options) for part in b.parts]

    result = {}
    for name, backend in backends.items():
        if case["group"] != "varlen":
            result[name] = (lambda backend=backend: sdpa_kernel(backend), whole,
                            lambda out: out.transpose(1, 2))
        elif name != "efficient":
            result[name + ", one by one"] = (
                lambda backend=backend: sdpa_kernel(backend), one_by_one,
                lambda out: torch.cat(out, dim=2).transpose(1, 2))
    if case["group"] == "varlen":
        def packed(b):
            from torch.nn.attention.varlen import varlen_attn  # since PyTorch 2.10
            causal = {}
            if case["causal"]:
                takes = inspect.signature(varlen_attn).parameters
                causal = {"is_causal": True} if "is_causal" in takes else {"window_size": (-1, 0)}
            longest = max(case["lengths"])
            return varlen_attn(b.q[0], b.k[0], b.v[0], b.offsets, b.offsets, longest, longest,
                               **causal)
        result = {"varlen_attn": (contextlib.nullcontext, packed, lambda out: out.unsqueeze(0)),
                  **result}
    if case["group"] == "launch":
        result["default"] = (contextlib.nullcontext, whole, lambda out: out.transpose(1, 2))
    return result


def refusal(error, notes):
    """Why a back-end does not take a call: PyTorch says so in warnings."""
    texts = [str(note.message) for note in notes] + [str(error)]
    texts = [text.split(" (Triggered")[0].strip().splitlines()[0] for text in texts if text.strip()]
    told = [t for t in texts if not t.endswith("because:") and "No available kernel" not in t
            and "runtime disabled" not in t]
    return " ".join(dict.fromkeys(told or texts))[:200] or type(error).__name__


# ---- right or wrong ----

def reference(torch, case, buffers):
    """Some rows of the result in float64: [((batch, queries, head), rows, their log-sum-exp)]."""
    chosen = random.Random(1)
    every = sequences(case)
    if len(every) > 8:
        every = [every[0], *chosen.sample(every[1:-1], 2), every[-1]]
    samples = []
    for b, q0, t, k0, s in every:
        heads = {0, case["H"] - 1, chosen.randrange(case["H"])}
        for h in sorted(heads):
            edges = {i for edge in (0, 64, 128, 192, t // 2, t) for i in (edge - 1, edge)}
            rows = {i for i in edges if 0 <= i < t} | {chosen.randrange(t) for _ in range(24)}
            index = torch.tensor(sorted(rows), device="cuda")
            kv_head = h // (case["H"] // case["HK"])
            q = buffers.q[b, q0 + index, h].double()
            k = buffers.k[b, k0:k0 + s, kv_head].double()
            v = buffers.v[b, k0:k0 + s, kv_head].double()
            scores = q @ k.T * case["D"] ** -0.5
            if case["causal"]:
                hidden = torch.arange(s, device="cuda")[None, :] > index[:, None] + (s - t)
                scores = scores.masked_fill(hidden, -math.inf)
            lse = torch.logsumexp(scores, dim=-1)
            samples.append(((b, q0 + index, h), torch.exp(scores - lse[:, None]) @ v, lse))
    return samples


def error_of(torch, samples, result):
    """Relative root mean square error: of all sampled rows, and of the worst one."""
    off, size, worst = 0.0, 0.0, 0.0
    for where, expected, _ in samples:
        row_off = (result[where].double() - expected).square().sum(dim=-1)
        row_size = expected.square().sum(dim=-1)
        off += row_off.sum().item()
        size += row_size.sum().item()
        share = (row_off / row_size).sqrt()
        # max() is free to lose a NaN.
        worst = max(worst, share.max().item() if share.isfinite().all().item() else math.inf)
    rms = math.sqrt(off / size) if math.isfinite(off) else math.inf
    return {"rms": rms, "worst_row": worst}


def complaint(case, error):
    rms, worst = TOLERANCE[case["dtype"]]
    if not (error["rms"] <= rms and error["worst_row"] <= worst):
        return (f"wrong result: relative RMS error {error['rms']:.2g}, worst row "
                f"{error['worst_row']:.2g}; allowed are {rms}, {worst}")
    return None


class WrongRow(Exception):
    """A row without a speed."""


def check(torch, case, library, buffers, samples):
    """seqmix's error, and the dispatch report. Raises WrongRow."""
    buffers.o.fill_(math.nan)
    problem = library.attention(ctypes.byref(buffers.call), 1)
    if problem:
        raise WrongRow(problem.decode())
    torch.cuda.synchronize()
    error = error_of(torch, samples, buffers.o)
    if wrong := complaint(case, error):
        raise WrongRow(wrong)
    if not buffers.o.isfinite().all().item():
        raise WrongRow("wrong result: not all of it is finite")

    buffers.lse.fill_(math.nan)
    buffers.call.lse = buffers.lse.data_ptr()
    problem = library.attention(ctypes.byref(buffers.call), 1)
    torch.cuda.synchronize()
    buffers.call.lse = None
    if problem:
        raise WrongRow("with lse: " + problem.decode())
    error["lse"] = max((buffers.lse[b, h, at].double() - lse).abs().nan_to_num(nan=math.inf)
                       .max().item() for (b, at, h), _, lse in samples)
    if not error["lse"] <= LSE_TOLERANCE:
        raise WrongRow(f"wrong log-sum-exp: off by {error['lse']:.2g}")
    return error, library.explain(ctypes.byref(buffers.call)).decode()


# ---- time ----

def summary(samples):
    quartiles = statistics.quantiles(samples, n=4, method="inclusive")
    return {"median": statistics.median(samples), "p25": quartiles[0], "p75": quartiles[2]}


class Timer:
    def __init__(self, torch, rounds, seconds):
        self.torch, self.rounds, self.seconds = torch, rounds, seconds

    def block(self, call, n, host_seconds):
        """Seconds of GPU time for each of n calls in a row.

        The GPU waits while they are queued, so that what the host needs for a call is not in it.
        """
        torch = self.torch
        begin = torch.cuda.Event(enable_timing=True)
        end = torch.cuda.Event(enable_timing=True)
        torch.cuda.synchronize()
        torch.cuda._sleep(int(min(1.5 * n * host_seconds + 2e-5, 0.1) * SM_HERTZ))
        begin.record()
        for i in range(n):
            call(i)
        end.record()
        torch.cuda.synchronize()
        return begin.elapsed_time(end) * 1e-3 / n

    def plan(self, call):
        """How many calls make a block, and the host's seconds for each."""
        for i in range(5):
            call(i)
        self.torch.cuda.synchronize()
        began = time.perf_counter()
        for i in range(10):
            call(i)
        host = (time.perf_counter() - began) / 10
        self.torch.cuda.synchronize()
        seconds = self.block(call, 10, host)
        return min(max(math.ceil(self.seconds / seconds), 3), MOST_CALLS), host

    def single(self, call):
        n, host = self.plan(call)
        return summary([self.block(call, n, host) for _ in range(self.rounds)])

    def pair(self, ours, theirs):
        """The times of both, and each round's ratio theirs / ours; they take turns to begin."""
        plans = [self.plan(ours), self.plan(theirs)]
        times = ([], [])
        for i in range(self.rounds):
            for which in ((0, 1) if i % 2 == 0 else (1, 0)):
                times[which].append(self.block((ours, theirs)[which], *plans[which]))
        ratios = [b / a for a, b in zip(*times)]
        return {"seqmix_seconds": summary(times[0]), "seconds": summary(times[1]),
                "ratio": summary(ratios)}, times[0]


def host_time(torch, call, rounds):
    """Seconds on the host for a call, of 200 back to back."""
    samples = []
    for _ in range(rounds + 1):
        torch.cuda.synchronize()
        began = time.perf_counter()
        for _ in range(200):
            call()
        samples.append((time.perf_counter() - began) / 200)
    torch.cuda.synchronize()
    return summary(samples[1:])


def ceilings(torch, timer):
    """What this machine can do at most: a large matrix product, a large copy."""
    n = 8192
    a, b = (torch.randn(n, n, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    c = torch.empty_like(a)
    gemm = timer.single(lambda i: torch.mm(a, b, out=c))
    source = torch.empty(1 << 31, device="cuda", dtype=torch.uint8).fill_(1)
    target = torch.empty_like(source)
    copy = timer.single(lambda i: target.copy_(source))
    return {"gemm_tflops": 2 * n ** 3 / gemm["median"] * 1e-12,
            "copy_gbps": 2 * source.numel() / copy["median"] * 1e-9}


# ---- one row ----

def measure(torch, case, library, timer, l2_bytes):
    generator = torch.Generator(device="cuda")
    generator.manual_seed(1)
    launch = case["group"] == "launch"
    # Inputs and outputs of successive calls together are past twice the L2.
    sets = 1 if launch else min(max(2, math.ceil(2 * l2_bytes / Buffers.bytes(case)) + 1), 64)
    buffers = [Buffers(torch, case, generator) for _ in range(sets)]
    samples = reference(torch, case, buffers[0])
    error, report = check(torch, case, library, buffers[0], samples)
    result = {**case, "flop": work(case), "kv_bytes": kv_bytes(case), "report": report,
              "error_seqmix": error, "peers": {}}

    references = [ctypes.byref(b.call) for b in buffers]
    attention = library.attention
    def ours(i=0):
        if problem := attention(references[i % sets], 1):
            raise WrongRow(problem.decode())
    if launch:
        result["host_seconds"] = host_time(torch, ours, timer.rounds)
        result["host_seconds_inside"] = host_time(
            torch, lambda: attention(references[0], 200), timer.rounds)
        for key in ("median", "p25", "p75"):
            result["host_seconds_inside"][key] /= 200

    seqmix_seconds = []
    for name, (where, call, shaped) in peers(torch, case).items():
        with where():
            with warnings.catch_warnings(record=True) as notes:
                warnings.simplefilter("always")
                try:
                    out = shaped(call(buffers[0]))
                    torch.cuda.synchronize()
                except (RuntimeError, ImportError, TypeError, ValueError) as e:
                    result["peers"][name] = {"refused": refusal(e, notes)}
                    continue
            entry = {"error": error_of(torch, samples, out)}
            del out
            if wrong := complaint(case, entry["error"]):
                entry["note"] = wrong
            if launch:
                entry["host_seconds"] = host_time(torch, lambda: call(buffers[0]), timer.rounds)
            else:
                times, mine = timer.pair(ours, lambda i: call(buffers[i % sets]))
                entry.update(times)
                seqmix_seconds += mine
            result["peers"][name] = entry
    if not launch:
        result["seconds"] = summary(seqmix_seconds) if seqmix_seconds else timer.single(ours)
    return result


def progress(result, gemm):
    if "error" in result:
        return "ERROR: " + result["error"]
    if result["group"] == "launch":
        parts = [f"{result['host_seconds']['median'] * 1e6:6.2f} us on the host"]
        parts += [f"{name} {peer['host_seconds']['median'] * 1e6:.2f} us" if "error" in peer else
                  f"{name} refused" for name, peer in result["peers"].items()]
        return "  ".join(parts)
    seconds = result["seconds"]["median"]
    if result["group"] == "decode":
        parts = [f"{result['kv_bytes'] / seconds * 1e-9:7.1f} GB/s"]
    else:
        parts = [f"{result['flop'] / seconds * 1e-12:7.1f} TFLOP/s"
                 f" ({result['flop'] / seconds * 1e-12 / gemm:.2f} of GEMM)"]
    parts += [f"{name} x{peer['ratio']['median']:.3f}" if "ratio" in peer else f"{name} refused"
              for name, peer in result["peers"].items()]
    return "  ".join(parts)


# ---- the machine ----

def nvidia_smi(*fields):
    """name -> text; nothing where nvidia-smi does not answer."""
    try:
        answer = subprocess.run(
            ["nvidia-smi", "--query-gpu=" + ",".join(fields), "--format=csv,noheader", "--id=0"],
            capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return {}
    if answer.returncode != 0 or not answer.stdout.strip():
        return {}
    return dict(zip(fields, (part.strip() for part in answer.stdout.splitlines()[0].split(","))))


def commit():
    try:
        answer = subprocess.run(
            ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12",
             "--exclude=*"], capture_output=True, text=True)
    except OSError:
        return "unknown"
    return answer.stdout.strip() or "unknown"


def machine(torch, library, arguments):
    properties = torch.cuda.get_device_properties(torch.cuda.current_device())
    clocks = nvidia_smi("driver_version", "clocks.max.sm", "clocks.max.mem", "power.limit")
    return {
        "gpu": properties.name,
        "multiprocessors": properties.multi_processor_count,
        "compute_capability": f"{properties.major}.{properties.minor}",
        "l2_bytes": getattr(properties, "L2_cache_size", 60_000_000),
        "driver": clocks.get("driver_version", "unknown"),
        "max_clocks": ", ".join(clocks.get(k, "?") for k in ("clocks.max.sm", "clocks.max.mem")),
        "power_limit": clocks.get("power.limit", "unknown"),
        "torch": torch.__version__,
        "cuda": str(torch.version.cuda),
        "cudnn": str(torch.backends.cudnn.version()),
        "seqmix": f"{library.version}, commit {arguments.commit or commit()}",
        "rounds": arguments.rounds,
        "command": shlex.join(["bench/gpu/run.py", *sys.argv[1:]]),
    }


def rounded(value):
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    return [rounded(item) for item in value] if isinstance(value, list) else value


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--library", type=pathlib.Path,
                        help="libseqmix_gpu_bench.so; built when not given")
    parser.add_argument("--out", type=pathlib.Path, help="folder of the results",
                        default=ROOT / "bench" / "results")
    parser.add_argument("--name", help="of the results, else from the GPU's")
    parser.add_argument("--rounds", type=int, help="pairs that are timed for a row (9, quick: 3)")
    parser.add_argument("--quick", action="store_true", help="some rows only")
    parser.add_argument("--filter", type=re.compile, help="rows whose name has a match",
                        metavar="REGEX")
    parser.add_argument("--list", action="store_true", help="print the rows' names, run nothing")
    parser.add_argument("--commit", help="what the library was built from, when built elsewhere")
    arguments = parser.parse_args()
    if arguments.rounds is None:
        arguments.rounds = 3 if arguments.quick else 9
    if arguments.rounds < 2:
        parser.error("--rounds: at least 2")
    cases = [case for case in all_rows()
             if (not arguments.quick or case.get("quick"))
             and (arguments.filter is None or arguments.filter.search(case["name"]))]
    for case in cases:
        case.pop("quick", None)
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
    library = Library(arguments.library or build())
    context = machine(torch, library, arguments)
    for key, value in context.items():
        print(f"{key:20} {value}", flush=True)

    document = {"context": context, "ceilings": {}, "rows": []}
    name = arguments.name or re.sub(r"[^a-z0-9]+", "_", context["gpu"].lower()).strip("_")
    timer = Timer(torch, arguments.rounds, BLOCK_SECONDS)
    with torch.inference_mode():
        document["ceilings"]["before"] = ceilings(torch, timer)
        gemm = document["ceilings"]["before"]["gemm_tflops"]
        context["clocks_after_gemm"] = ", ".join(
            nvidia_smi("clocks.sm", "clocks.mem", "power.draw", "temperature.gpu").values())
        print(f"{'ceilings':20} GEMM {gemm:.0f} TFLOP/s, copy "
              f"{document['ceilings']['before']['copy_gbps']:.0f} GB/s, clocks "
              f"{context['clocks_after_gemm']}", flush=True)
        for case in cases:
            broken = None
            try:
                result = measure(torch, case, library, timer, context["l2_bytes"])
            except WrongRow as e:
                result = {**case, "error": str(e)}
            except RuntimeError as e:  # a kernel that went wrong leaves nothing to go on with
                broken = str(e).splitlines()[0]
                result = {**case, "error": broken}
            document["rows"].append(result)
            print(f"{case['name']:44} {progress(result, gemm)}", flush=True)
            if broken:
                break
            torch.cuda.empty_cache()
        else:
            document["ceilings"]["after"] = ceilings(torch, timer)

    arguments.out.mkdir(parents=True, exist_ok=True)
    target = arguments.out / f"{name}.json"
    target.write_text(json.dumps(rounded(document), indent=1) + "\n")
    print(target)
    print(page.write(target))
    wrong = [r["name"] for r in document["rows"] if "error" in r]
    if wrong:
        print("run.py: without a speed: " + ", ".join(wrong), file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
