#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Turns a JSON file of run.py into a page of tables, and plots where matplotlib is installed.

    bench/gpu/page.py bench/results/nvidia_h200.json

writes nvidia_h200.md, and nvidia_h200_*.svg, beside the file. Needs neither a GPU nor PyTorch.
"""
import argparse
import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "report"))
from markdown import table  # noqa: E402
from plots import pyplot, save  # noqa: E402

FACTS = ("gpu", "multiprocessors", "compute_capability", "l2_bytes", "driver", "max_clocks",
         "clocks_after_gemm", "power_limit", "torch", "cuda", "cudnn", "seqmix", "rounds")
GROUPS = {
    "forward": "As many queries as keys, equal sequences of T tokens, 16384 tokens in all, "
               "2048 / D heads. 4 B H T S D operations, half of them when causal.",
    "gqa": "32 query heads over 8 key-value heads.",
    "varlen": "Packed sequences of {lengths} tokens. `varlen_attn` is `torch.nn.attention.varlen`; "
              "`one by one` is SDPA on each sequence in turn.",
    "decode": "One query for each sequence over a KV cache whose lengths are in GPU memory "
              "(PyTorch: over the whole tensors, which are as long). GB/s: keys and values, read "
              "once.",
}


def ceiling(document, key):
    values = [c[key] for c in document["ceilings"].values()]
    return sum(values) / len(values)


def shape(row):
    """The row's name without its group: `D:64/causal:0/T:512/bf16` -> `D64 T512 causal bf16`."""
    parts = row["name"].split("/")[1:]
    text = " ".join(p.replace(":", "") for p in parts if not p.startswith("causal"))
    return text + (" causal" if row["causal"] else "")


def spread(summary):
    return f"{summary['p25']:.2f} to {summary['p75']:.2f}"


def peer_names(rows):
    return list(dict.fromkeys(name for row in rows for name in row.get("peers", {})))


def cells_of(row, name, rate):
    """A peer's speed, and seqmix's over it."""
    peer = row.get("peers", {}).get(name)
    if peer is None:
        return ["", ""]
    if "refused" in peer:
        return ["refused", ""]
    mark = " (!)" if "note" in peer else ""
    return [rate(row, peer["seconds"]["median"]) + mark,
            f"**{peer['ratio']['median']:.2f}** ({spread(peer['ratio'])})"]


def speeds(document, rows):
    """Speeds of one group: seqmix, its share of the ceiling, and each peer with the ratio."""
    peers = peer_names(rows)
    decode = rows[0]["group"] == "decode"
    if decode:
        top, unit, of = ceiling(document, "copy_gbps"), "GB/s", "of copy"
        rate = lambda row, seconds: f"{row['kv_bytes'] / seconds * 1e-9:.0f}"
    else:
        top, unit, of = ceiling(document, "gemm_tflops"), "TFLOP/s", "of GEMM"
        rate = lambda row, seconds: f"{row['flop'] / seconds * 1e-12:.0f}"
    heading = ["shape", "time", f"seqmix {unit}", of]
    for name in peers:
        heading += [name, "ratio"]
    lines = []
    for row in rows:
        if "error" in row:
            lines.append([shape(row), "ERROR: " + row["error"]] + [""] * (len(heading) - 2))
            continue
        seconds = row["seconds"]["median"]
        mine = rate(row, seconds)
        line = [shape(row), f"{seconds * 1e6:.4g} us", mine, f"{float(mine) / top:.2f}"]
        for name in peers:
            line += cells_of(row, name, rate)
        lines.append(line)
    return table(heading, lines)


def refusals(rows):
    """Why a peer gave no speed, each reason once."""
    lines = {}
    for row in rows:
        for name, peer in row.get("peers", {}).items():
            reason = peer.get("refused") or peer.get("note")
            if reason:
                lines.setdefault((name, reason), []).append(shape(row))
    return [f"* {name}: {reason} ({'; '.join(shapes[:3])}{' ...' if len(shapes) > 3 else ''})"
            for (name, reason), shapes in lines.items()]


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
        return f"{entry['rms']:.2e}, {entry['worst_row']:.2e}"
    lines = []
    for row in rows:
        line = [shape(row), error(row["error_seqmix"]), f"{row['error_seqmix']['lse']:.1e}"]
        line += [error(row["peers"][name]["error"]) if "error" in row["peers"].get(name, {}) else ""
                 for name in peers]
        lines.append(line)
    return table(["relative error: RMS, worst row", "seqmix", "its LSE", *peers], lines)


# ---- plots ----

def forward_plot(document, rows, title, path):
    """TFLOP/s over the length of a sequence."""
    plot = pyplot()
    if plot is None or not rows:
        return False
    rows = sorted(rows, key=lambda row: row["T"])
    figure, axes = plot.subplots(figsize=(7, 4), layout="constrained")
    def line(points, label, **style):
        axes.plot([row["T"] for row, _ in points],
                  [row["flop"] / seconds * 1e-12 for row, seconds in points], label=label, **style)
    line([(row, row["seconds"]["median"]) for row in rows], "seqmix", marker="o", color="C3",
         linewidth=2.5)
    for name, colour in zip(peer_names(rows), ("C0", "C2", "C1", "C4")):
        points = [(row, row["peers"][name]["seconds"]["median"]) for row in rows
                  if "seconds" in row["peers"].get(name, {})]
        if points:
            line(points, f"PyTorch, {name}", marker="s", color=colour)
    axes.axhline(ceiling(document, "gemm_tflops"), color="black", linewidth=0.8, linestyle="--",
                 label="GEMM 8192 x 8192 x 8192")
    axes.set_xscale("log", base=2)
    axes.set_xticks([row["T"] for row in rows], [str(row["T"]) for row in rows])
    axes.set_ylim(bottom=0)
    axes.set_xlabel("T: tokens of a sequence, 16384 in all")
    axes.set_ylabel("TFLOP/s")
    axes.set_title(title)
    axes.legend(fontsize="x-small", loc="center left", bbox_to_anchor=(1, 0.5))
    return save(figure, path)


