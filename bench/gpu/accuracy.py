# SPDX-License-Identifier: Apache-2.0
"""Right or wrong: the whole result in float64, in chunks, and how far a result is from it."""
import math

import work

# Root mean square error of a result, over that of the float64 one: of the whole, and of the worst
# row of a query and a head.
TOLERANCE = {"bf16": (0.008, 0.03), "f16": (0.001, 0.004)}
LSE_TOLERANCE = 1e-3
TANH_ERROR = 2 ** -10  # of a GPU's fast tanh: what a capped score may be off, over the cap
SCORES = 1 << 27       # of a chunk: a GiB


def lse_tolerance(case):
    return LSE_TOLERANCE + case["softcap"] * TANH_ERROR


def visible(torch, case, query, keys, off):
    """Which keys are seen, [queries, keys]; none when all are."""
    place, key = (query + off)[:, None], torch.arange(keys, device=query.device)[None, :]
    seen = None
    if work.is_causal(case):
        seen = key <= place
    if case["window"]:
        near = (key > place - case["window"]) | (key < case["sinks"])
        seen = near if seen is None else seen & near
    if case["functor"] == "sparse":
        seen = (query[:, None] + key) % work.SPARSE != 0
    return seen


def attention(torch, case, q, k, v, query, off, slopes, logits):
    """The rows `query` of some heads, [heads, queries, V], and their log-sum-exp."""
    scores = (q * case["D"] ** -0.5) @ k.mT
    if case["softcap"]:
        scores.div_(case["softcap"]).tanh_().mul_(case["softcap"])
    if slopes is not None:
        key = torch.arange(k.shape[1], device=query.device)
        scores.sub_(slopes[:, None, None] * (query[:, None] + off - key[None, :]).abs())
    seen = visible(torch, case, query, k.shape[1], off)
    if seen is not None:
        scores.masked_fill_(~seen, -math.inf)
    top = scores.amax(dim=-1, keepdim=True)
    if logits is not None:
        top = torch.maximum(top, logits[:, None, None])
    scores.sub_(top).exp_()
    total = scores.sum(dim=-1, keepdim=True)
    if logits is not None:
        total += torch.exp(logits[:, None, None] - top)
    return scores @ v / total, (total.log() + top)[..., 0]


def reference(torch, case, buffers):
    """The result [B, T, H, V] and the log-sum-exp [B, H, T], in float64."""
    double = lambda x, heads: None if x is None else x[heads].double()
    result = torch.empty(buffers.o.shape, device=buffers.o.device, dtype=torch.float64)
    lse = torch.empty(buffers.lse.shape, device=buffers.o.device, dtype=torch.float64)
    group = case["H"] // case["HK"]
    for b, q0, t, k0, s in work.sequences(case):
        rows = max(1, min(t, SCORES // s))
        heads = max(1, min(case["H"], SCORES // (rows * s)))
        for h in range(0, case["H"], heads):
            of = slice(h, min(h + heads, case["H"]))
            shared = torch.arange(of.start, of.stop, device=result.device) // group
            k, v = (x[b, k0:k0 + s].transpose(0, 1)[shared].double()
                    for x in (buffers.k, buffers.v))
            slopes, logits = double(buffers.slopes, of), double(buffers.logits, of)
            for i in range(0, t, rows):
                query = torch.arange(i, min(i + rows, t), device=result.device)
                there = slice(q0 + i, q0 + i + len(query))
                q = buffers.q[b, there, of].transpose(0, 1).double()
                out, sums = attention(torch, case, q, k, v, query, s - t, slopes, logits)
                result[b, there, of] = out.transpose(0, 1)
                lse[b, of, there] = sums
    return result, lse


def largest(values):
    """max() is free to lose a NaN."""
    return values.max().item() if values.isfinite().all().item() else math.inf


def error_of(expected, result):
    """Relative root mean square error, of the whole and of the worst row; the largest error."""
    off = result.double() - expected
    row_off, row_size = (x.square().sum(dim=-1) for x in (off, expected))
    whole = (row_off.sum() / row_size.sum()).sqrt().item()
    return {"rms": whole if math.isfinite(whole) else math.inf,
            "worst_row": largest((row_off / row_size).sqrt()), "max": largest(off.abs())}


def complaint(case, error):
    rms, worst = TOLERANCE[case["dtype"]]
    if not (error["rms"] <= rms and error["worst_row"] <= worst):
        return (f"wrong result: relative RMS error {error['rms']:.2g}, worst row "
                f"{error['worst_row']:.2g}; allowed are {rms}, {worst}")
    return None
