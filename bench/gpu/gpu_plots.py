# SPDX-License-Identifier: Apache-2.0
"""The plots of page.py. Each gives whether it drew anything."""
import folders  # noqa: F401
from plots import pyplot, save
from results import ceiling, peer_names, shape

COLOURS = ("C0", "C2", "C1", "C4", "C5")  # of peers; seqmix has its own
OURS = "C3"


def legend(axes):
    axes.legend(fontsize="x-small", loc="center left", bbox_to_anchor=(1, 0.5))


def forward_speed(document, rows, title, path):
    """TFLOP/s over the length of a sequence."""
    plot = pyplot()
    if plot is None or not rows:
        return False
    rows = sorted(rows, key=lambda row: row["T"])
    figure, axes = plot.subplots(figsize=(7, 4), layout="constrained")
    def line(points, label, **style):
        axes.plot([row["T"] for row, _ in points],
                  [row["flop"] / seconds * 1e-12 for row, seconds in points], label=label, **style)
    line([(row, row["seconds"]["median"]) for row in rows], "seqmix", marker="o", color=OURS,
         linewidth=2.5)
    for name, colour in zip(peer_names(rows), COLOURS):
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
    legend(axes)
    return save(figure, path)


def ratio_bar(axes, at, ratio, label=None, lying=False):
    """seqmix's, with quartiles and its number; pale where seqmix is slower."""
    low, middle, high = ratio["p25"], ratio["median"], ratio["p75"]
    style = {"color": OURS, "alpha": 1 if middle >= 1 else 0.5, "label": label}
    whisker = {"color": "black", "linewidth": 0.8, "capsize": 2}
    spread = [[middle - low], [high - middle]]
    if lying:
        axes.barh(at, middle, 0.7, **style)
        axes.errorbar(middle, at, xerr=spread, **whisker)
        where, beside, aligned = (high, at), (3, 0), {"va": "center"}
    else:
        axes.bar(at, middle, 0.7, **style)
        axes.errorbar(at, middle, yerr=spread, **whisker)
        where, beside, aligned = (at, high), (0, 2), {"ha": "center"}
    axes.annotate(f"{middle:.2f}", where, xytext=beside, textcoords="offset points",
                  fontsize="x-small", **aligned)
    axes.spines[["top", "right"]].set_visible(False)


def forward_ratio(document, rows, title, path, peer="cudnn"):
    """The peer's time over seqmix's for each length, and seqmix's share of the matrix product."""
    rows = sorted((row for row in rows if "ratio" in row["peers"].get(peer, {})),
                  key=lambda row: row["T"])
    plot = pyplot()
    if plot is None or not rows:
        return False
    kinds = [kind for kind in (False, True) if any(row["causal"] == kind for row in rows)]
    figure, panels = plot.subplots(1, len(kinds), figsize=(1.5 + 4 * len(kinds), 3.6), sharey=True,
                                   squeeze=False, layout="constrained")
    top = ceiling(document, "gemm_tflops") * 1e12
    for causal, axes in zip(kinds, panels[0]):
        mine = [row for row in rows if row["causal"] == causal]
        at = range(len(mine))
        for i, row in enumerate(mine):
            ratio_bar(axes, i, row["peers"][peer]["ratio"],
                      f"{peer}'s time over seqmix's" if i == 0 else None)
        axes.plot(at, [row["flop"] / row["seconds"]["median"] / top for row in mine], marker="o",
                  color="black", linewidth=1.2, label="seqmix's share of GEMM")
        axes.axhline(1, color="black", linewidth=0.8, linestyle="--")
        axes.set_xticks(at, [str(row["T"]) for row in mine])
        axes.set_xlabel("T, causal" if causal else "T")
    legend(panels[0][-1])
    figure.suptitle(title, fontsize="medium")
    return save(figure, path)


def plain_ratio(rows, title, path):
    """The rate on visible pairs over that of the plain row of the same run."""
    rows = [row for row in rows if "plain" in row]
    plot = pyplot()
    if plot is None or not rows:
        return False
    figure, axes = plot.subplots(figsize=(7, 1 + 0.25 * len(rows)), layout="constrained")
    for i, row in enumerate(rows):
        ratio_bar(axes, i, row["plain"]["ratio"], lying=True)
    axes.axvline(1, color="black", linewidth=0.8, linestyle="--")
    axes.set_yticks(range(len(rows)), [f"{row['group']}   {shape(row)}" for row in rows],
                    fontsize="x-small")
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_title(title, fontsize="medium")
    return save(figure, path)


def decode_speed(document, rows, title, path):
    """Keys and values per second, as a share of what a copy moves."""
    plot = pyplot()
    if plot is None or not rows:
        return False
    copy = ceiling(document, "copy_gbps")
    names = ["seqmix", *peer_names(rows)]
    figure, axes = plot.subplots(figsize=(7, 4), layout="constrained")
    width = 0.8 / len(names)
    for i, (name, colour) in enumerate(zip(names, (OURS, *COLOURS))):
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
    legend(axes)
    return save(figure, path)
