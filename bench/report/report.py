#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Turns JSON files into pages of tables and plots.

    bench_softmax_attention --benchmark_out=softmax_attention.json
    report.py softmax_attention.json merge_attention.json rope.json
    report.py peers.json

The files of bench programs make one page together, a file of peers/run.py one by itself. They go to
bench/results/<name>.md; without --name, the name comes from the CPU model and the instruction set,
or is that of the file of peers/run.py. With matplotlib installed the pages also get SVG plots
beside them; without, they have the tables only. Numbers are medians of the repetitions.
"""
import argparse
import pathlib
import sys

import peers_page
import programs_page
from page_text import NotThatFile, read_json


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("json", nargs="+", type=pathlib.Path,
                        help="what --benchmark_out or peers/run.py wrote")
    parser.add_argument("--name", help="of the page")
    parser.add_argument("--out", type=pathlib.Path, help="folder of the page",
                        default=pathlib.Path(__file__).resolve().parent.parent / "results")
    arguments = parser.parse_args()
    try:
        of_peers = [path for path in arguments.json if peers_page.is_one(read_json(path))]
        of_programs = [path for path in arguments.json if path not in of_peers]
        if arguments.name and len(of_peers) + bool(of_programs) > 1:
            parser.error("--name: these files make several pages")
        for path in of_peers:
            print(peers_page.write(path, arguments.name, arguments.out))
        if of_programs:
            print(programs_page.write(of_programs, arguments.name, arguments.out))
    except NotThatFile as e:
        sys.exit(f"report.py: {e}")


if __name__ == "__main__":
    main()
