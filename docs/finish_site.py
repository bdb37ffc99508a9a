#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Completes and checks the site that Doxygen made: finish_site.py SITE MATHJAX.

Copies what formulas need of MathJax, and the sources that pages link to. Then every link within the
site must lead somewhere, and no page may show what filter.py or Doxygen should have replaced.
"""
import html.parser
import pathlib
import shutil
import sys
import urllib.parse

ROOT = pathlib.Path(__file__).resolve().parent.parent
# MathJax 2 with TeX input and HTML-CSS output, and TeX's fonts.
MATHJAX_PARTS = ["MathJax.js", "extensions", "jax/element", "jax/input/TeX", "jax/output/HTML-CSS",
                 "fonts/HTML-CSS/TeX"]
LEFT_OVER = ["<!-- snippet", "```", "$`", "\\snippet", "@ref", "\\ref", "{#page_"]


class Page(html.parser.HTMLParser):
    """The links and anchors of a page, and its text outside of code."""

    def __init__(self, file):
        super().__init__()
        self.links, self.anchors, self.text = [], set(), []
        self.formulas = 0
        self.code = 0
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        for name, value in attributes:
            if name in ("href", "src") and value:
                self.links.append(value)
            elif name in ("id", "name") and value:
                self.anchors.add(value)
            elif name == "class" and value == "formulaDsp":
                self.formulas += 1
        self.code += tag in ("script", "pre", "code") or (tag, ("class", "fragment")) in [
            (tag, a) for a in attributes]

    def handle_endtag(self, tag):
        self.code -= tag in ("script", "pre", "code")

    def handle_data(self, data):
        if self.code <= 0:
            self.text.append(data)


def main():
    site = pathlib.Path(sys.argv[1])
    mathjax = pathlib.Path(sys.argv[2])
    for part in MATHJAX_PARTS:
        source, target = mathjax / part, site / "mathjax" / part
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True)
        else:
            shutil.copyfile(source, target)

    pages = {file.name: Page(file) for file in site.glob("*.html")}
    problems = []
    formulas = 0
    for name, page in sorted(pages.items()):
        for link in page.links:
            parts = urllib.parse.urlsplit(link)
            if parts.scheme or parts.netloc or link.startswith("javascript:"):
                if link.split("?")[0].endswith(".js"):
                    problems.append(f"{name}: a script from elsewhere, {link}")
                continue
            path, anchor = urllib.parse.unquote(parts.path), urllib.parse.unquote(parts.fragment)
            if path.startswith("tree/"):
                source = ROOT / path.removeprefix("tree/").removesuffix(".txt")
                (site / path).parent.mkdir(parents=True, exist_ok=True)
                if source.is_file():
                    shutil.copyfile(source, site / path)
            target = path or name
            if not (site / target).exists():
                problems.append(f"{name}: broken link {link}")
            # Doxygen 1.9.4 links to the list of nested classes also where all of them are private.
            elif (anchor and target in pages and anchor not in pages[target].anchors
                  and link != "#nested-classes"):
                problems.append(f"{name}: no such anchor, {link}")
        text = "".join(page.text)
        problems += [f"{name}: shows {mark}" for mark in LEFT_OVER if mark in text]
        formulas += page.formulas
        if page.formulas and not any(l.startswith("mathjax/MathJax.js") for l in page.links):
            problems.append(f"{name}: has formulas and does not load MathJax")
    if formulas == 0:
        problems.append("no page has a formula")
    for problem in problems:
        print(problem)
    print(f"{len(pages)} pages, {formulas} displayed formulas, {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
