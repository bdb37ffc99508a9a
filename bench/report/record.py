# SPDX-License-Identifier: Apache-2.0
"""What the runners write: files of JSON, and the command that made them."""
import json
import pathlib

PATHS = ("--library", "--ggml", "--openblas", "--out")


def shown(words):
    """Of files and folders the name alone: where they lay says nothing about a speed."""
    result = []
    for i, word in enumerate(words):
        option, equals, value = word.partition("=")
        if equals and option in PATHS:
            word = f"{option}={pathlib.Path(value).name}"
        elif i > 0 and words[i - 1] in PATHS:
            word = pathlib.Path(word).name
        result.append(word)
    return result


def rounded(value):
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    return [rounded(item) for item in value] if isinstance(value, list) else value


def write_json(path, document):
    """All of it or nothing: a run that is ended meanwhile leaves what was there before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".tmp")
    unfinished.write_text(json.dumps(rounded(document), indent=1) + "\n")
    unfinished.replace(path)
