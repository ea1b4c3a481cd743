"""Looking into tests/debugger.rs, where every allocator is in a state of many kinds."""

import re

import gdb
from gdb_harness import (
    check, compare_figures, console, contains, error_of, leads_to, qemu_walk, run, run_to_exit, same,
    section, sound, stop_at, test, value,
)


@test("state::stop")
def stop():
    stop_at("debugger_look")
    check("look: now" in console())


@test("state::zones")
def state_zones():
    compare_figures("Zones:", "Free blocks:")
    lines = sound(run("gr zones"))
    nodes = {line.split(",")[0] for line in lines if line.startswith("Node ")}
    same(nodes, {"Node 0", "Node 1"}, "the nodes")
    buddy = sound(run("gr buddy"))
    check(any(re.match(r" +CPU \d+: \d+ pages: ", line) for line in buddy), "no CPU has pages")


@test("state::slabs")
def state_slabs():
    printed = section("Slab caches:")
    check(len(printed) > 4, "the kernel has no caches in use")
    contains(sound(run("gr slabs")), printed, "gr slabs")
    one = sound(run("gr slabs debugger"))
    contains(one, [line for line in printed if line.startswith("debugger ")], "gr slabs debugger")
    check("SlabFlags(HWCACHE_ALIGN | NO_MERGE)" in one[1], one[1])
    slabs, objects, out, spare = (int(n) for n in re.findall(r"\d+", one[2]))
    active = next(int(line.split()[1]) for line in printed if line.startswith("debugger "))
    same(out - spare, active, "the objects that are out, and in no sheaf")
    partial = [re.search(r"slab of debugger .* (\d+) of (\d+) objects in use", line) for line in one]
    partial = [(int(found[1]), int(found[2])) for found in partial if found]
    check(partial, "no partial slab")
    full = (slabs - len(partial)) * partial[0][1]
    same(full + sum(used for used, _ in partial), out, "the objects that are out, by slabs")
    same(slabs * partial[0][1], objects, "the objects")
    check("no cache is called nobody" in error_of("gr slabs nobody"))


@test("state::vmalloc")
def state_vmalloc():
    printed = section("vmalloc areas:")
    found = sound(run("gr vmalloc"))
    contains(found, printed, "gr vmalloc")
    same(len([line for line in found if line.startswith("0x")]), len(printed), "the number of areas")
    for kind in ("vmalloc", "vmap", "ioremap"):
        check(any(line.endswith(kind) for line in found), f"no area is of {kind}")
    check(any(line.endswith(" lazy") for line in sound(run("gr vmalloc all"))), "no area is lazy")


@test("state::cma")
def state_cma():
    found = sound(run("gr cma"))
    contains(found, section("CMA areas:"), "gr cma")
    check(any("allocated 300 " in line for line in found), "300 pages are allocated")
    contains(found, ["  1 pages a bit; 1 allocations succeeded, 0 failed"], "gr cma")


@test("state::tasks")
def state_tasks():
    found = sound(run("gr tasks"))
    printed = section("Tasks:")
    # The time of a task goes on, and it may have been woken.
    steady = lambda lines: [re.sub(r"^( +\d+) [RSD] (.*) +\d+\.\d\d ", r"\1 \2 ", line) for line in lines]
    same(steady(found[1:]), steady(printed), "gr tasks")
    check(any(re.match(r"    1 R   0   0 kernel .* init$", line) for line in found), "init does not run")
    check(any(re.search(r" [SD] .* kswapd0$", line) for line in found), "kswapd0 does not sleep")
    check(any(re.match(r" +\d+ D   0  -7 kernel +0\.00 0x000 nice$", line) for line in found), "no thread has a nice value")


def looks(what):
    """The kernel's lines about pages, page tables or values: (name, the rest)."""
    prefix = f"look: {what} "
    found = [line[len(prefix) :].split(" ", 1) for line in console() if line.startswith(prefix)]
    check(found, f"the kernel has printed no {prefix}")
    return found


@test("state::page")
def state_page():
    for name, text in looks("page"):
        pfn, rest = text.split(" ", 1)
        descriptor, words = rest.split("; ", 1)
        lines = sound(run(f"gr page {pfn}"))
        contains(lines, [f"  {descriptor}", f"  {words}"], f"gr page of {name}")
        for kind, line in (
            ("slab", "  slab of debugger "),
            ("vmalloc", "  a page of a vmalloc area"),
            ("tail", "  a tail of the compound page at "),
            ("compound", "  the head of a compound page of order 3"),
        ):
            if kind == name:
                check(any(found.startswith(line) for found in lines), f"{name}: no {line!r}")
        if name == "slab":
            used, total = re.search(r": (\d+) of (\d+) objects in use", "\n".join(lines)).groups()
            check(0 < int(used) <= int(total), f"{name}: {used} of {total} objects in use")
        if name == "cma":
            check("is CMA" in "\n".join(lines), "its pageblock is CMA's")
    # By other names: typed values of a frame.
    by_number = run(f"gr page {dict(looks('page'))['single'].split()[0]}")
    for expression in ("sample.frame", "sample.pfn", "sample.phys"):
        same(run(f"gr page {expression}"), by_number, expression)
    check("is no frame" in error_of("gr page sample.no_frame"))
    check("32 bits" in error_of("gr page 0x123456789a"))
    check("has no descriptor" in run("gr page 0x10")[1])


PERMISSIONS = {"Ro": "r--", "Rw": "rw-", "Rx": "r-x"}