def decode_plot(document, rows, title, path):
    """Keys and values per second, as a share of what a copy moves."""
    plot = pyplot()
    if plot is None or not rows:
        return False
    copy = ceiling(document, "copy_gbps")
    names = ["seqmix", *peer_names(rows)]
    figure, axes = plot.subplots(figsize=(7, 4), layout="constrained")
    width = 0.8 / len(names)
    for i, (name, colour) in enumerate(zip(names, ("C3", "C0", "C2", "C1", "C4"))):
        at, shares = [], []
        for j, row in enumerate(rows):
            entry = row if name == "seqmix" else row["peers"].get(name, {})
            if "seconds" in entry:
                at.append(j + (i - (len(names) - 1) / 2) * width)
                shares.append(row["kv_bytes"] / entry["seconds"]["median"] * 1e-9 / copy)
        if at:
            axes.bar(at, shares, width, color=colour,
                     label=name if name == "seqmix" else f"PyTorch, {name}")
    axes.axhline(1, color="black", linewidth=0.8)
    axes.set_xticks(range(len(rows)), [f"B {row['B']}, S {row['S']}" for row in rows])
    axes.set_ylabel("share of a copy's bytes per second")
    axes.set_title(title)
    axes.legend(fontsize="x-small", loc="center left", bbox_to_anchor=(1, 0.5))
    return save(figure, path)


def plots(document, group, rows, target):
    """The plots of a group, as lines of the page."""
    rows = [row for row in rows if "error" not in row]
    made = []
    if group == "forward":
        for d in sorted({row["D"] for row in rows}):
            for causal in (False, True):
                kind = "causal" if causal else "full"
                mine = [row for row in rows if row["D"] == d and row["causal"] == causal
                        and row["dtype"] == "bf16"]
                title = f"forward, D = {d}, {kind}, bf16"
                path = target.with_name(f"{target.stem}_forward_d{d}_{kind}.svg")
                if forward_plot(document, mine, title, path):
                    made.append((title, path.name))
    elif group == "decode":
        path = target.with_name(f"{target.stem}_decode.svg")
        title = "decode, 32 query heads over 8, D = 128, bf16"
        if decode_plot(document, rows, title, path):
            made.append((title, path.name))
    return [part for title, path in made for part in (f"![{title}]({path})", "")]


# ---- the page ----

def write(path):
    """Writes the page of a JSON file beside it and returns where."""
    document = json.loads(path.read_text())
    context = document["context"]
    target = path.with_suffix(".md")
    page = ["<!-- Made by bench/gpu/page.py. -->", f"# {context['gpu']}", "", "```sh",
            context["command"], f"bench/gpu/page.py {path.name}", "```", "",
            *table(["", ""], [[fact, context.get(fact, "")] for fact in FACTS]), "",
            "Ceilings in the same process, before and after the rows:", ""]
    page += table(["", "GEMM 8192^3 bf16, TFLOP/s", "copy, GB/s read and written"],
                  [[when, f"{c['gemm_tflops']:.0f}", f"{c['copy_gbps']:.0f}"]
                   for when, c in document["ceilings"].items()])
    page += ["", "Ratio: PyTorch's time over seqmix's in the same round, so that above 1 seqmix is "
             "faster; median of the rounds, and their quartiles. Times are those of the GPU. A row "
             "has a speed only when its result agrees with float64. Relative error: the root mean "
             "square error over the root mean square of the float64 result, of all sampled rows, of "
             "the worst one; LSE: the largest absolute error of the log-sum-exp. "
             "[How](../gpu/README.md)."]
    for group in dict.fromkeys(row["group"] for row in document["rows"]):
        rows = [row for row in document["rows"] if row["group"] == group]
        page += ["", f"## {group}", ""]
        if group == "launch":
            page += ["What the host does for a call of one head, 64 queries and keys, D = 64; 200 "
                     "calls back to back.", "", *launch(rows)]
        else:
            lengths = ", ".join(str(n) for n in rows[0].get("lengths", []))
            page += [GROUPS[group].format(lengths=lengths), "",
                     *plots(document, group, rows, target), *speeds(document, rows)]
        if told := refusals(rows):
            page += ["", *told]
        if right := [row for row in rows if "error" not in row]:
            page += ["", *accuracy(right)]
    target.write_text("\n".join(page) + "\n")
    return target


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("json", type=pathlib.Path, nargs="+", help="what run.py wrote")
    for path in parser.parse_args().json:
        try:
            print(write(path))
        except OSError as e:
            sys.exit(f"page.py: {path}: {e.strerror}")
        except (KeyError, TypeError, ValueError) as e:
            sys.exit(f"page.py: {path}: not written by run.py: {e!r}")


if __name__ == "__main__":
    main()
