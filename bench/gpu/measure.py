# SPDX-License-Identifier: Apache-2.0
"""One row: right or wrong, then against its peers and seqmix's own plain row."""
import ctypes
import math
import time
import warnings

import accuracy
import folders  # noqa: F401
import torch_peers
import work
from buffers import Buffers, sets_of
from gpu_timer import host_time
from library import Failed
from rows import plain_of
from timing import summary


class WrongRow(Exception):
    """A row without a speed."""


class Side:
    """seqmix's calls of a row, on as many sets of tensors as it takes."""

    def __init__(self, torch, case, library, l2_bytes):
        self.torch, self.case, self.library = torch, case, library
        generator = torch.Generator(device="cuda")
        generator.manual_seed(1)
        self.buffers = [Buffers(torch, case, generator) for _ in range(sets_of(case, l2_bytes))]
        self.calls = [ctypes.byref(b.call) for b in self.buffers]

    def __call__(self, i):
        self.library.attention(self.calls[i % len(self.calls)])

    def check(self):
        """(the reference, what a result file says of it). Raises WrongRow."""
        try:
            return self._check()
        except Failed as e:
            raise WrongRow(str(e)) from e

    def _check(self):
        first = self.buffers[0]
        first.o.fill_(math.nan)
        self.torch.cuda.synchronize()
        began = time.perf_counter()
        self(0)
        self.torch.cuda.synchronize()
        seconds = time.perf_counter() - began
        expected, lse = accuracy.reference(self.torch, self.case, first)
        error = accuracy.error_of(expected, first.o)
        if wrong := accuracy.complaint(self.case, error):
            raise WrongRow(wrong)

        first.lse.fill_(math.nan)
        first.call.lse = first.lse.data_ptr()
        try:
            self(0)
        except Failed as e:
            raise WrongRow(f"with lse: {e}") from e
        finally:
            first.call.lse = None
        error["lse"] = accuracy.largest((first.lse.double() - lse).abs())
        if not error["lse"] <= accuracy.lse_tolerance(self.case):
            raise WrongRow(f"wrong log-sum-exp: off by {error['lse']:.2g}")
        return expected, {"error_seqmix": error, "first_call_seconds": seconds,
                          "report": self.library.explain(first.call)}


def measure_plain(ours, l2_bytes, timer, checked):
    """The row's rate on visible pairs over that of its plain row, and the row's own times; none for
    a row without one. `checked` holds the names of plain rows that are known to be right."""
    case = plain_of(ours.case)
    if case is None:
        return {}, []
    theirs = Side(ours.torch, case, ours.library, l2_bytes)
    if case["name"] not in checked:
        try:
            theirs.check()
        except WrongRow as e:
            raise WrongRow(f"{case['name']}: {e}") from e
        checked.add(case["name"])
    (mine, plain), ratios = timer.pair(ours, theirs)
    pairs = work.visible_pairs(ours.case) / work.visible_pairs(case)
    return {"plain": {"name": case["name"], "seqmix_seconds": summary(mine),
                      "seconds": summary(plain),
                      "ratio": summary([pairs * ratio for ratio in ratios])}}, mine


def measure_peer(name, ours, expected, timer):
    """The peer's entry of a row, and the times of seqmix that were taken beside it."""
    torch, case, buffers = ours.torch, ours.case, ours.buffers
    with warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("always")
        try:
            began = time.perf_counter()
            peer = torch_peers.open_peer(torch, case, name, buffers[0])
            with peer.where():
                out = peer.call(buffers[0])
                torch.cuda.synchronize()
            entry = {"first_call_seconds": time.perf_counter() - began}
            entry["error"] = accuracy.error_of(expected, peer.shaped(out))
            del out
        except Exception as e:  # a compiler of kernels fails in many ways, and is only a peer
            # Only SDPA says why in warnings.
            return {"refused": torch_peers.refusal(e, [] if name == "flex" else notes)}, []
    if wrong := accuracy.complaint(case, entry["error"]):
        entry["note"] = wrong
    with peer.where():
        if case["group"] == "launch":
            def calls(n):
                for _ in range(n):
                    peer.call(buffers[0])
            return {**entry, "host_seconds": host_time(torch, calls, timer.rounds)}, []
        (mine, theirs), ratios = timer.pair(ours, lambda i: peer.call(buffers[i % len(buffers)]))
    return {**entry, "seqmix_seconds": summary(mine), "seconds": summary(theirs),
            "ratio": summary(ratios)}, mine


def measure(torch, case, library, timer, l2_bytes, checked):
    """A row of the result file. Raises WrongRow."""
    ours = Side(torch, case, library, l2_bytes)
    expected, facts = ours.check()
    result = {**case, "flop": work.operations(case), "pairs": work.visible_pairs(case),
              "kv_bytes": work.kv_bytes(case), **facts, "peers": {}}
    launch = case["group"] == "launch"
    if launch:
        def calls(n):
            for i in range(n):
                ours(i)
        result["host_seconds"] = host_time(torch, calls, timer.rounds)
        result["host_seconds_inside"] = host_time(
            torch, lambda n: library.attention(ours.calls[0], n), timer.rounds)
    plain, times = measure_plain(ours, l2_bytes, timer, checked)
    result |= plain
    for name in case["against"]:
        entry, mine = measure_peer(name, ours, expected, timer)
        result["peers"][torch_peers.title(case, name)] = entry
        times = times + mine
    if not launch:
        result["seconds"] = summary(times or timer.single(ours))
    return result


def line_of(result, gemm):
    """What the terminal says of a row."""
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
        rate = result["flop"] / seconds * 1e-12
        parts = [f"{rate:7.1f} TFLOP/s ({rate / gemm:.2f} of GEMM)"]
    if "plain" in result:
        parts.append(f"{result['plain']['ratio']['median']:.3f} of "
                     f"{result['plain']['name'].split('/')[0]}")
    parts += [f"{name} x{peer['ratio']['median']:.3f}" if "ratio" in peer else f"{name} refused"
              for name, peer in result["peers"].items()]
    return "  ".join(parts)
