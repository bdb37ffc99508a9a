#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Doxygen's input filter: filter.py FILE prints what Doxygen is to read in place of FILE.

Markdown is written for GitHub, headers for their readers; this adds what Doxygen wants.
* Markdown: ```math fences and $`...`$ become formulas; every page and heading gets an id, and
  relative links lead to pages, examples and files of the site; a code fence after a comment
  "snippet: FILE NAME" becomes that snippet.
* Headers: a file comment, and the group of their folder.
"""
import os
import re
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
REPEATED = re.compile(r"[^a-z0-9]+")
SNIPPET = re.compile(r"<!-- snippet: (\S+) (\S+) -->")
FENCE = re.compile(r"^\s*```(.*)$")
LINK = re.compile(r"(!?)\[((?:`[^`]*`|[^\]`])*)\]\(([^)\s]+)\)")
OPERATOR = re.compile(r"^inline constexpr (\w+)_fn \1\{\};")
# Headers that Doxygen is not given, see Doxyfile.in.
UNREAD = re.compile(r"/(cpu|naive)\.hpp$|/simd/|/common/|^(?!include/|kernels/.*/staging_policy.hpp)")


def slug(text):
    """The anchor that GitHub gives to a heading."""
    return re.sub(r"[^\w\- ]", "", text.lower()).strip().replace(" ", "-")


def page_id(path):
    return "page_" + REPEATED.sub("_", path.lower().removesuffix(".md"))


def heading_id(path, anchor):
    return page_id(path) + "_" + REPEATED.sub("_", anchor)


def html_name(example):
    """The page that Doxygen makes of an example."""
    return example.replace(".", "_8") + "-example.html"


def target_of(link, path):
    """Where a relative link of the file `path` leads in the site."""
    file, _, anchor = link.partition("#")
    target = os.path.normpath(os.path.join(os.path.dirname(path), file)) if file else path
    if not os.path.isfile(os.path.join(ROOT, target)):
        # Doxygen does not look at a filter's exit status, but at references that lead nowhere.
        return "@ref no_such_file_" + REPEATED.sub("_", link)
    if target.endswith(".md"):
        if anchor:
            return "@ref " + heading_id(target, anchor)
        return "index.html" if target == "README.md" else "@ref " + page_id(target)
    if os.path.dirname(target) == "examples" and target.endswith(".cpp"):
        return html_name(os.path.basename(target))
    if target.endswith(".hpp") and not UNREAD.search(target):
        return "@ref " + target.removeprefix("include/")
    if target.endswith((".svg", ".png")):
        return os.path.basename(target)
    return "tree/" + target + ".txt"


def paragraph(text, path):
    """Markdown between two empty lines, outside of fences."""
    formulas = []

    def formula(match):
        formulas.append(f"\\f${match.group(1)}\\f$")
        return f"\0{len(formulas) - 1}\0"

    def code(match):
        # To Doxygen an apostrophe ends a span of one backtick.
        return f"``{match.group(1)}``" if "'" in match.group(1) else match.group(0)

    def link(match):
        image, label, to = match.groups()
        if re.match(r"[a-z]+:", to):
            return match.group(0)
        to = target_of(to, path)
        # A code span would be shown as it is written.
        return (f'{to} "{label.replace("`", "")}"' if to.startswith("@ref ")
                else f"{image}[{label}]({to})")

    text = re.sub(r"\$`([^`]+)`\$", formula, text)
    text = re.sub(r"`([^`]+)`", code, text)
    text = LINK.sub(link, text)
    return re.sub(r"\0(\d+)\0", lambda match: formulas[int(match.group(1))], text)


def titled(text, path, is_page):
    """A heading with the id that links use; of the page itself with the page's."""
    level, name = re.match(r"^(#+) (.*)$", text).groups()
    plain = re.sub(r"[`]", "", LINK.sub(r"\2", name))
    identity = page_id(path) if is_page else heading_id(path, slug(plain))
    return f"{level} {plain} {{#{identity}}}"


