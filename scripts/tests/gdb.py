"""The tests of scripts/gdb.py, which scripts/tests/gdb runs inside gdb.

A test is of a session: `boot` steps the kernel from its first instruction to the end of
its report, `state` looks into tests/debugger.rs, which has brought every allocator into
a state of many kinds, `alone` has no machine. The tests of a session run in their order,
and what one finds is compared with what the kernel itself has printed.

The environment says what to do: GRANULE_GDB_SESSION, GRANULE_GDB_TESTS (names),
GRANULE_GDB_CONSOLE (the kernel's output), GRANULE_GDB_RESULTS, GRANULE_GDB_LOGS.
"""

import importlib
import os
import pathlib
import sys
import time
import traceback

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from gdb_harness import TESTS, Failure  # noqa: E402

SESSION = os.environ["GRANULE_GDB_SESSION"]
WANTED = os.environ["GRANULE_GDB_TESTS"].split()
RESULTS = pathlib.Path(os.environ["GRANULE_GDB_RESULTS"])
LOGS = pathlib.Path(os.environ["GRANULE_GDB_LOGS"])


def passes(function):
    """Runs a test; whether it passes."""
    begin = time.monotonic()
    try:
        function()
        return True
    except Failure as failure:
        print(f"\n*** {failure}")
    except BaseException:
        traceback.print_exc(file=sys.stdout)
    finally:
        print(f"{time.monotonic() - begin:.1f} s")
    return False


def main():
    """Runs this session's tests, each into a log of its own."""
    importlib.import_module(f"gdb_{SESSION}")
    last = max(n for n, (name, _) in enumerate(TESTS) if f"gdb::{name}" in WANTED)
    # Those before a wanted one run too: they bring the machine to where it starts.
    for name, function in TESTS[: last + 1]:
        with (LOGS / f"gdb__{name.replace('::', '__')}.log").open("w", encoding="utf-8") as log:
            out, sys.stdout = sys.stdout, log
            try:
                passed = passes(function)
            finally:
                sys.stdout = out
        if f"gdb::{name}" in WANTED:
            with RESULTS.open("a", encoding="utf-8") as results:
                results.write(f"gdb::{name} {'ok' if passed else 'FAILED'}\n")


main()
