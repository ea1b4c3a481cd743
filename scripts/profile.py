#!/usr/bin/env python3
"""Turns the counts of scripts/plugin/count.c or cache.c into a profile.

    scripts/profile.py ELF COUNTS OPERATIONS NM OBJDUMP [--annotate]
    scripts/profile.py ELF MISSES OPERATIONS NM OBJDUMP --weights WEIGHTS.json CPU

Prints the instructions per operation of each function, most first; what was inlined
counts for its caller. With --annotate the functions' code follows, each instruction
with how often an operation executed it. With --weights it prints the estimated cycles and
the misses of each function.
"""

import bisect
import json
import re
import subprocess
import sys


def symbols(nm, elf):
    """Sorted addresses of functions, and their names."""
    text = subprocess.run(
        [nm, "--numeric-sort", "--demangle", "--defined-only", elf],
        check=True, capture_output=True, text=True,
    ).stdout
    starts, names = [], []
    for line in text.splitlines():
        address, kind, name = line.split(" ", 2)
        # Symbols of the assembler and those for the linker are no functions.
        if kind not in "tTwW" or name.startswith(("$", ".L")):
            continue
        address = int(address, 16)
        if not starts or starts[-1] != address:
            starts.append(address)
            names.append(re.sub(r"::h[0-9a-f]{16}$", "", name))
    return starts, names


def read_counts(path):
    with open(path, encoding="ascii") as file:
        return {int(address, 16): int(count) for address, count in map(str.split, file)}


def annotate(objdump, elf, start, stop, counts, operations):
    text = subprocess.run(
        [objdump, "-d", "--no-show-raw-insn", "--demangle",
         f"--start-address={start:#x}", f"--stop-address={stop:#x}", elf],
        check=True, capture_output=True, text=True,
    ).stdout
    for line in text.splitlines():
        match = re.match(r"\s*([0-9a-f]+):\s+(.*)", line)
        if match:
            address = int(match[1], 16)
            often = counts.get(address, 0) / operations
            shown = f"{often:8.2f}" if often else " " * 8
            print(f"{shown}  {address:x}  {match[2]}")


def read_events(path):
    """Names of the events, and their counts by address."""
    with open(path, encoding="ascii") as file:
        names = file.readline().split()[1:]
        return names, {int(a, 16): list(map(int, counts)) for a, *counts in map(str.split, file)}


def print_misses(elf, events_file, operations, nm, weights):
    """A line for each function: cycles, then each event that occurred."""
    names, events = read_events(events_file)
    starts, functions = symbols(nm, elf)
    by_function = {}
    for address, counts in events.items():
        at = bisect.bisect_right(starts, address) - 1
        sums = by_function.setdefault(functions[at] if at >= 0 else "?", [0] * len(names))
        by_function[functions[at] if at >= 0 else "?"] = [a + b for a, b in zip(sums, counts)]
    cycles = {
        function: sum(weights[name] * count for name, count in zip(names, counts)) / operations
        for function, counts in by_function.items()
    }
    for function in sorted(cycles, key=cycles.get, reverse=True):
        counted = zip(names, by_function[function])
        text = ", ".join(f"{name} {count / operations:.2f}" for name, count in counted if count)
        print(f"{cycles[function]:12.2f}  {function}: {text}")
    print(f"{sum(cycles.values()):12.2f}  cycles in all, as estimated")


def main(elf, counts_file, operations, nm, objdump, *flags):
    operations = int(operations)
    if "--weights" in flags:
        _, weights_file, cpu = flags
        with open(weights_file, encoding="utf-8") as file:
            print_misses(elf, counts_file, operations, nm, json.load(file)[cpu])
        return
    counts = read_counts(counts_file)
    starts, names = symbols(nm, elf)
    by_function = {}
    for address, count in counts.items():
        at = bisect.bisect_right(starts, address) - 1
        by_function[at] = by_function.get(at, 0) + count
    order = sorted(by_function, key=by_function.get, reverse=True)
    for at in order:
        name = names[at] if at >= 0 else "?"
        print(f"{by_function[at] / operations:12.2f}  {name}")
    print(f"{sum(counts.values()) / operations:12.2f}  in all, the readings of the counter included")
    if "--annotate" in flags:
        for at in order:
            if at < 0 or by_function[at] / operations < 0.5:
                continue
            print(f"\n{names[at]}:")
            stop = starts[at + 1] if at + 1 < len(starts) else max(counts) + 4
            annotate(objdump, elf, starts[at], stop, counts, operations)


if __name__ == "__main__":
    if len(sys.argv) < 6:
        print(__doc__, file=sys.stderr)
        sys.exit(2)
    main(*sys.argv[1:])
