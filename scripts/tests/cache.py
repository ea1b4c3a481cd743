#!/usr/bin/env python3
"""Holds the rows of benches/instructions/model.rs against the misses that they must have.

    scripts/tests/cache.py a72|n1 <LINES of scripts/bench --cache --json model
"""

import json
import sys

# Events of an operation. Those not named must be 0, but for instruction fetches, which a
# row's few first may need.
EXPECTED = {
    "model_in_l1": {},
    "model_in_l2": {"load_l2": 1},
    "model_one_set": {"load_l2": 1},
    "model_in_order": {"sequential_mem": 1},
    "model_shuffled": {"load_mem": 1},
    "model_16_pages": {},
    "model_64_pages": {"tlb_l2": 1},
}
# Four ways keep three lines of a set.
N1 = {"model_one_set": {}}
NOT_COMPARED = ("bench", "cycles_per_op", "instructions", "fetch_l2", "fetch_mem")


def main(cpu):
    expected = {**EXPECTED, **(N1 if cpu == "n1" else {})}
    lines = [json.loads(line) for line in sys.stdin]
    names = [line["bench"] for line in lines]
    assert sorted(names) == sorted(expected), f"rows {names}"
    for line in lines:
        wanted = expected[line["bench"]]
        for event, count in line.items():
            if event not in NOT_COMPARED and abs(count - wanted.get(event, 0)) > 0.02:
                sys.exit(f"{line['bench']}: {event} is {count}, not {wanted.get(event, 0)}")
        if line["fetch_l2"] + line["fetch_mem"] > 0.05 or line["instructions"] < 3:
            sys.exit(f"{line['bench']}: fetches or instructions are wrong: {line}")
    cycles = {line["bench"]: line["cycles_per_op"] for line in lines}
    if cycles["model_shuffled"] < 3 * cycles["model_in_order"]:
        sys.exit(f"a shuffled walk takes {cycles['model_shuffled']}, in order {cycles['model_in_order']}")


if __name__ == "__main__":
    main(sys.argv[1])
