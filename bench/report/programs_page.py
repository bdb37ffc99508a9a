# SPDX-License-Identifier: Apache-2.0
"""The page of the bench programs' JSON files: tables, and plots of shares of the ceilings."""
import itertools
import shlex

from page_text import NotThatFile, filled_table, read_json, slug, time_text
from plots import pyplot, save

NOISY = 0.10  # a row whose ceilings moved by more than this gets a mark


def load(path):
    """The context and the rows of one file; a row is a dict: its name's fields, its numbers."""
    document = read_json(path)
    try:
        context = document["context"]
        entries = document["benchmarks"]
        {key: context[key] for key in ("cpu", "isa", "compiler", "flags", "seqmix", "command")}
    except (KeyError, TypeError) as e:
        raise NotThatFile(f"{path}: not written by a bench program of seqmix: no {e}") from e
    rows = {}
    for entry in entries:
        name = entry.get("run_name", entry["name"]).removesuffix("/real_time")
        if entry.get("error_occurred") or entry.get("skipped"):
            reason = entry.get("error_message") or entry.get("skip_message")
            rows[name] = {"name": name, "error": reason}
        elif entry.get("aggregate_name") == "median" or entry.get("repetitions", 1) == 1:
            rows[name] = {**entry, "name": name}
    for row in rows.values():
        parts = row["name"].split("/")
        row["operator"], row["group"], row["asked"] = parts[:3]
        row["type"] = next((p for p in parts[3:] if ":" not in p), "")
        row["fields"] = dict(p.split(":") for p in parts[3:] if ":" in p)
    return context, list(rows.values())


def shape_of(row):
    return " ".join(f"{k}{v}" for k, v in row["fields"].items() if k not in ("threads", "causal"))


def memory_of(row):
    return "copy" if "of_copy" in row else "read"


def spread_of(row):
    return max(row.get("fma_spread", 0), row.get(memory_of(row) + "_spread", 0))


def seconds_of(row):
    return row["real_time"] * {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1}[row["time_unit"]]


def rows_table(rows):
    """One section's rows as a Markdown table."""
    columns = [
        ("shape", shape_of),
        ("causal", lambda r: {"1": "yes", "0": "no"}.get(r["fields"].get("causal"), "")),
        ("type", lambda r: r["type"]),
        ("algorithm", lambda r: r.get("label", r["asked"] if r["asked"] != "auto" else "")),
        ("threads", lambda r: r["fields"].get("threads", "")),
        ("time", lambda r: "ERROR: " + r["error"] if "error" in r else time_text(seconds_of(r))),
        ("GFLOP/s", lambda r: f"{r['GFLOP/s']:.1f}" if "GFLOP/s" in r else ""),
        ("GB/s", lambda r: f"{r['GB/s']:.2f}" if "GB/s" in r else ""),
        ("of FMA", lambda r: f"{r['of_fma']:.2f}" if "of_fma" in r else ""),
        ("of read", lambda r: f"{r['of_read']:.2f}" if "of_read" in r else ""),
        ("of copy", lambda r: f"{r['of_copy']:.2f}" if "of_copy" in r else ""),
        ("noisy", lambda r: f"{spread_of(r):.0%}" if spread_of(r) > NOISY else ""),
    ]
    return filled_table([heading for heading, _ in columns],
                        [[text(r) for _, text in columns] for r in rows])


def roofline(rows, title, path):
    """Each row as a point: work per byte against its share of the nearer ceiling."""
    # Rows that mostly write have the copy probe for their ceiling, which the bars show.
    rows = [r for r in rows if "of_fma" in r and "of_read" in r]
    plot = pyplot()
    if not rows or plot is None:
        return False
    threads = [int(r["fields"].get("threads", "1")) for r in rows]
    colours = {group: f"C{i}" for i, group in enumerate(dict.fromkeys(r["group"] for r in rows))}
    kinds = dict.fromkeys(r["type"] for r in rows)
    markers = dict(zip(kinds, itertools.cycle("os^Dv<>pP*Xhd8")))
    series = {}
    for r, n in zip(rows, threads):
        if n in (1, max(threads)):
            series.setdefault((r["group"], r["type"], n), []).append(r)
    figure, axes = plot.subplots(figsize=(8, 4.5), layout="constrained")
    for (group, kind, n), points in series.items():
        axes.plot([r["GFLOP/s"] / r["GB/s"] for r in points],
                  [max(r["of_fma"], r["of_read"]) for r in points],
                  linestyle="none", marker=markers[kind], color=colours[group],
                  fillstyle="full" if n == 1 else "none",
                  label=f"{group} {kind}, {n} thread{'' if n == 1 else 's'}")
    balances = [r["fma_GFLOP/s"] / r["read_GB/s"] for r in rows]
    axes.axvspan(min(balances), max(balances), color="0.9", zorder=0)
    axes.axhline(1, color="black", linewidth=0.8)
    axes.set_xscale("log")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("FLOP per byte of inputs and outputs (grey: where the two ceilings meet)")
    axes.set_ylabel("share of the nearer ceiling")
    axes.set_title(title)
    axes.legend(fontsize="x-small", loc="center left", bbox_to_anchor=(1, 0.5))
    return save(figure, path)


