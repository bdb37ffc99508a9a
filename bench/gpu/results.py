# SPDX-License-Identifier: Apache-2.0
"""Reading a result file of run.py: what pages and plots share."""


def ceiling(document, key):
    values = [c[key] for c in document["ceilings"].values()]
    return sum(values) / len(values)


def shape(row):
    """The row's name without its group: `D:64/causal:0/T:512/bf16` -> `D64 T512 causal bf16`."""
    parts = row["name"].split("/")[1:]
    text = " ".join(p.replace("functor:", "").replace(":", "") for p in parts
                    if not p.startswith("causal:"))
    return text + (" causal" if row["causal"] else "")


def peer_names(rows):
    return list(dict.fromkeys(name for row in rows for name in row.get("peers", {})))


def timed(rows):
    return [row for row in rows if "error" not in row]
