"""Stepping the kernel from its first instruction to the end of its report."""

import re

import gdb
from gdb_harness import (
    END, IMAGE, LINKED, check, compare_figures, console, contains, go_to, leads_to, physical, qemu_walk,
    run, run_to_exit, same, section, sound, stop_at, symbol, test, value,
)


@test("boot::first_instruction")
def first_instruction():
    same(value("$gr_image"), IMAGE, "$gr_image")
    check(value("$pc") != IMAGE, "the machine has run already")
    go_to(IMAGE)
    check("_start" in run("info symbol $pc")[0] or "_text" in run("info symbol $pc")[0])
    contains(run("gr regs"), ["    M 0: the EL1&0 MMU is off"], "gr regs")
    check("the MMU of this CPU is off" in run("gr pte $pc")[0])
    run("stepi")
    same(value("$pc"), physical("primary_entry"), "the first step leads to primary_entry")
    check("primary_entry" in run("info symbol $pc")[0])


@test("boot::early_map")
def early_map():
    go_to(physical("early_map"))
    frame = gdb.newest_frame()
    check("early_map" in (frame.name() or ""), f"the frame is called {frame.name()}")
    check("early.rs" in run("info line early_map")[0])
    same(value("$x0"), IMAGE, "early_map's argument")
    check("primary_entry" in run("info symbol $x30")[0], "it was called from primary_entry")


@test("boot::mmu_switch")
def mmu_switch():
    """Over the switch by single instructions: from the identity map into the high half."""
    go_to(value("$x30"))
    contains(run("gr regs"), ["    M 1: the EL1&0 MMU is on"], "gr regs")
    before = value("$pc")
    check(before < LINKED, "it is in the high half already")
    walk = sound(run("gr pte $pc"))
    check("through TTBR0_EL1" in walk[0], walk[0])
    same(walk[-1].split()[1:4], ["->", f"{before:#x}", "r-x"], "the identity map")
    steps = 0
    while value("$pc") < LINKED and steps < 4:
        gdb.execute("stepi", to_string=True)
        steps += 1
    same(value("$pc"), symbol("primary_switched"), "the first address in the high half")
    walk = sound(run("gr pte $pc"))
    check("through TTBR1_EL1" in walk[0], walk[0])
    same(walk[-1].split()[1:4], ["->", f"{physical('primary_switched'):#x}", "r-x"], "the kernel's map")
    # Both maps go through the same tables of the last level.
    check(any("level 3" in line for line in walk), "it is not mapped by pages")


@test("boot::start_kernel")
def start_kernel():
    stop_at("start_kernel")
    same(gdb.selected_frame().find_sal().symtab.filename, "src/init/start.rs", "the source file")
    check(value("$pc") >= LINKED)
    for command in ("zones", "buddy"):
        check("free_area_init has not run" in run(f"gr {command}")[-1])
    check("kmem_cache_init has not run" in run("gr slabs")[-1])
    check("memblock is empty" in run("gr memblock")[-1])
    check("no CMA areas" in run("gr cma")[-1])


@test("boot::memblock")
def memblock():
    stop_at("granule::init::mm::paging_init")
    lines = console()
    own = [line for line in lines if line.startswith(("memory: ", "reserved: ", "  ["))]
    found = sound(run("gr memblock"))
    check(len(own) >= 5, "there are more regions than that")
    same(found[: len(own)], own, "gr memblock and the kernel's own lines")
    # The image is the first that is reserved.
    check(f"[{IMAGE:#018x}-" in "\n".join(found))


@test("boot::alloc_pages")
def alloc_pages():
    stop_at("granule::mm::alloc_pages::alloc_pages")
    trace = run("backtrace")
    check(any("start_kernel" in line for line in trace), "the backtrace does not reach start_kernel")


