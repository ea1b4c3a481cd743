#!/usr/bin/env python3
"""Checks the imports between the rooms of src/mm.

    scripts/tests/floors.py [--list]

A room is a module directly below src/mm. Rooms that import each other, directly or through
others, form a knot. No knot may be larger than KNOTS says; one that has become smaller, or is
gone, must be taken from there, so that the numbers only fall. --list prints the imports that
hold the knots together, as FILE: ROOM -> ROOM.
"""

import pathlib
import re
import sys

# Sizes of the knots that are left, largest first.
KNOTS = []

ROOT = pathlib.Path(__file__).resolve().parents[2] / "src" / "mm"
PATH = re.compile(r"\bcrate::mm::(?:([a-z_0-9]+)|\{)")


def is_test(path):
    return "test" in path.stem or any("test" in part for part in path.relative_to(ROOT).parts[:-1])


def code_of(path):
    """The file's text without comments, and without what stands after a #[cfg(test)] item."""
    text = re.sub(r"//[^\n]*", "", path.read_text(encoding="utf-8"))
    return re.sub(r"#\[cfg\(test\)\]\s*(pub(\([^)]*\))?\s+)?(mod|use)[^;{]*(;|\{.*)", "", text, flags=re.S | re.M)


def imports():
    """(file, room, room) for each import from one room into another."""
    rooms = {p.stem if p.is_file() else p.name for p in ROOT.iterdir() if p.stem not in ("mod", "tests")}
    for path in sorted(ROOT.rglob("*.rs")):
        room = path.relative_to(ROOT).parts[0].removesuffix(".rs")
        if room in ("mod", "tests") or is_test(path):
            continue
        for target in set(PATH.findall(code_of(path))):
            if target in rooms and target != room:
                yield path.relative_to(ROOT), room, target


def knots(edges):
    """Strongly connected components of more than one room (Tarjan)."""
    graph = {}
    for _, room, target in edges:
        graph.setdefault(room, set()).add(target)
        graph.setdefault(target, set())
    index, low, stack, found = {}, {}, [], []

    def visit(room):
        index[room] = low[room] = len(index)
        stack.append(room)
        for target in sorted(graph[room]):
            if target not in index:
                visit(target)
                low[room] = min(low[room], low[target])
            elif target in stack:
                low[room] = min(low[room], index[target])
        if low[room] == index[room]:
            at = stack.index(room)
            if len(stack) - at > 1:
                found.append(sorted(stack[at:]))
            del stack[at:]

    for room in sorted(graph):
        if room not in index:
            visit(room)
    return sorted(found, key=len, reverse=True)


def main(*options):
    edges = list(imports())
    found = knots(edges)
    for knot in found:
        print(f"knot of {len(knot)}: {' '.join(knot)}")
        if "--list" in options:
            for path, room, target in edges:
                if room in knot and target in knot:
                    print(f"    {path}: {room} -> {target}")
    sizes = [len(knot) for knot in found]
    if sizes != KNOTS:
        worse = len(sizes) > len(KNOTS) or any(a > b for a, b in zip(sizes, KNOTS))
        sys.exit(f"knots of {sizes} rooms, {'not only' if worse else 'fewer than'} the {KNOTS} of {__file__}")


if __name__ == "__main__":
    main(*sys.argv[1:])