@test("state::pte")
def state_pte():
    for name, text in looks("pte"):
        words = text.split()
        address = int(words[0], 16)
        pa, permissions, memory, _ = leads_to(address)
        same(pa, qemu_walk(address), f"{name}: QEMU's walk")
        if words[2] == "nothing":
            same(pa, None, name)
            continue
        same(pa, int(words[2], 16), name)
        same(permissions, PERMISSIONS[words[4]], name)
        check(memory.startswith("Normal, Write-Back" if words[3] == "Normal" else "Device-nGnRE"), name, memory)
        # The bytes are the same by both addresses, where reading has no effects.
        if words[3] == "Normal":
            from granule_gdb import target

            same(target.read(address & ~7, 8), target.read_phys(pa & ~7, 8), f"{name}: the bytes")
    same(run("gr pte sample.virt")[-1].split()[0], f"{value('sample.virt.__0'):#018x}", "gr pte of a VirtAddr")
    check("outside of the 48 bits" in run("gr pte 0x0123000000000000")[-1])


@test("state::printers")
def state_printers():
    for name, expected in looks("value"):
        if name == "gfp":
            expected = "Gfp(GFP_KERNEL | __GFP_ZERO)"
        same(run(f"print sample.{name}")[0].split(" = ", 1)[1], expected, name)
    check(run("print granule::mm::mmzone::node::FIRST_NODE.value.node_zones[0].free")[0].split(" = ")[1].isdigit())
    check(run("print granule::mm::mmzone::node::FIRST_NODE.value.node_zones[0].area")[0].split(" = ")[1].startswith("unlocked"))
    lists = "granule::mm::mmzone::node::FIRST_NODE.value.node_zones[0].area.value.value.lists"
    order = next(n for n in range(10, -1, -1) if value(f"{lists}[{n}][1].nr_free"))
    text = run(f"print {lists}[{order}][1]")[0].split(" = ", 1)[1]
    blocks = value(f"{lists}[{order}][1].nr_free")
    check(re.match(rf"{blocks} blocks = \{{Frame\(0x[0-9a-f]+\)", text), text)
    same(text.count("Frame("), min(blocks, gdb.parameter("print elements")), text)
    page = run(f"print *(0x{0xFFFFFE0000000000 + 32 * value('sample.pfn.__0'):x} as *mut granule::mm::page::Page)")
    check("refcount 1" in page[0] and "Page of Frame(" in page[0], page[0])


@test("state::damage_is_found")
def damage():
    """A bad link in a free list and a slab list, a bad count: each is named. Then all is
    as before."""
    machine = gdb.selected_inferior()
    lists = "granule::mm::mmzone::node::FIRST_NODE.value.node_zones[0].area.value.value.lists"
    order = next(n for n in range(11) if value(f"{lists}[{n}][1].nr_free") > 1)
    head = machine.read_memory(value(f"&{lists}[{order}][1]"), 4)
    pfn = int.from_bytes(bytes(head), "little") - 1024
    descriptor = 0xFFFF_FE00_0000_0000 + 32 * pfn

    def damaged(address, size, change, command, words):
        before = bytes(machine.read_memory(address, size))
        after = change(int.from_bytes(before, "little")).to_bytes(size, "little")
        machine.write_memory(address, after)
        try:
            faults = [line for line in run(command) if line.startswith("!")]
        finally:
            machine.write_memory(address, before)
        check(faults and words in faults[0], f"{command} does not say {words!r}:", *faults)

    where = f"list of order {order} Movable"
    damaged(descriptor + 16, 4, lambda link: 0, "gr buddy", where)
    damaged(descriptor + 20, 4, lambda link: link ^ 0x400, "gr buddy", where)
    damaged(descriptor + 4, 2, lambda flags: flags ^ 2, "gr buddy", where)
    slab = int(dict(looks("page"))["slab"].split()[0], 16)
    for line in run("gr slabs debugger"):
        found = re.search(r"partial: slab of debugger at 0x([0-9a-f]+)", line)
        if found:
            slab = (int(found.group(1), 16) - 0xFFFF_0000_0000_0000) >> 12
    slab = 0xFFFF_FE00_0000_0000 + 32 * slab
    damaged(slab + 24, 8, lambda owner: owner + 64, "gr slabs", "debugger: ")
    damaged(slab + 20, 4, lambda link: link ^ 0x400, "gr slabs", "debugger: the way back")
    pcp = next(f"granule::mm::page_alloc::pcp::PCP.__0.granted[{zone}]" for zone in range(8)
               if value(f"granule::mm::page_alloc::pcp::PCP.__0.granted[{zone}].v.value"))
    damaged(value(f"&{pcp}"), 4, lambda count: count + 1, "gr buddy", "its lists hold")
    sound(run("gr buddy"))
    sound(run("gr slabs"))


@test("state::other_cpu")
def other_cpu():
    """The walk is that of the CPU that is selected."""
    threads = sorted(gdb.selected_inferior().threads(), key=lambda thread: thread.num)
    check(len(threads) > 1, "there is one CPU")
    here = run("gr pte debugger_look")[-1]
    try:
        threads[1].switch()
        same(run("gr pte debugger_look")[-1], here, "the same address on CPU 1")
    finally:
        threads[0].switch()


@test("state::goes_on")
def goes_on():
    """The kernel's own checks pass after the debugger's visit."""
    run_to_exit()
    contains(console(), ["test kernel::debugger::looks_back ... ok"], "the kernel's own test")