def bars(rows, title, path):
    """Each one-thread row as a bar: its share of the nearer ceiling."""
    rows = [r for r in rows if r["fields"].get("threads", "1") == "1"]
    plot = pyplot()
    if not rows or plot is None:
        return False
    ceilings = {"of_fma": "C0", "of_read": "C1", "of_copy": "C2"}
    nearer = [max((c for c in ceilings if c in r), key=r.get) for r in rows]
    labels = [" ".join(filter(None, [
        shape_of(r), "causal" if r["fields"].get("causal") == "1" else "", r["type"],
        "" if r["asked"] == "auto" else r["asked"]])) for r in rows]
    figure, axes = plot.subplots(figsize=(8, 1 + 0.2 * len(rows)), layout="constrained")
    for ceiling in dict.fromkeys(nearer):
        at = [i for i, n in enumerate(nearer) if n == ceiling]
        axes.barh(at, [rows[i][ceiling] for i in at], color=ceilings[ceiling],
                  label=ceiling.replace("_", " "))
    axes.set_yticks(range(len(rows)), labels, fontsize="x-small")
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xlabel("share of the nearer ceiling, one thread")
    axes.set_title(title)
    axes.legend(fontsize="x-small")
    return save(figure, path)


def write(paths, name, out):
    """Writes one page of all files and returns where."""
    contexts, rows = [], []
    for path in paths:
        context, more = load(path)
        contexts.append(context)
        rows += more
    if not rows:
        raise NotThatFile("no rows")
    facts = ("cpu", "isa", "compiler", "flags", "seqmix", "all_threads")
    for context in contexts[1:]:
        for fact in facts:
            if context.get(fact) != contexts[0].get(fact):
                raise NotThatFile(f"{fact} differs between the files: {contexts[0].get(fact)}, "
                                  f"{context.get(fact)}")
    shown = [p.name for p in paths] + (["--name", name] if name else [])
    name = name or slug(f"{contexts[0]['cpu']} {contexts[0]['isa']}")
    out.mkdir(parents=True, exist_ok=True)

    page = ["<!-- Made by bench/report/report.py. -->", f"# {contexts[0]['cpu']}", "", "```sh"]
    page += [c["command"] for c in contexts]
    page += [shlex.join(["bench/report/report.py", *shown]), "```", "", "| | |", "|---|---|"]
    page += [f"| {fact} | {contexts[0].get(fact, '')} |" for fact in facts]
    page += ["", "Medians. `of FMA`, `of read`, `of copy`: the ratio to a ceiling that was measured "
             "in the same process right before and right after the run. `noisy`: that ceiling moved "
             f"by this much meanwhile, where it is more than {NOISY:.0%}. [How](../README.md)."]
    for operator in dict.fromkeys(r["operator"] for r in rows):
        mine = [r for r in rows if r["operator"] == operator]
        page += ["", f"## {operator}"]
        measured = [r for r in mine if "error" not in r]
        picture = f"{name}_{operator}.svg"
        if measured and roofline(measured, operator, out / picture):
            page += ["", f"![{operator}: share of the nearer ceiling]({picture})"]
        for group in dict.fromkeys(r["group"] for r in mine):
            section = [r for r in mine if r["group"] == group]
            page += ["", f"### {group}"]
            picture = f"{name}_{operator}_{group}.svg"
            timed = [r for r in section if "error" not in r]
            if bars(timed, f"{operator}, {group}", out / picture):
                page += ["", f"![{operator}, {group}: one thread]({picture})"]
            page += ["", *rows_table(section)]
    target = out / f"{name}.md"
    target.write_text("\n".join(page) + "\n")
    return target
