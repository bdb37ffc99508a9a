# SPDX-License-Identifier: Apache-2.0
"""The page of a JSON file of peers/run.py: tables, bars against the peers, rooflines."""
import shlex

import peers_plots
from page_text import NotThatFile, filled_table, read_json, table, time_text
from plots import pyplot

FACTS = ("cpu", "isa", "compiler", "flags", "seqmix", "implementation", "ggml", "torch",
         "openblas", "numpy", "all_threads", "rounds", "block_seconds")
NOISY = 0.10  # a row whose ceilings moved by more than this gets a mark
TITLES = {"recurrences": "Recurrences against peers", "scans": "Scans against peers",
          "softmax": "Softmax attention against peers"}
ROW = ("name", "group", "operator", "threads", "T", "S", "H", "HK", "K", "V", "peers")
MEASURED = ("seconds", "flop", "bytes", "probes", "relative_error", "algorithm")


def is_one(document):
    return isinstance(document, dict) and document.get("benchmark") == "peers"


def load(path):
    document = read_json(path)
    if not is_one(document):
        raise NotThatFile(f"{path}: not written by peers/run.py")
    try:
        for fact in ("cpu", "isa", "seqmix", "command"):
            document["context"][fact]
        document["missing"]
        for row in document["rows"]:
            {key: row[key] for key in ROW + (() if "error" in row else MEASURED)}
    except (KeyError, TypeError) as e:
        raise NotThatFile(f"{path}: not all of what peers/run.py writes: no {e}") from e
    if not document["rows"]:
        raise NotThatFile(f"{path}: no rows")
    return document


def probe(row, what):
    return sum(row["probes"][what]) / len(row["probes"][what])


def memory_of(row):
    """A recurrence or a scan writes as it reads; attention reads."""
    return "read" if row["group"] == "softmax" else "copy"


def spread_of(row):
    """How far the row's ceilings moved while it was measured."""
    spreads = (max(p) / min(p) - 1 for p in (row["probes"]["fma"], row["probes"][memory_of(row)]))
    return max(spreads)


def types_of(row):
    """Element types other than f32, with a blank before them; older files have none."""
    types = row.get("types", "f32")
    return "" if types == "f32" else f" {types}"


def shape_of(row):
    if row["group"] == "softmax":
        causal = " causal" if row["causal"] else ""
        return (f"T{row['T']} S{row['S']} H{row['H']} HK{row['HK']} D{row['K']}{causal}"
                f"{types_of(row)}")
    width = f"K{row['K']}" if row["K"] == row["V"] else f"K{row['K']} V{row['V']}"
    return f"T{row['T']} H{row['H']} {width}"


def peer_names(rows):
    return list(dict.fromkeys(name for row in rows for name in row["peers"]))


def speeds(rows):
    names, memory = peer_names(rows), memory_of(rows[0])
    several = len({row["algorithm"] for row in rows if "error" not in row}) > 1
    product = any("sgemm" in row.get("probes", {}) for row in rows)
    heading = ["shape", "algorithm", "seqmix", "GFLOP/s", "of FMA",
               *(["of sgemm"] if product else []), "GB/s", f"of {memory}", "noisy"]
    for name in names:
        heading += [name, "ratio"]
    lines = []
    for row in rows:
        if "error" in row:
            lines.append([shape_of(row), "", "ERROR: " + row["error"]] + [""] * (len(heading) - 3))
            continue
        seconds = row["seconds"]["median"]
        flops, rate = row["flop"] / seconds, row["bytes"] / seconds
        line = [shape_of(row), row["algorithm"] if several else "", time_text(seconds),
                f"{flops * 1e-9:.1f}", f"{flops / probe(row, 'fma'):.2f}",
                *([f"{flops / probe(row, 'sgemm'):.2f}"] if product else []),
                f"{rate * 1e-9:.2f}", f"{rate / probe(row, memory):.2f}",
                f"{spread_of(row):.0%}" if spread_of(row) > NOISY else ""]
        for name in names:
            peer = row["peers"].get(name, {})
            if "ratio" in peer:
                ratio = peer["ratio"]
                line += [time_text(peer["seconds"]["median"]),
                         f"**{ratio['median']:.2f}** ({ratio['p25']:.2f} to {ratio['p75']:.2f})"]
            else:
                line += ["wrong" if "error" in peer else "refused" if peer else "", ""]
        lines.append(line)
    return filled_table(heading, lines)


def told(rows):
    """Why a peer gave no speed, each reason once."""
    reasons = {}
    for row in rows:
        for name, peer in row["peers"].items():
            if reason := peer.get("refused") or peer.get("error"):
                reasons.setdefault((name, reason), []).append(shape_of(row))
    return [f"* {name}: {reason} ({'; '.join(dict.fromkeys(shapes))})"
            for (name, reason), shapes in reasons.items()]


