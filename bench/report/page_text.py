# SPDX-License-Identifier: Apache-2.0
"""What all pages share."""
import json
import re


class NotThatFile(Exception):
    """A file that is not what its page is made of; the text says why."""


def read_json(path):
    try:
        return json.loads(path.read_text())
    except OSError as e:
        raise NotThatFile(f"{path}: {e.strerror}") from e
    except ValueError as e:
        raise NotThatFile(f"{path}: not JSON (did the program end early?)") from e


def table(heading, lines):
    """Lines of a Markdown table."""
    row = lambda cells: "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"
    return [row(heading), "|" + "---|" * len(heading), *map(row, lines)]


def filled_table(heading, lines):
    """The same, without the columns that no line fills."""
    used = [i for i in range(len(heading)) if any(line[i] for line in lines)]
    pick = lambda cells: [cells[i] for i in used]
    return table(pick(heading), map(pick, lines))


def time_text(seconds):
    for unit, scale in (("s", 1), ("ms", 1e-3)):
        if seconds >= scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds * 1e6:.3g} us"


def slug(text):
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")
