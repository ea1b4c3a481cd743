#!/usr/bin/env python3
"""Counts doc comments of src that do not begin with the thing or a verb.

    scripts/tests/prose.py [--list | --samples]

A doc block is a run of `///` or `//!` lines. HEADLESS words open a clause without a head
("What a CPU has"); VAGUE ones are other pronouns and prepositions. No more than these shares
of all blocks may begin so; they are lowered when blocks have been rewritten. --list prints
the blocks that begin with one of these words. --samples tries the counting on texts made here.
"""

import pathlib
import re
import sys

# Percent of all doc blocks.
HEADLESS_LIMIT, VAGUE_LIMIT = 0.1, 0.5
HEADLESS = "What Who Whose Which That Of It They As".split()
VAGUE = (
    "Its Them Where How By With For From To In On At Before After Such Those These This Both"
    " Whether Why When Nothing Nobody Others Another One"
).split()

ROOT = pathlib.Path(__file__).resolve().parents[2] / "src"


def blocks_of(text):
    """(line, first line of text) of each doc block of a file."""
    inside = ""
    for number, line in enumerate(text.splitlines(), 1):
        match = re.match(r"\s*(//[/!])(?!/)\s?(.*)", line)
        marker = match[1] if match else ""
        if marker and marker != inside:
            yield number, match[2]
        inside = marker


def blocks():
    """(file, line, first line of text) of each doc block."""
    for path in sorted(ROOT.rglob("*.rs")):
        for number, text in blocks_of(path.read_text(encoding="utf-8")):
            yield path.relative_to(ROOT.parent), number, text


def first_word(text):
    return re.match(r"[A-Za-z]*", text)[0]


def shares(texts):
    """Percent of `texts` that begin with a headless word, and with one of the wider set."""
    first = [first_word(text) for text in texts]
    headless = sum(word in HEADLESS for word in first)
    vague = sum(word in HEADLESS or word in VAGUE for word in first)
    return 100 * headless / len(first), 100 * vague / len(first)


def verdict(found):
    """The complaint about two shares, if there is one."""
    if found[0] > HEADLESS_LIMIT or found[1] > VAGUE_LIMIT:
        return f"more than {HEADLESS_LIMIT} % or {VAGUE_LIMIT} %"
    return None


def samples():
    """Counts texts with as many such openings as are allowed, and with one more."""
    for words, limit in ((HEADLESS, HEADLESS_LIMIT), (VAGUE, VAGUE_LIMIT)):
        for word in words:
            for number in (round(10 * limit), round(10 * limit) + 1):
                opening = f"/// {word} is it.\n/// What goes on is no opening.\nfn f() {{}}\n"
                plain = "//! Plain.\n/// Plain.\n// What no doc comment says.\n//// Nor this.\n"
                text = opening * number + plain * 500
                found = [text for _, text in blocks_of(text)][:1000]
                assert len(found) == 1000
                assert bool(verdict(shares(found))) == (number > 10 * limit), (word, number)


def main(*options):
    if "--samples" in options:
        samples()
        return
    found = list(blocks())
    if "--list" in options:
        for path, number, text in found:
            if first_word(text) in HEADLESS + VAGUE:
                print(f"{path}:{number}: {text}")
    percent = shares([text for _, _, text in found])
    print(f"{len(found)} doc blocks, {percent[0]:.1f} % headless, {percent[1]:.1f} % of the wider set")
    sys.exit(verdict(percent))


if __name__ == "__main__":
    main(*sys.argv[1:])