def markdown(text, path):
    out, block = [], []
    fence = None  # what the open fence is: math, snippet or text
    snippet = None  # that the next fence claims to show
    seen_title = False

    def flush():
        if block:
            out.append(paragraph("\n".join(block), path))
            block.clear()

    for line in text.split("\n"):
        mark = FENCE.match(line)
        if fence is not None:
            if mark and mark.group(1) == "":
                out.append({"math": "\\f]", "snippet": ""}.get(fence, line))
                fence = None
            elif fence != "snippet":
                out.append(line)
        elif mark:
            flush()
            fence = "math" if mark.group(1) == "math" else "snippet" if snippet else "text"
            shown = "\\snippet " + " ".join(snippet or [])
            out.append({"math": "\\f[", "snippet": shown, "text": line}[fence])
            snippet = None
        elif SNIPPET.search(line):
            flush()
            snippet = SNIPPET.search(line).groups()
        elif re.match(r"^#+ ", line):
            flush()
            out.append(titled(line, path, not seen_title))
            seen_title = True
        elif not seen_title and re.match(r"^(<!--.*-->)?$", line):
            pass  # Doxygen wants the title in the first line
        elif line == "":
            flush()
            out.append(line)
        else:
            block.append(line)
    flush()
    return "\n".join(out)


# The first that a path starts with.
GROUPS = [
    ("include/seqmix/ops/softmax_attention/", "softmax_attention"),
    ("include/seqmix/ops/merge_attention/", "merge_attention"),
    ("include/seqmix/ops/rope/", "rope"),
    ("include/seqmix/ops/output_norm/", "output_norm"),
    ("include/seqmix/ops/causal_conv1d/", "causal_conv1d"),
    ("include/seqmix/ops/depthwise_conv1d/", "depthwise_conv1d"),
    ("include/seqmix/ops/features/", "features"),
    ("include/seqmix/ops/selective_scan/", "selective_scan"),
    ("include/seqmix/ops/selective_state_update/", "selective_state_update"),
    ("include/seqmix/common/feature", "features"),
    ("include/seqmix/ops/linear_attention/", "linear_attention"),
    ("include/seqmix/ops/retention/", "retention"),
    ("include/seqmix/ops/lightning_attention/", "lightning_attention"),
    ("include/seqmix/ops/gated_linear_attention/", "gated_linear_attention"),
    ("include/seqmix/ops/delta_rule/", "delta_rule"),
    ("include/seqmix/ops/gated_delta_rule/", "gated_delta_rule"),
    ("include/seqmix/ops/kda/", "kda"),
    ("include/seqmix/ops/dplr_delta_rule/", "dplr_delta_rule"),
    ("include/seqmix/ops/rwkv7/", "rwkv7"),
    ("include/seqmix/ops/ssd/", "ssd"),
    ("include/seqmix/ops/hydra/", "hydra"),
    ("include/seqmix/ops/matrix_recurrence/", "matrix_recurrence"),
    ("include/seqmix/core/", "core"),
    ("include/seqmix/dispatch/", "dispatch"),
    ("include/seqmix/interop/", "interop"),
    ("include/seqmix/openmp.hpp", "core"),
    ("kernels/cuda/", "cuda"),
]


def header(text, path):
    short = path.removeprefix("include/")
    group = next((name for start, name in GROUPS if path.startswith(start)), None)
    lines = [f"/** @file {short} */ "]
    previous = ""
    for line in text.split("\n"):
        # A block of code needs an empty line before it.
        if re.match(r"^\s*///     \S", line) and re.match(r"^\s*/// {1,4}\S", previous):
            lines.append("///\n")
        previous = line
        # Angle brackets of an include are no HTML.
        if re.match(r"^\s*///", line):
            line = re.sub(r"(?<!`)(<seqmix/[^>]*>)(?!`)", r"`\1`", line)
        line = OPERATOR.sub(r"/** @brief The operator, to be called: see \1_fn. */ \g<0>", line)
        # Inner namespaces that users see: a group does not reach into them from outside.
        if group and re.match(r"(SEQMIX_BEGIN_NAMESPACE|namespace (cuda|dispatch) \{)$", line):
            line += f" /** @addtogroup {group} */ /** @{{ */"
        elif group and re.match(r"(SEQMIX_END_NAMESPACE|\}  // namespace (cuda|dispatch))$", line):
            line = "/** @} */ " + line
        lines.append(line + "\n")
    return "".join(lines)


def main():
    path = os.path.relpath(os.path.abspath(sys.argv[1]), ROOT)
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        text = file.read()
    if path.endswith(".md"):
        text = markdown(text, path)
    elif path.endswith(".hpp"):
        text = header(text, path)
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
