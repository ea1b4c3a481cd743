#!/usr/bin/env python3
"""Holds the lines of scripts/bench against a baseline, or makes one of them.

    scripts/bench_baseline.py check BASELINE.json TOOLS <LINES
    scripts/bench_baseline.py update BASELINE.json TOOLS <LINES

TOOLS are the versions that the lines were measured with, in words. A figure is the mean
of a line, in which is what is put off from some rounds to others. `check` exits with 1 if a
figure is more than 3 % above its baseline, or if a name is on one side alone.
"""

import json
import sys

from bench_table import read_lines

# What a figure may rise by. Figures are the same on every run: this leaves room for how the
# compiler lays out code that did not change, and none for a further instruction in 33.
MARGIN = 0.03


def compare(baseline, figures):
    """What is wrong, and what could be tightened: two lists of lines to print."""
    wrong, better = [], []
    for name in [*baseline, *(name for name in figures if name not in baseline)]:
        old, new = baseline.get(name), figures.get(name)
        if old is None:
            wrong.append(f"{name}: measured, and not in the baseline")
        elif new is None:
            wrong.append(f"{name}: in the baseline, and not measured")
        elif new > old * (1 + MARGIN):
            wrong.append(f"{name}: {old:,.2f} -> {new:,.2f}, {change(old, new)}")
        elif new < old * (1 - MARGIN):
            better.append(f"{name}: {old:,.2f} -> {new:,.2f}, {change(old, new)}")
    return wrong, better


def change(old, new):
    return f"{100 * (new - old) / old:+.1f} %" if old else "from nothing"


def check(path, tools, figures):
    with open(path, encoding="utf-8") as file:
        baseline = json.load(file)
    wrong, better = compare(baseline["figures"], figures)
    for line in better:
        print(f"better, the baseline can be lowered: {line}")
    for line in wrong:
        print(f"WORSE: {line}")
    if wrong and tools != baseline["tools"]:
        print(f"note: the baseline was made with {baseline['tools']}; this is {tools}")
    print(
        f"baseline: {len(figures)} figures, {len(wrong)} wrong, "
        f"{len(better)} more than {MARGIN:.0%} below"
    )
    if wrong:
        print("where a change is meant: scripts/bench --update-baseline, and the reason in the commit")
    return 1 if wrong or not figures else 0


def update(path, tools, figures):
    if not figures:
        print("error: there are no figures", file=sys.stderr)
        return 1
    baseline = {
        "what": "Means of the lines of scripts/bench --baseline, which fails 3 % above them.",
        "tools": tools,
        "figures": {name: round(figure, 2) for name, figure in figures.items()},
    }
    with open(path, "w", encoding="utf-8") as file:
        json.dump(baseline, file, indent=2)
        file.write("\n")
    print(f"baseline: {len(figures)} figures written")
    return 0


def main(mode, path, tools):
    try:
        figures = {name: mean for name, (_, mean) in read_lines(sys.stdin).items()}
    except ValueError as error:
        sys.exit(f"error: {error}")
    return {"check": check, "update": update}[mode](path, tools, figures)


if __name__ == "__main__":
    if len(sys.argv) != 4 or sys.argv[1] not in ("check", "update"):
        print(__doc__, file=sys.stderr)
        sys.exit(2)
    sys.exit(main(*sys.argv[1:]))
