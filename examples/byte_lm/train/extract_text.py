#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes train.txt, valid.txt and heldout.txt from Debian's bible-kjv package.

Format, plain ASCII: a heading line per chapter ("Ruth 1"), one line per verse ("1 Now it came
to pass ..."), a blank line after each chapter. Whole books go to exactly one of the three files,
in canonical order, so the files are the same byte for byte on every run.
"""
import argparse
import hashlib
import pathlib
import re
import subprocess
import sys

# The abbreviations that `bible` prints, in canonical order, and the names written to the files.
BOOKS = {
  "Ge": "Genesis", "Exo": "Exodus", "Lev": "Leviticus", "Num": "Numbers", "Deu": "Deuteronomy",
  "Josh": "Joshua", "Jdgs": "Judges", "Ruth": "Ruth", "1Sm": "1 Samuel", "2Sm": "2 Samuel",
  "1Ki": "1 Kings", "2Ki": "2 Kings", "1Chr": "1 Chronicles", "2Chr": "2 Chronicles",
  "Ezra": "Ezra", "Neh": "Nehemiah", "Est": "Esther", "Job": "Job", "Psa": "Psalms",
  "Prv": "Proverbs", "Eccl": "Ecclesiastes", "SSol": "Song of Solomon", "Isa": "Isaiah",
  "Jer": "Jeremiah", "Lam": "Lamentations", "Eze": "Ezekiel", "Dan": "Daniel", "Hos": "Hosea",
  "Joel": "Joel", "Amos": "Amos", "Obad": "Obadiah", "Jonah": "Jonah", "Mic": "Micah",
  "Nahum": "Nahum", "Hab": "Habakkuk", "Zep": "Zephaniah", "Hag": "Haggai", "Zec": "Zechariah",
  "Mal": "Malachi", "Mat": "Matthew", "Mark": "Mark", "Luke": "Luke", "John": "John",
  "Acts": "Acts", "Rom": "Romans", "1Cor": "1 Corinthians", "2Cor": "2 Corinthians",
  "Gal": "Galatians", "Eph": "Ephesians", "Phi": "Philippians", "Col": "Colossians",
  "1Th": "1 Thessalonians", "2Th": "2 Thessalonians", "1Tim": "1 Timothy", "2Tim": "2 Timothy",
  "Titus": "Titus", "Phmn": "Philemon", "Heb": "Hebrews", "Jas": "James", "1Pet": "1 Peter",
  "2Pet": "2 Peter", "1Jn": "1 John", "2Jn": "2 John", "3Jn": "3 John", "Jude": "Jude",
  "Rev": "Revelation",
}
# History, wisdom, prophecy, narrative, doctrine, exhortation. No synoptic gospel and no book of
# Kings or Chronicles is held out: their verses recur almost word for word in training books.
HELDOUT = ("Ruth", "Ecclesiastes", "Amos", "Jonah", "Romans", "James")
VALID = ("Esther", "Malachi", "Philippians")
VERSES = 31102


def read_verses(program):
  """Yields (book, chapter, verse, text) for the whole text, in canonical order."""
  command = [program, "-f", "Ge1:1-Rev22:21"]
  output = subprocess.run(command, check=True, capture_output=True).stdout.decode("ascii")
  for line in output.splitlines():
    match = re.fullmatch(r"(\d?[A-Za-z]+)(\d+):(\d+) (.+)", line)
    if match is None or match[1] not in BOOKS:
      sys.exit(f"extract_text: unexpected line from {program}: {line!r}")
    yield BOOKS[match[1]], int(match[2]), int(match[3]), match[4].strip()


def main():
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--out", type=pathlib.Path, required=True, help="folder to write to")
  parser.add_argument("--program", default="bible", help="the bible program (default: %(default)s)")
  arguments = parser.parse_args()

  parts = {"train": [], "valid": [], "heldout": []}
  chapter_now = {name: None for name in parts}
  count = 0
  for book, chapter, verse, text in read_verses(arguments.program):
    part = "heldout" if book in HELDOUT else "valid" if book in VALID else "train"
    lines = parts[part]
    if chapter_now[part] != (book, chapter):
      if lines:
        lines.append("")
      lines.append(f"{book} {chapter}")
      chapter_now[part] = (book, chapter)
    lines.append(f"{verse} {text}")
    count += 1
  if count != VERSES:
    sys.exit(f"extract_text: {count} verses, {VERSES} expected")

  arguments.out.mkdir(parents=True, exist_ok=True)
  for name, lines in parts.items():
    data = ("\n".join(lines) + "\n").encode("ascii")
    path = arguments.out / f"{name}.txt"
    path.write_bytes(data)
    print(f"{path}: {len(data)} bytes, sha256 {hashlib.sha256(data).hexdigest()}")


if __name__ == "__main__":
  main()
