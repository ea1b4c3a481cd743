#!/usr/bin/env python3
"""Checks the imports between the rooms of src/mm.

    scripts/tests/floors.py [--list | --samples]

A room is a module directly below src/mm. Each stands on a floor, and imports rooms of its own
floor or of a lower one, never of a higher. Rooms that import each other, directly or through
others, form a knot: there is none. --list prints all imports, as FILE: ROOM -> ROOM, by floor;
--samples shows that the check finds what it is for.
"""

import pathlib
import re
import sys

# The floors, lowest first; src/mm/mod.rs has the same table.
FLOORS = (
    ("descriptors", "ids gfp page sparse pcp_list mmzone vmstat hooks"),
    ("core", "page_alloc memblock"),
    ("reclaim", "context shrinker migrate compaction vmscan"),
    ("allocation", "alloc_pages"),
    (
        "objects, mappings, contiguous memory",
        "contig memory_hotplug memory_failure zsmalloc stackdepot init_mm vmalloc ioremap"
        " set_memory thread_stack kthread rcu_gp slab util alloc heap mempool percpu rcu cma",
    ),
    ("page cache", "filemap shmem"),
    ("areas of users", "vma"),
    ("tables of users", "memory"),
    ("address spaces", "mm_struct"),
    ("top", "debug stat ptdump validate"),
)

ROOT = pathlib.Path(__file__).resolve().parents[2] / "src" / "mm"
PATH = re.compile(r"\bcrate::mm::(?:([a-z_0-9]+)|\{([^;]*?)\};)", re.S)
SUPER = re.compile(r"\b((?:super::)+)([a-z_0-9]+)")


def is_test(path):
    return "test" in path.stem or any("test" in part for part in path.relative_to(ROOT).parts[:-1])


def code_of(text):
    """A file's text without comments, and without modules and imports for tests alone."""
    text = re.sub(r"//[^\n]*", "", text)
    head = re.compile(r"#\[cfg\(test\)\]\s*(?:#\[[^\]]*\]\s*)*(?:pub(?:\([^)]*\))?\s+)?(?:use\b[^;]*;|mod\s+\w+\s*[;{])")
    while match := head.search(text):
        end = match.end()
        depth = text[end - 1] == "{"
        while depth and end < len(text):
            depth += {"{": 1, "}": -1}.get(text[end], 0)
            end += 1
        text = text[: match.start()] + text[end:]
    return text


def first_names(group):
    """The first segments of the paths of a `use` group."""
    names, depth = [], 0
    for part in re.findall(r"[{},]|[^{},]+", group):
        if part in "{}":
            depth += 1 if part == "{" else -1
        elif depth == 0 and part != "," and re.match(r"\s*[a-z_0-9]", part):
            names.append(re.match(r"\s*([a-z_0-9]+)", part)[1])
    return names


def targets(path, text):
    """The modules of mm that a file names, by `crate::mm::` or by as many `super::`."""
    found = set()
    for room, group in PATH.findall(text):
        found.update([room] if room else first_names(group))
    depth = len(path.parts) - (path.name == "mod.rs")
    for up, room in SUPER.findall(text):
        if up.count("super::") == depth:
            found.add(room)
    return found


def rooms():
    found = {p.stem if p.is_file() else p.name for p in ROOT.iterdir()}
    return {room for room in found if room != "mod" and "test" not in room}


def imports():
    """(file, room, room) for each import from one room into another."""
    known = rooms()
    for path in sorted(ROOT.rglob("*.rs")):
        name = path.relative_to(ROOT)
        room = name.parts[0].removesuffix(".rs")
        if room not in known or is_test(path):
            continue
        for target in sorted(targets(name, code_of(path.read_text(encoding="utf-8")))):
            if target in known and target != room:
                yield name, room, target


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


def mistakes(edges, known):
    """A line for each import that goes up, each knot, and each room without a floor."""
    floor = {room: n for n, (_, names) in enumerate(FLOORS) for room in names.split()}
    for room in sorted(known - floor.keys()):
        yield f"{room}: has no floor"
    for room in sorted(floor.keys() - known):
        yield f"{room}: is on a floor, and there is no such room"
    for path, room, target in edges:
        if room in floor and target in floor and floor[target] > floor[room]:
            names = [FLOORS[floor[n]][0] for n in (room, target)]
            yield f"{path}: {room} ({names[0]}) imports {target} ({names[1]}), which is above"
    for knot in knots(edges):
        held = [f"{path}: {a} -> {b}" for path, a, b in edges if a in knot and b in knot]
        more = f"; and {len(held) - 12} more (--list)" if len(held) > 12 else ""
        yield f"{' '.join(knot)} import each other: {'; '.join(held[:12])}{more}"


def samples():
    """Checks the check by imports that are wrong, and some that are not."""
    known = {room for _, names in FLOORS for room in names.split()}
    cases = (
        ([("a.rs", "slab", "page_alloc"), ("b.rs", "slab", "stackdepot")], 0),
        ([("a.rs", "page_alloc", "vmscan")], 1),
        ([("a.rs", "slab", "util"), ("b.rs", "util", "slab")], 1),
        ([("a.rs", "page", "debug"), ("b.rs", "debug", "page")], 2),
    )
    for edges, wrong in cases:
        found = list(mistakes(edges, known))
        assert len(found) == wrong, (edges, found)
    assert list(mistakes([], known | {"attic"})) == ["attic: has no floor"]
    texts = (
        ("slab/a.rs", "use crate::mm::{page_alloc::{self, Pages}, gfp::Gfp};", {"page_alloc", "gfp"}),
        ("slab/a.rs", "fn f() { crate::mm::stat::nodes() }", {"stat"}),
        ("slab/a.rs", "use super::super::stat::nodes;", {"stat"}),
        ("slab/a.rs", "use super::stat::nodes;", set()),
        ("slab/mod.rs", "use super::stat::nodes;", {"stat"}),
        ("util.rs", "use super::stat::nodes;", {"stat"}),
    )
    for name, text, expected in texts:
        found = targets(pathlib.PurePath(name), text)
        assert found == expected, (name, text, found)
    # What is for tests alone is left out, and nothing behind it.
    behind = "\nuse crate::mm::stat::nodes;"
    for text in (
        "// use crate::mm::debug::a;",
        "#[cfg(test)]\nuse crate::mm::debug::{a, b::{c, d}};",
        "#[cfg(test)]\npub(in crate::mm) use crate::mm::debug::a;",
        "#[cfg(test)]\n#[expect(unsafe_code, reason = \"tests\")]\nmod tests;",
        "#[cfg(test)] mod tests { use crate::mm::debug::a; fn f() { crate::mm::debug::b() } }",
    ):
        found = targets(pathlib.PurePath("slab/a.rs"), code_of(text + behind))
        assert found == {"stat"}, (text, found)


def main(*options):
    if "--samples" in options:
        return samples()
    edges = list(imports())
    if "--list" in options:
        for name, floor in FLOORS:
            print(f"{name}:")
            for path, room, target in edges:
                if room in floor.split():
                    print(f"    {path}: {room} -> {target}")
    wrong = list(mistakes(edges, rooms()))
    if wrong:
        sys.exit("\n".join(wrong))


if __name__ == "__main__":
    main(*sys.argv[1:])
