# SPDX-License-Identifier: Apache-2.0
"""What a row counts: pairs of query and key, operations, bytes."""
import functools

SPARSE = 16  # every such pair is hidden by the functor `sparse`


def sequences(case):
    """(batch, first query, queries, first key, keys) of each sequence."""
    if "lengths" not in case:
        return [(b, 0, case["T"], 0, case["S"]) for b in range(case["B"])]
    starts = [sum(case["lengths"][:i]) for i in range(len(case["lengths"]))]
    return [(0, at, n, at, n) for at, n in zip(starts, case["lengths"])]


def is_causal(case):
    return case["causal"] or case["functor"] == "causal"


def keys_seen(case, query, queries, keys):
    """How many keys a query of a sequence sees."""
    place = query + keys - queries
    last = min(place, keys - 1) if is_causal(case) else keys - 1
    first = max(place - case["window"] + 1, 0) if case["window"] else 0
    seen = last + 1 - max(first - case["sinks"], 0)
    if case["functor"] == "sparse":  # it has neither a window nor sinks
        seen -= (query + last) // SPARSE - (query - 1) // SPARSE
    return seen


def visible_pairs(case):
    """Of all query heads."""
    @functools.lru_cache(maxsize=None)
    def of_sequence(queries, keys):
        return sum(keys_seen(case, i, queries, keys) for i in range(queries))
    return case["H"] * sum(of_sequence(t, s) for _, _, t, _, s in sequences(case))


def operations(case):
    """2 (D + V) for each pair. Which pairs: as is the custom, all of them, or half when causal;
    where a window or a functor hides more, the visible ones."""
    if case["window"] or case["functor"] in ("sparse", "causal"):
        pairs = visible_pairs(case)
    else:
        pairs = case["H"] * sum(t * s for _, _, t, _, s in sequences(case))
        pairs /= 2 if case["causal"] else 1
    return 2 * (case["D"] + case["V"]) * pairs


def kv_bytes(case):
    """Keys and values, each read once."""
    return 2 * sum(n for *_, n in sequences(case)) * case["HK"] * (case["D"] + case["V"])


def tensor_bytes(case):
    """Of q, k, v and the output."""
    batch = 1 if "lengths" in case else case["B"]
    return 2 * batch * (case["D"] + case["V"]) * (case["T"] * case["H"] + case["S"] * case["HK"])
