#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Turns a JSON file of run.py into a page of tables, and plots where matplotlib is installed.

    bench/gpu/page.py bench/results/nvidia_h200.json

writes nvidia_h200.md, and nvidia_h200_*.svg, beside the file. Needs neither a GPU nor PyTorch.
"""
import argparse
import pathlib
import sys

import folders  # noqa: F401
import gpu_plots
from page_text import NotThatFile, filled_table, read_json, table, time_text
from results import ceiling, peer_names, shape, timed
from rows import PLAIN

FACTS = ("gpu", "multiprocessors", "compute_capability", "l2_bytes", "driver", "max_clocks",
         "clocks_after_gemm", "power_limit", "torch", "cuda", "cudnn", "seqmix", "rounds")
GROUPS = {
    "forward": "As many queries as keys, equal sequences of T tokens, 16384 tokens in all, "
               "2048 / D heads. 2 (D + V) B H T S operations, half of them when causal.",
    "gqa": "32 query heads over 8 key-value heads.",
    "window": "Two sequences of 8192 tokens, 16 heads; a query sees W keys, its own the last. "
              "Operations are those of visible pairs. `varlen_attn` is FlashAttention 2 with a "
              "window.",
    "softcap": "Scores capped by the built-in option, two sequences of 8192 tokens.",
    "alibi": "ALiBi's slopes, two sequences of 8192 tokens.",
    "sink_logits": "One more learned logit for each head in the denominator, two sequences of 8192 "
                   "tokens.",
    "sinks": "The first keys stay visible beside a window of W; operations are those of visible "
             "pairs.",
    "functor": "A user's functor that is compiled into the kernel, for two sequences of 8192 "
               "tokens: `softcap` changes the scores as the option does, `sparse` hides every "
               "sixteenth pair one by one, `causal` hides what the option would and answers for "
               "blocks. Operations of the latter two are those of visible pairs.",
    "varlen": "Packed sequences: `one_long`: 8192 tokens and 64 times 128; `halving`: 8192, 4096 "
              "and so on to 128, 128. `varlen_attn` is `torch.nn.attention.varlen`; `one by one` "
              "is SDPA on each sequence in turn. Dense: one sequence with as many pairs.",
    "decode": "One query for each sequence over a KV cache whose lengths are in GPU memory "
              "(PyTorch: over the whole tensors, which are as long). GB/s: keys and values, read "
              "once.",
    "launch": "What the host does for a call of one head, 64 queries and keys, D = 64; 200 calls "
              "back to back.",
}
RMS_BAR = 1.1  # a root mean square error of more than this over cuDNN's gets a mark


def ratio_text(ratio):
    return f"**{ratio['median']:.2f}** ({ratio['p25']:.2f} to {ratio['p75']:.2f})"


def cells_of(row, name, rate):
    """A peer's speed, and seqmix's over it."""
    peer = row.get("peers", {}).get(name)
    if peer is None:
        return ["", ""]
    if "refused" in peer:
        return ["refused", ""]
    mark = " (!)" if "note" in peer else ""
    return [rate(row, peer["seconds"]["median"]) + mark, ratio_text(peer["ratio"])]


def speeds(document, rows):
    """Speeds of one group: seqmix, its share of the ceiling and of its plain row, and each peer
    with the ratio."""
    peers, group = peer_names(rows), rows[0]["group"]
    if group == "decode":
        top, unit, of = ceiling(document, "copy_gbps"), "GB/s", "of copy"
        rate = lambda row, seconds: f"{row['kv_bytes'] / seconds * 1e-9:.0f}"
    else:
        top, unit, of = ceiling(document, "gemm_tflops"), "TFLOP/s", "of GEMM"
        rate = lambda row, seconds: f"{row['flop'] / seconds * 1e-12:.0f}"
    heading = ["shape", "time", f"seqmix {unit}", of, f"of {PLAIN.get(group, 'plain')}"]
    for name in peers:
        heading += [name, "ratio"]
    lines = []
    for row in rows:
        if "error" in row:
            lines.append([shape(row), "ERROR: " + row["error"]] + [""] * (len(heading) - 2))
            continue
        seconds = row["seconds"]["median"]
        mine = rate(row, seconds)
        line = [shape(row), f"{seconds * 1e6:.4g} us", mine, f"{float(mine) / top:.2f}",
                ratio_text(row["plain"]["ratio"]) if "plain" in row else ""]
        for name in peers:
            line += cells_of(row, name, rate)
        lines.append(line)
    return filled_table(heading, lines)


def told(rows):
    """Why a peer gave no speed, each reason once; how long first calls took."""
    reasons, first = {}, {}
    for row in rows:
        for name, entry in [("seqmix", row), *row.get("peers", {}).items()]:
            if reason := entry.get("refused") or entry.get("note"):
                reasons.setdefault((name, reason), []).append(shape(row))
            if "first_call_seconds" in entry:
                first[name] = max(first.get(name, 0), entry["first_call_seconds"])
    lines = [f"* {name}: {reason} ({'; '.join(shapes[:3])}{' ...' if len(shapes) > 3 else ''})"
             for (name, reason), shapes in reasons.items()]
    if first:
        lines.append("* longest first call, not in the times: " + ", ".join(
            f"{name} {time_text(seconds)}" for name, seconds in first.items()))
    return lines


def launch(rows):
    lines = []
    for row in rows:
        if "error" in row:
            lines.append(["seqmix", "ERROR: " + row["error"]])
            continue
        times = [("seqmix, a loop in C++", row["host_seconds_inside"]),
                 ("seqmix, from Python through ctypes", row["host_seconds"])]
        times += [(f"PyTorch SDPA, {name}", peer["host_seconds"])
                  for name, peer in row["peers"].items() if "host_seconds" in peer]
        lines += [[name, f"{t['median'] * 1e6:.2f} us",
                   f"{t['p25'] * 1e6:.2f} to {t['p75'] * 1e6:.2f}"] for name, t in times]
    return table(["", "host time of a call", "p25 to p75"],
                 [line + [""] * (3 - len(line)) for line in lines])


def accuracy(rows):
    peers = peer_names(rows)
    def error(entry):
        numbers = [f"{entry[key]:.2e}" for key in ("rms", "worst_row", "max") if key in entry]
        return ", ".join(numbers)
    def over_cudnn(row):
        theirs = next((peer["error"]["rms"] for name, peer in row["peers"].items()
                       if name.startswith("cudnn") and "error" in peer), None)
        if theirs is None:
            return ""
        ratio = row["error_seqmix"]["rms"] / theirs
        return f"{ratio:.3f}" + (" (!)" if ratio > RMS_BAR else "")
    lines = []
    for row in rows:
        line = [shape(row), error(row["error_seqmix"]), f"{row['error_seqmix']['lse']:.1e}",
                over_cudnn(row)]
        line += [error(row["peers"][name]["error"]) if "error" in row["peers"].get(name, {}) else ""
                 for name in peers]
        lines.append(line)
    return filled_table(["error: RMS, worst row, largest", "seqmix", "its LSE", "RMS over cuDNN's",
                         *peers], lines)


def plots(document, group, rows, target):
    """The plots of a group, as lines of the page."""
    rows = timed(rows)
    made = []
    def add(name, title, draw, *data):
        path = target.with_name(f"{target.stem}_{name}.svg")
        if draw(*data, title, path):
            made.append((title, path.name))
    if group == "forward":
        for d in sorted({row["D"] for row in rows}):
            mine = [row for row in rows if row["D"] == d == row.get("V", d)
                    and row["dtype"] == "bf16"]
            if len({row["T"] for row in mine}) < 2:
                continue
            add(f"forward_d{d}_ratio", f"forward against cuDNN, D = {d}, bf16",
                gpu_plots.forward_ratio, document, mine)
            for causal, kind in ((False, "full"), (True, "causal")):
                add(f"forward_d{d}_{kind}", f"forward, D = {d}, {kind}, bf16",
                    gpu_plots.forward_speed, document,
                    [row for row in mine if row["causal"] == causal])
    elif group == "decode":
        add("decode", "decode, 32 query heads over 8, D = 128, bf16", gpu_plots.decode_speed,
            document, rows)
    return [part for title, path in made for part in (f"![{title}]({path})", "")]


def variants(document, target):
    """All groups with a plain row in one plot, as lines of the page."""
    path = target.with_name(f"{target.stem}_of_plain.svg")
    title = "rate on visible pairs, of the plain row's in the same run"
    drawn = gpu_plots.plain_ratio(timed(document["rows"]), title, path)
    return ["", f"![{title}]({path.name})"] if drawn else []


def section(document, group, target):
    rows = [row for row in document["rows"] if row["group"] == group]
    page = ["", f"## {group}", "", GROUPS[group], ""]
    if group == "launch":
        page += launch(rows)
    else:
        page += [*plots(document, group, rows, target), *speeds(document, rows)]
    if lines := told(rows):
        page += ["", *lines]
    if right := timed(rows):
        page += ["", *accuracy(right)]
    return page


def write(path):
    """Writes the page of a JSON file beside it and returns where."""
    document = read_json(path)
    target = path.with_suffix(".md")
    try:
        text = "\n".join(page_of(document, path, target)) + "\n"
    except (AttributeError, KeyError, TypeError, ValueError) as e:
        raise NotThatFile(f"{path}: not written by run.py: {e!r}") from e
    target.write_text(text)
    return target


def page_of(document, path, target):
    context = document["context"]
    page = ["<!-- Made by bench/gpu/page.py. -->", f"# {context['gpu']}", "", "```sh",
            context["command"], f"bench/gpu/page.py {path.name}", "```", "",
            *table(["", ""], [[fact, context.get(fact, "")] for fact in FACTS]), "",
            "Ceilings in the same process, before and after the rows:", ""]
    page += table(["", "GEMM 8192^3 bf16, TFLOP/s", "copy, GB/s read and written"],
                  [[when, f"{c['gemm_tflops']:.0f}", f"{c['copy_gbps']:.0f}"]
                   for when, c in document["ceilings"].items()])
    page += ["", "Ratio: PyTorch's time over seqmix's in the same round, so that above 1 seqmix is "
             "faster; median of the rounds, and their quartiles. `of plain`, `of dense`: the rate "
             "on visible pairs over that of seqmix's own plain row, timed in turns with it. Times "
             "are those of the GPU. A row has a speed only when its result agrees with float64. "
             "Error: the root mean square error over the root mean square of the float64 result; "
             "the same of the worst row; the largest absolute one. LSE: the largest absolute error "
             f"of the log-sum-exp. (!): a peer's result beyond the tolerance, or an error above "
             f"{RMS_BAR} of cuDNN's. [How](../gpu/README.md)."]
    if left := document.get("left_out"):
        page += ["", f"Not measured, as time was up: {len(left)} rows, from `{left[0]}` on."]
    page += variants(document, target)
    for group in dict.fromkeys(row["group"] for row in document["rows"]):
        page += section(document, group, target)
    return page


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("json", type=pathlib.Path, nargs="+", help="what run.py wrote")
    for path in parser.parse_args().json:
        try:
            print(write(path))
        except NotThatFile as e:
            sys.exit(f"page.py: {e}")


if __name__ == "__main__":
    main()
