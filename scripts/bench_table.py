#!/usr/bin/env python3
"""Reads the lines of scripts/bench and prints them beside Linux's figures.

    scripts/bench_table.py LINUX.json TARGETS.json [KIND=LINES]... <LINES

The figures of a KIND of Linux may come from the lines of benches/linux/measure instead.
Exits with 1 if a target is missed. Both files name benchmarks as the lines do.
"""

import json
import sys


# What a figure counts. A line without any of them tells what others are made of.
UNITS = ("instructions_per_op", "bytes_per_page")


def read_lines(lines):
    """The figures by name: (min, mean)."""
    figures = {}
    for line in lines:
        figure = json.loads(line)
        least = next((figure[unit] for unit in UNITS if unit in figure), None)
        if least is None:
            continue
        if figure["bench"] in figures:
            raise ValueError(f"two lines of {figure['bench']}")
        figures[figure["bench"]] = (least, figure.get("mean", least))
    return figures


def read_linux(path):
    """Linux's figures by name, in all units."""
    with open(path, encoding="utf-8") as file:
        units = json.load(file)
    return {name: of for unit in UNITS for name, of in units.get(unit, {}).items()}


def replace_kind(linux, kind, lines):
    """Puts the figures of these lines in place of all that LINUX.json has of the kind."""
    for value in linux.values():
        value.pop(kind, None)
    for name, (least, _) in read_lines(lines).items():
        linux.setdefault(name, {})[kind] = least


def number(value):
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 1000 else f"{value:.1f}"


def sum_of(names, figures):
    """A target may be set for several figures together: "a + b"."""
    parts = [figures.get(name) for name in names.split(" + ")]
    if None in parts:
        return None
    return tuple(sum(column) for column in zip(*parts))


def rows(figures, linux, targets):
    """Name, ours, Linux's two, target; the targets of sums at the end."""
    lean = {name: (value["lean"],) for name, value in linux.items() if "lean" in value}
    tiny = {name: (value["tiny"],) for name, value in linux.items() if "tiny" in value}
    names = list(figures) + [name for name in targets if name not in figures]
    for name in names:
        yield (
            name,
            sum_of(name, figures),
            *(column and column[0] for column in (sum_of(name, lean), sum_of(name, tiny))),
            targets.get(name),
        )


def main(linux_file, targets_file, *measured):
    linux = read_linux(linux_file)
    for argument in measured:
        kind, lines_file = argument.split("=", 1)
        with open(lines_file, encoding="utf-8") as lines:
            replace_kind(linux, kind, lines)
    with open(targets_file, encoding="utf-8") as file:
        targets = json.load(file)
    form = "{:<42} {:>12} {:>12} {:>12} {:>12} {:>7} {:>10}  {}"
    print(form.format("benchmark", "min", "mean", "Linux lean", "Linux tiny", "ratio", "target", ""))
    missed = []
    for name, ours, lean, tiny, target in rows(read_lines(sys.stdin), linux, targets):
        least, mean = ours or (None, None)
        ratio = f"{tiny / mean:.1f}" if tiny and mean else "-"
        verdict = ""
        if target is not None:
            # What is put off from some rounds to others is in the mean alone.
            met = mean is not None and mean <= target
            verdict = "met" if met else "MISSED"
            if not met:
                missed.append(name)
        columns = (number(column) for column in (least, mean, lean, tiny))
        print(form.format(name, *columns, ratio, number(target), verdict))
    print(f"ratio: Linux tiny / our mean. {len(targets) - len(missed)} targets met, {len(missed)} missed.")
    return 1 if missed else 0


if __name__ == "__main__":
    if len(sys.argv) < 3:
        print(__doc__, file=sys.stderr)
        sys.exit(2)
    sys.exit(main(*sys.argv[1:]))
