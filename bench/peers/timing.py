# SPDX-License-Identifier: Apache-2.0
"""Times two sides in strict alternation."""
import math
import statistics
import time

# Seconds before several threads are timed, in which another side's stop spinning: before a block,
# and before the ceilings, which have no block that is not timed. OpenBLAS's spin for some 30 ms.
REST = 0.003
REST_BEFORE_CEILINGS = 0.1


def summary(samples):
    quartiles = statistics.quantiles(samples, n=4, method="inclusive")
    return {"median": statistics.median(samples), "p25": quartiles[0], "p75": quartiles[2]}


class Timer:
    def __init__(self, rounds, seconds, threads, most_calls=1024):
        self.rounds, self.seconds, self.threads, self.most = rounds, seconds, threads, most_calls

    def plan(self, call):
        """Makes the call's block as many calls as last self.seconds; returns their number."""
        call.plan(1)
        call.block()
        began = time.perf_counter()
        call.block()
        once = max(time.perf_counter() - began, 1e-9)
        repeats = min(max(math.ceil(self.seconds / once), 1), self.most)
        call.plan(repeats)
        return repeats

    def block(self, call, repeats):
        """Seconds of a call, after a block that is not timed and brings the caches to it."""
        if self.threads > 1:
            time.sleep(REST)
        call.block()
        began = time.perf_counter()
        call.block()
        return (time.perf_counter() - began) / repeats

    def single(self, call):
        repeats = self.plan(call)
        return [self.block(call, repeats) for _ in range(self.rounds)]

    def pair(self, ours, theirs):
        """Seconds of both, and each round's ratio theirs / ours; they take turns to begin."""
        calls = (ours, theirs)
        repeats = [self.plan(call) for call in calls]
        times = ([], [])
        for i in range(self.rounds):
            for which in ((0, 1) if i % 2 == 0 else (1, 0)):
                times[which].append(self.block(calls[which], repeats[which]))
        return times, [b / a for a, b in zip(*times)]