@test("boot::report")
def report():
    """At the end of the boot each command says what the kernel's report says."""
    stop_at(END)
    compare_figures("Zones (pages):", "Free blocks by order:")
    contains(sound(run("gr slabs")), section("Slab caches:"), "gr slabs")
    contains(sound(run("gr vmalloc")), section("vmalloc areas:"), "gr vmalloc")
    contains(sound(run("gr cma")), section("CMA areas:"), "gr cma")
    check("memblock is empty" in run("gr memblock")[-1], "memblock is discarded")


@test("boot::regs")
def regs():
    """The registers are what the boot CPU left for the others to load."""
    lines = run("gr regs")
    data = symbol("SECONDARY_DATA")
    memory = gdb.selected_inferior().read_memory(data, 40)
    mair, tcr, sctlr, _, ttbr1 = (
        int.from_bytes(bytes(memory[n : n + 8]), "little") for n in range(0, 40, 8)
    )
    for name, expected in (("MAIR_EL1", mair), ("SCTLR_EL1", sctlr)):
        contains(lines, [f"{name:<10} {expected:#018x}"], "gr regs")
    found = {line.split()[0]: int(line.split()[1], 16) for line in lines if not line.startswith(" ")}
    # EPD0: the boot CPU has closed the lower half; CnP: set once the tables are shared.
    same(found["TCR_EL1"] & ~(1 << 7), tcr & ~(1 << 7), "TCR_EL1")
    same(found["TTBR1_EL1"] & ~1, ttbr1 & ~1, "TTBR1_EL1")
    same(found["VBAR_EL1"], symbol("vectors"), "VBAR_EL1")
    contains(
        lines,
        [
            "    M 1: the EL1&0 MMU is on",
            "    C 1: data caches on",
            "    Attr0 0xff: Normal, Write-Back, read and write allocate",
            "    Attr1 0x44: Normal, Non-cacheable",
            "    Attr3 0x04: Device-nGnRE",
            "    Attr4 0x00: Device-nGnRnE",
            "    AS 1: ASIDs of 16 bits, A1 0: from TTBR0",
            "    no exception yet",
        ],
        "gr regs",
    )
    check(any("TTBR1: T1SZ 16: 48-bit addresses, TG1 4 KiB granule, EPD1 0" in line for line in lines))


MEMORY = {"Normal": "MEM/NORMAL", "Device-nGnRE": "DEVICE/nGnRE", "Device-nGnRnE": "DEVICE/nGnRnE"}


@test("boot::pte")
def pte():
    """Each range of the kernel's own page table dump, at its first and its last page."""
    lines = [line for line in section("Page tables:") if line.startswith("0x")]
    check(len(lines) > 10, "the kernel's dump is shorter than that")
    for text in lines:
        words = text.split()
        start, end = (int(at, 16) for at in words[0].split("-"))
        for address in (start, end - 0x1000 + 0x123):
            pa, permissions, memory, walk = leads_to(address)
            same(pa, qemu_walk(address), f"where {address:#x} leads")
            level = ("PGD", "PUD", "PMD", "PTE").index(words[2])
            same(words[3].lower(), {"w": "rw", "-": "ro"}[permissions[1]], text)
            same(words[4].lower(), {"x": "x", "-": "nx"}[permissions[2]], text)
            same(words[-1], MEMORY[memory.split(",")[0]], text)
            leaf = [line for line in walk if line.startswith("  level ")][-1]
            check(f"level {level} " in leaf and leaf.endswith("page" if level == 3 else "block"), text, leaf)
            contiguous = any(re.search(r"Contiguous +1 ", line) for line in walk)
            same(contiguous, "CON" in words, text)
    starts = [int(line.split("-")[0], 16) for line in lines]
    for text in lines:
        after = int(text.split()[0].split("-")[1], 16)
        if after not in starts:
            same(leads_to(after)[0], None, f"{after:#x} is mapped nowhere")
            same(qemu_walk(after), None, f"{after:#x} as QEMU walks")


@test("boot::end")
def ends():
    """The kernel goes on to its end under the debugger, with exit code 0."""
    run_to_exit()
