# SPDX-License-Identifier: Apache-2.0
"""The plots of peers_page.py."""
import peers_page
from plots import pyplot, save

STYLES = {  # side -> colour, marker
    "seqmix": ("#c1272d", "o"), "ggml": ("#0060a8", "s"), "PyTorch chunks": ("#e08a00", "^"),
    "PyTorch loop": ("#7a7a7a", "v"), "PyTorch SDPA": ("#e08a00", "^")}
OTHER = ("#2a8a4a", "D")


def style(name):
    return STYLES.get(name, OTHER)


def bars(rows, path):
    """For each peer, how many times as long as seqmix it takes, with quartiles."""
    names = [n for n in peers_page.peer_names(rows)
             if any("ratio" in row["peers"].get(n, {}) for row in rows)]
    if not names:
        return False
    figure, panels = pyplot().subplots(
        1, len(names), figsize=(2.2 + 2.6 * len(names), 1.1 + 0.24 * len(rows)), sharey=True,
        squeeze=False, layout="constrained")
    for name, axes in zip(names, panels[0]):
        ends = [1]
        for at, row in enumerate(rows):
            ratio = row["peers"].get(name, {}).get("ratio")
            if ratio is None:
                continue
            low, middle, high = ratio["p25"], ratio["median"], ratio["p75"]
            axes.barh(at, middle, 0.7, color=style(name)[0], alpha=1 if middle >= 1 else 0.45)
            axes.errorbar(middle, at, xerr=[[middle - low], [high - middle]], color="black",
                          linewidth=0.8, capsize=2)
            axes.annotate(f"{middle:.2f}", (max(high, 1), at), xytext=(3, 0),
                          textcoords="offset points", va="center", fontsize="x-small")
            ends.append(high)
        axes.axvline(1, color="black", linewidth=0.8)
        axes.set_xlim(0, 1.22 * max(ends))
        axes.set_title(name, fontsize="medium")
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(axis="x", labelsize="small")
    labels, last = [], None
    for row in rows:  # the operator's name once
        labels.append(f"{row['operator'] if row['operator'] != last else ''}   "
                      f"{peers_page.shape_of(row)}")
        last = row["operator"]
    panels[0][0].set_yticks(range(len(rows)), labels, fontsize="small")
    panels[0][0].set_ylim(len(rows) - 0.4, -0.6)
    threads = rows[0]["threads"]
    figure.supxlabel("time over seqmix's, on " + ("one thread" if threads == 1 else
                                                  f"{threads} threads"), fontsize="medium")
    return save(figure, path)


def rooflines(rows, path):
    """A panel for each operator: work over FLOP per byte, below the probes of the same run."""
    operators = list(dict.fromkeys(row["operator"] for row in rows))
    columns = min(len(operators), 3)
    lines = -(-len(operators) // columns)
    figure, panels = pyplot().subplots(
        lines, columns, figsize=(max(7, 1 + 3 * columns), 1.2 + 2.7 * lines), sharex=True,
        sharey=True, squeeze=False, layout="constrained")
    panels = [axes for line in panels for axes in line]
    handles = {}
    intensities = [row["flop"] / row["bytes"] for row in rows]
    slowest = min(row["flop"] / entry["seconds"]["median"] * 1e-9
                  for row in rows for _, entry in sides(row))
    for operator, axes in zip(operators, panels):
        mine = [row for row in rows if row["operator"] == operator]
        roofs(axes, mine, min(intensities) / 2, max(intensities) * 2, handles)
        for row in mine:
            for name, entry in sides(row):
                colour, marker = style(name)
                handles[name] = axes.plot(
                    row["flop"] / row["bytes"], row["flop"] / entry["seconds"]["median"] * 1e-9,
                    linestyle="none", marker=marker, color=colour, markersize=5,
                    markerfacecolor=colour if name == "seqmix" else "none",
                    zorder=3 if name == "seqmix" else 2)[0]
        axes.set_title(operator, fontsize="medium")
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_ylim(bottom=slowest / 2)
        axes.grid(which="major", color="0.92", zorder=0)
        axes.label_outer()
    for axes in panels[len(operators):]:
        axes.set_visible(False)
    for axes in panels[len(operators) - columns:len(operators)]:  # the lowest of each column
        axes.tick_params(labelbottom=True)
    for axis in (panels[0].xaxis, panels[0].yaxis):
        axis.set_major_formatter("{x:g}")
    figure.supxlabel("FLOP per byte of inputs, outputs and states", fontsize="medium")
    figure.supylabel("GFLOP/s", fontsize="medium")
    height = figure.get_size_inches()[1]
    figure.get_layout_engine().set(rect=(0, 0, 1, 1 - 0.4 / height))  # room for the legend
    figure.legend(handles.values(), handles.keys(), loc="upper center", fontsize="small",
                  ncols=len(handles))
    return save(figure, path)


def sides(row):
    """(name, entry) of all sides with a speed."""
    return [("seqmix", row), *((n, p) for n, p in row["peers"].items() if "seconds" in p)]


def roofs(axes, rows, left, right, handles):
    """Both ceilings, each the median of what was measured around the rows."""
    memory = peers_page.memory_of(rows[0])
    middle = lambda what: sorted(peers_page.probe(row, what) for row in rows)[len(rows) // 2] * 1e-9
    fma, rate = middle("fma"), middle(memory)
    corner = min(max(fma / rate, left), right)
    handles["FMA probe"] = axes.plot([corner, right], [fma, fma], color="black", linewidth=1)[0]
    handles[f"{memory} probe"] = axes.plot([left, corner], [left * rate, corner * rate],
                                           color="black", linewidth=1, linestyle="--")[0]
