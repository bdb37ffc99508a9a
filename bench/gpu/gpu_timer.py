# SPDX-License-Identifier: Apache-2.0
"""Times calls on a GPU, in the alternation of bench/peers; what the machine can do at most."""
import math
import time

import folders  # noqa: F401
from timing import Timer, summary

BLOCK_SECONDS = 0.005  # a timed block lasts at least this long
MOST_CALLS = 400       # of a block: more would not fit into the launch queue while the GPU waits
SM_HERTZ = 2e9         # of torch.cuda._sleep, roughly


class GpuTimer(Timer):
    """A call is a function of its number in the block, which chooses among sets of tensors."""

    def __init__(self, torch, rounds, seconds=BLOCK_SECONDS):
        super().__init__(rounds, seconds, 1, MOST_CALLS)
        self.torch = torch

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
        seconds = self.block(call, (10, host))
        return min(max(math.ceil(self.seconds / seconds), 3), self.most), host

    def block(self, call, plan):
        """Seconds of GPU time for each of the calls in a row.

        The GPU waits while they are queued, so that what the host needs for a call is not in it.
        """
        n, host_seconds = plan
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


def host_time(torch, call, rounds, calls=200):
    """Seconds on the host for a call, of many back to back; call(n) makes n of them."""
    samples = []
    for _ in range(rounds + 1):
        torch.cuda.synchronize()
        began = time.perf_counter()
        call(calls)
        samples.append((time.perf_counter() - began) / calls)
    torch.cuda.synchronize()
    return summary(samples[1:])


def ceilings(torch, timer):
    """A large matrix product, a large copy."""
    n = 8192
    a, b = (torch.randn(n, n, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    c = torch.empty_like(a)
    gemm = summary(timer.single(lambda i: torch.mm(a, b, out=c)))
    source = torch.empty(1 << 31, device="cuda", dtype=torch.uint8).fill_(1)
    target = torch.empty_like(source)
    copy = summary(timer.single(lambda i: target.copy_(source)))
    return {"gemm_tflops": 2 * n ** 3 / gemm["median"] * 1e-12,
            "copy_gbps": 2 * source.numel() / copy["median"] * 1e-9}
