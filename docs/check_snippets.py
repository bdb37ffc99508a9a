#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Code in Markdown that claims to come from an example must be what the example says.

A fence claims so by a comment on the line before it, <!-- snippet: FILE NAME -->: it has to equal
what stands between the two lines "//! [NAME]" of FILE, less its indentation. All programs of
examples/ are compiled and run by the tests.

    check_snippets.py          lists what differs; ends with 1 if anything does
    check_snippets.py --fix    copies the examples' text into the fences
"""
import pathlib
import re
import sys
import textwrap

ROOT = pathlib.Path(__file__).resolve().parent.parent
CLAIM = re.compile(
    r"<!-- snippet: (?P<file>\S+) (?P<name>\S+) -->\n(?P<open>```\w*\n)(?P<code>.*?)(?P<close>^```$)",
    re.S | re.M)
# Pages whose first code must be an example's.
MUST_CLAIM = ["README.md"]


def pages():
    yield ROOT / "README.md"
    for folder in ("docs", "include", "kernels", "bench", "examples"):
        yield from sorted((ROOT / folder).rglob("*.md"))


def marked_text(file, name):
    """What stands between the marks, or None and why not."""
    path = ROOT / file
    if path.parent != ROOT / "examples" or not path.is_file():
        return None, f"{file} is no program of examples/"
    parts = re.split(rf"^[ \t]*//! \[{re.escape(name)}\]\n", path.read_text(), flags=re.M)
    if len(parts) != 3:
        return None, f"{file} has {len(parts) - 1} lines //! [{name}] instead of 2"
    return textwrap.dedent(parts[1]), ""


def main():
    fix = sys.argv[1:] == ["--fix"]
    problems = []
    count = 0
    for page in pages():
        name = page.relative_to(ROOT)
        text = page.read_text()

        def check(match):
            nonlocal count
            count += 1
            expected, why = marked_text(match["file"], match["name"])
            if expected is None:
                problems.append(f"{name}: {why}")
                return match[0]
            if match["code"] != expected and not fix:
                line = text.count("\n", 0, match.start()) + 1
                problems.append(f"{name}:{line}: differs from [{match['name']}] of {match['file']}")
            return match[0].replace(match["open"] + match["code"], match["open"] + expected, 1)

        fixed = CLAIM.sub(check, text)
        if len(re.findall("<!-- snippet:", text)) != len(CLAIM.findall(text)):
            problems.append(f"{name}: a snippet comment without a fence on the next line")
        if str(name) in MUST_CLAIM and not re.search(r"-->\n```cpp", text):
            problems.append(f"{name}: its first program comes from no example")
        if fix and fixed != text:
            page.write_text(fixed)
    for problem in problems:
        print(problem)
    print(f"{count} snippets, {len(problems)} problems")
    return 1 if problems or count == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