def errors(rows):
    """The largest relative error of each operator, with its types, and side."""
    names, largest = peer_names(rows), {}
    for row in rows:
        mine = largest.setdefault(row["operator"] + types_of(row), {})
        for name, entry in [("seqmix", row), *row["peers"].items()]:
            if "relative_error" in entry:
                mine[name] = max(mine.get(name, 0), entry["relative_error"])
    return table(["largest relative error", "seqmix", *names],
                 [[operator, *(f"{mine[n]:.1e}" if n in mine else "" for n in ["seqmix", *names])]
                  for operator, mine in largest.items()])


def command(context, rows, group, threads):
    """What measures these rows alone in the same way."""
    operators = list(dict.fromkeys(row["operator"] for row in rows))
    types = {types_of(row).strip() for row in rows}
    end = f".*/{types.pop()}$" if len(types) == 1 and "" not in types else ""
    chosen = ["--filter", f"^{operators[0]}/{end}"] if len(operators) == 1 else ["--group", group]
    rounds = ["--rounds", str(context["rounds"])] if "rounds" in context else []
    pinned = group == "softmax" and "implementation" in context
    pin = ["--implementation", context["implementation"]] if pinned else []
    return "`" + shlex.join(["bench/peers/run.py", *chosen, "--threads", str(threads),
                             *rounds, *pin]) + "`"


def section(document, group, threads, target):
    """Bars, rooflines and tables of one group on so many threads, as lines of the page."""
    rows = [r for r in document["rows"] if r["group"] == group and r["threads"] == threads]
    timed = [r for r in rows if "error" not in r]
    count = "One thread" if threads == 1 else f"{threads} threads"
    page = ["", f"### {count}"]
    stem = f"{target.stem}_{group}_{threads}"
    for kind, draw, text in (
            ("bars", peers_plots.bars, "the peer's time over seqmix's"),
            ("roofline", peers_plots.rooflines, "roofline of each operator")):
        path = target.with_name(f"{stem}_{kind}.svg")
        if timed and pyplot() is not None and draw(timed, path):
            page += ["", f"![{count}: {text}]({path.name})", "",
                     command(document["context"], timed, group, threads)]
    for operator in dict.fromkeys(r["operator"] for r in rows):
        mine = [r for r in rows if r["operator"] == operator]
        chosen = {r["algorithm"] for r in mine if "error" not in r}
        again = command(document["context"], mine, group, threads)
        page += ["", f"#### {operator}, {count.lower()}", "",
                 f"{again}: {chosen.pop()}" if len(chosen) == 1 else again, "", *speeds(mine)]
        if lines := told(mine):
            page += ["", *lines]
    return page


def write(path, name=None, out=None):
    """Writes the page of a JSON file, beside it unless told otherwise, and returns where."""
    document = load(path)
    context = document["context"]
    target = (out or path.parent) / f"{name or path.stem}.md"
    target.parent.mkdir(parents=True, exist_ok=True)
    product = ("`of sgemm`: of OpenBLAS's product of matrices of 2048 x 2048, likewise; "
               if any("sgemm" in row.get("probes", {}) for row in document["rows"]) else "")
    page = ["<!-- Made by bench/report/report.py. -->", f"# {context['cpu']}", "", "```sh",
            context["command"], f"bench/report/report.py {path.name}", "```", "",
            *table(["", ""], [[fact, context[fact]] for fact in FACTS if fact in context]), "",
            *(f"* {line}" for line in document["missing"]), *([""] if document["missing"] else []),
            "All sides in one process, on the same inputs, in strict alternation. Ratio: the peer's "
            "time over seqmix's in the same round, so that above 1 seqmix is faster; median of the "
            "rounds, and their quartiles. Times are medians. A side has a speed only when its "
            "result agrees with float64. `of FMA`, `of copy`, `of read`: the share of what this "
            "machine can do at most, measured right before and right after the row; "
            f"{product}memory rates are above 1 where a cache holds the row's data. `noisy`: a "
            "ceiling moved by this much "
            f"meanwhile, where it is more than {NOISY:.0%}. [How](../peers/README.md)."]
    groups = list(dict.fromkeys(row["group"] for row in document["rows"]))
    for group in groups:
        rows = [row for row in document["rows"] if row["group"] == group]
        page += ["", f"## {TITLES.get(group, group)}"]
        for threads in dict.fromkeys(row["threads"] for row in rows):
            page += section(document, group, threads, target)
        page += ["", "### Errors", "", *errors(rows)]
    target.write_text("\n".join(page) + "\n")
    return target
