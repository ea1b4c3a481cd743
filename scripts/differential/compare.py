"""Finds where two outputs of a program differ."""

import difflib
import re

# What may differ: a pattern, what stands in its place on both sides, and why.
ALLOWED = ((r" [0-9a-f]{2,3}:[0-9a-f]{2,5} [1-9]\d* +/", " DEVICE INODE /", "the number of a mount and of a file in it"),)


def normal(lines):
    """The lines with what may differ taken out."""
    for pattern, instead, _ in ALLOWED:
        lines = [re.sub(pattern, instead, line) for line in lines]
    return lines


def differs(linux, granule):
    if linux is None or granule is None:
        return True
    # Mostly they are the same as they are.
    return linux != granule and normal(linux) != normal(granule)


def first_difference(linux, granule):
    """The index of the first line that differs."""
    one, other = normal(linux), normal(granule)
    for index, (a, b) in enumerate(zip(one, other)):
        if a != b:
            return index
    return min(len(one), len(other))


CONTEXT, LINES = 8, 30


def explain(case, linux, granule):
    """Lines that show the first difference with what comes before it."""
    yield f"=== {case}"
    for name, lines in (("Linux", linux), ("Granule", granule)):
        if lines is None:
            yield f"{name} has no output"
            return
    index = first_difference(linux, granule)
    yield from (f"    {line}" for line in linux[max(0, index - CONTEXT) : index])
    one, other = normal(linux)[index : index + LINES], normal(granule)[index : index + LINES]
    shown = 0
    for line in difflib.ndiff(one, other):
        if line.startswith("?") or shown >= LINES:
            continue
        yield {"-": "L   ", "+": "G   ", " ": "    "}[line[0]] + line[2:]
        # Up to the next operation: what follows is a consequence.
        if shown and re.match(r"  \d+ ", line):
            break
        shown += 1
