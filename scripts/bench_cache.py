#!/usr/bin/env python3
"""Joins the lines of benchmarks with the rows of scripts/plugin/cache.c.

    scripts/bench_cache.py join ROWS WEIGHTS.json CPU <LINES
    scripts/bench_cache.py table LINUX.json CPU [KIND=LINES]... <JOINED

`join` prints one JSON object a line: the events of each operation and the cycles that they
are estimated to take. `table` prints such lines for a reader, beside Linux's figures of the
same CPU: those of LINUX.json ("cache"), or of a file of joined lines for a KIND.
"""

import json
import sys

ROUNDS = 5
GROUPS = {
    "l1i": ("fetch_l2", "fetch_mem"),
    "l1d": ("load_l2", "load_mem", "store_l2", "store_mem", "sequential_l2", "sequential_mem"),
    "l2": ("fetch_mem", "load_mem", "store_mem", "sequential_mem"),
    "tlb": ("tlb_l2",),
    "walks": ("tlb_walk",),
}


def per_operation(line, row, weights):
    """The joined line of one benchmark."""
    operations = line["ops"] * ROUNDS
    events = {name: round(count / operations, 3) for name, count in row.items()}
    cycles = sum(count * weights[name] for name, count in row.items()) / operations
    return {"bench": line["bench"], "cycles_per_op": round(cycles, 1), **events}


def join(rows_file, weights_file, cpu):
    with open(weights_file, encoding="utf-8") as file:
        weights = json.load(file)[cpu]
    with open(rows_file, encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    lines = [line for line in map(json.loads, sys.stdin) if "ops" in line]
    if len(lines) != len(rows):
        raise ValueError(f"{len(lines)} lines, but the model saw {len(rows)} rows")
    for line, row in zip(lines, rows):
        print(json.dumps(per_operation(line, row, weights)))


def by_name(lines):
    return {line["bench"]: line for line in map(json.loads, lines)}


def total(line, group):
    return sum(line[event] for event in GROUPS[group])


def read_linux(path, cpu, replaced):
    with open(path, encoding="utf-8") as file:
        linux = json.load(file).get("cache", {}).get(cpu, {})
    for argument in replaced:
        kind, lines_file = argument.split("=", 1)
        with open(lines_file, encoding="utf-8") as lines:
            linux[kind] = by_name(lines)
    return linux


def table(linux_file, cpu, *replaced):
    linux = read_linux(linux_file, cpu, replaced)
    kinds = sorted(linux)
    head = f"{'per operation':<42} {'instr.':>10} {'L1I':>8} {'L1D':>8} {'L2':>8} {'TLB':>8} {'walks':>8} {'cycles':>10}"
    for kind in kinds:
        head += f" {kind + ' L1D':>9} {kind + ' L2':>9} {kind + ' cyc.':>11} {'ratio':>6}"
    print(head)
    for line in map(json.loads, sys.stdin):
        groups = " ".join(f"{total(line, group):>8.2f}" for group in GROUPS)
        text = f"{line['bench']:<42} {line['instructions']:>10,.1f} {groups} {line['cycles_per_op']:>10,.1f}"
        for kind in kinds:
            theirs = linux[kind].get(line["bench"])
            if not theirs:
                text += f" {'-':>9} {'-':>9} {'-':>11} {'-':>6}"
                continue
            ratio = theirs["cycles_per_op"] / line["cycles_per_op"] if line["cycles_per_op"] else 0
            text += (
                f" {total(theirs, 'l1d'):>9.2f} {total(theirs, 'l2'):>9.2f}"
                f" {theirs['cycles_per_op']:>11,.1f} {ratio:>6.1f}"
            )
        print(text)
    print(f"Model of {cpu}. Misses of each kind, and cycles as benches/cache-weights.json estimates them.")


if __name__ == "__main__":
    if len(sys.argv) == 5 and sys.argv[1] == "join":
        join(*sys.argv[2:])
    elif len(sys.argv) >= 4 and sys.argv[1] == "table":
        table(*sys.argv[2:])
    else:
        print(__doc__, file=sys.stderr)
        sys.exit(2)
