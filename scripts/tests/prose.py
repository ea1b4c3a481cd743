#!/usr/bin/env python3
"""Counts doc comments of src that do not begin with the thing or a verb.

    scripts/tests/prose.py [--list]

A doc block is a run of `///` or `//!` lines. HEADLESS words open a clause without a head
("What a CPU has"); VAGUE ones are other pronouns and prepositions. No more than these shares
of all blocks may begin so; they are lowered when blocks have been rewritten. --list prints
the blocks that begin with a headless word.
"""

import pathlib
import re
import sys

# Percent of all doc blocks.
HEADLESS_LIMIT, VAGUE_LIMIT = 2.0, 9.0
HEADLESS = "What Who Whose Which That Of It They As".split()
VAGUE = (
    "Its Them Where How By With For From To In On At Before After Such Those These This Both"
    " Whether Why When Nothing Nobody Others Another One"
).split()

ROOT = pathlib.Path(__file__).resolve().parents[2] / "src"


def blocks():
    """(file, line, first line of text) of each doc block."""
    for path in sorted(ROOT.rglob("*.rs")):
        inside = ""
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            match = re.match(r"\s*(//[/!])(?!/)\s?(.*)", line)
            marker = match[1] if match else ""
            if marker and marker != inside:
                yield path.relative_to(ROOT.parent), number, match[2]
            inside = marker


def main(*options):
    found = list(blocks())
    first = [re.match(r"[A-Za-z]*", text)[0] for _, _, text in found]
    headless = [block for block, word in zip(found, first) if word in HEADLESS]
    vague = sum(word in HEADLESS or word in VAGUE for word in first)
    if "--list" in options:
        for path, number, text in headless:
            print(f"{path}:{number}: {text}")
    shares = [100 * len(headless) / len(found), 100 * vague / len(found)]
    print(f"{len(found)} doc blocks, {shares[0]:.1f} % headless, {shares[1]:.1f} % of the wider set")
    if shares[0] > HEADLESS_LIMIT or shares[1] > VAGUE_LIMIT:
        sys.exit(f"more than {HEADLESS_LIMIT} % or {VAGUE_LIMIT} %")


if __name__ == "__main__":
    main(*sys.argv[1:])
