"""Without a machine, and without symbols."""

import re

import gdb
from gdb_harness import check, error_of, run, test


@test("alone::no_machine")
def no_machine():
    for command in ("zones", "buddy", "slabs", "vmalloc", "cma", "memblock", "regs", "pte 0", "page 0"):
        check("there is no machine" in error_of(f"gr {command}"), command)


@test("alone::no_symbols")
def no_symbols():
    gdb.execute("symbol-file", to_string=True)
    for command in ("zones", "buddy", "slabs", "vmalloc", "cma", "memblock"):
        said = error_of(f"gr {command}")
        check(re.search(r"no (static|type) granule::\S+ in the symbols", said), command, said)
    check("expression" in error_of("gr pte"))


@test("alone::help")
def help_names_all():
    text = "\n".join(run("help gr"))
    for command in ("zones", "buddy", "page", "pte", "slabs", "vmalloc", "cma", "memblock", "regs", "symbols"):
        check(f"gr {command}" in text, f"help gr does not name {command}")
    check("takes no argument" in error_of("gr zones all"))
