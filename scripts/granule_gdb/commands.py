"""The commands: `gr` and what follows it."""

import contextlib

import gdb

from . import cma, memblock, page, pgtable, registers, slab, source, symbols, tasks, vmalloc, zones
from .target import Error
from .values import AGGREGATES


@contextlib.contextmanager
def language(name):
    """The language of expressions, whatever code the machine has stopped in."""
    before = gdb.parameter("language")
    gdb.execute(f"set language {name}", to_string=True)
    try:
        yield
    finally:
        gdb.execute(f"set language {before}", to_string=True)


def _evaluate(text, what):
    if not text:
        raise Error(f"{what}: an expression is missing")
    try:
        value = gdb.parse_and_eval(text)
    except gdb.error as error:
        # Names from assembly, and unmangled ones, are none of Rust's.
        if not text.isidentifier():
            raise
        with language("c"):
            try:
                value = gdb.parse_and_eval(f"&{text}")
            except gdb.error:
                raise error from None
    type_ = value.type.strip_typedefs()
    if type_.code == gdb.TYPE_CODE_REF:
        value, type_ = value.referenced_value(), type_.target().strip_typedefs()
    return value, type_


def frame_number(text):
    """The frame that an expression names: a number, a Pfn, a Frame, a PhysAddr, or the
    address of a descriptor."""
    value, type_ = _evaluate(text, "gr page")
    name = type_.name or ""
    from .printers import scalar

    if type_.code == gdb.TYPE_CODE_PTR and (type_.target().name or "") == "granule::mm::page::Page":
        return (int(value) - source.start_of("VMEMMAP")) // type_.target().sizeof
    number = scalar(value)
    if name in ("granule::mm::page::frame::Frame", "granule::mm::page::Link") or name.startswith("core::option::Option<"):
        if number == 0:
            raise Error(f"{text} is no frame")
        return page.from_link(number)
    if name == "granule::addr::address::PhysAddr":
        return number >> page.PAGE_SHIFT
    return number


def address(text):
    """The address that an expression names: its value if it is a number, a pointer or an
    address type, otherwise where it lies."""
    value, type_ = _evaluate(text, "gr pte")
    from .printers import scalar

    if type_.code == gdb.TYPE_CODE_FUNC:
        return int(value.address)
    named = type_.name in ("granule::addr::address::VirtAddr", "granule::addr::address::PhysAddr")
    if type_.code in AGGREGATES and not named:
        if value.address is None:
            raise Error(f"{text} is not in memory")
        return int(value.address)
    return scalar(value) & (1 << 64) - 1


class Command(gdb.Command):
    """One of the commands: prints the lines that a function yields."""

    def __init__(self, name, usage, doc, lines, completion=gdb.COMPLETE_NONE):
        self.__doc__ = f"{doc}\n\n{usage}"
        self.lines = lines
        super().__init__(f"gr {name}", gdb.COMMAND_DATA, completion)

    def invoke(self, argument, _from_tty):
        """What gdb calls."""
        try:
            with language("rust"):
                for line in self.lines(argument.strip()):
                    gdb.write(line + "\n")
        except (Error, gdb.error) as error:
            raise gdb.GdbError(str(error)) from None


class Prefix(gdb.Command):
    """What Granule's memory looks like now. Each command reads the stopped machine; where
something is not as it must be, a line begins with '!'."""

    def __init__(self):
        super().__init__("gr", gdb.COMMAND_DATA, prefix=True)

    def invoke(self, _argument, _from_tty):
        """Without a command: the list of them."""
        gdb.execute("help gr")


def without_argument(name, lines):
    """For commands that take none."""

    def run(argument):
        if argument:
            raise Error(f"gr {name} takes no argument")
        return lines()

    return run


def register():
    """Adds the commands."""
    Prefix()
    plain = (
        ("zones", "Zones: where they lie, watermarks, and where their pages are.", zones.show_zones),
        (
            "buddy",
            "Free blocks by order and migratetype, and the CPUs' own lists; walks and checks every list.",
            zones.show_buddy,
        ),
        ("cma", "CMA areas: how much of them is allocated.", cma.show),
        ("tasks", "The tasks but the idle ones, by their pids; checks the lists that have them.", tasks.show),
        ("memblock", "The allocator of the boot: RAM and what of it is taken.", memblock.show),
        ("regs", "The registers of the MMU in words, and the last exception.", registers.show),
    )
    for name, doc, lines in plain:
        Command(name, f"gr {name}", doc, without_argument(name, lines))
    expression = gdb.COMPLETE_EXPRESSION
    Command(
        "page",
        "gr page PFN",
        "The descriptor of a frame, and what the frame is. PFN is an expression: a number, a Pfn,\n"
        "a Frame, a PhysAddr, or the address of a descriptor.",
        lambda text: page.show(frame_number(text)),
        expression,
    )
    Command(
        "pte",
        "gr pte ADDRESS",
        "Walks the live page tables for a virtual address, by physical memory as the MMU does,\n"
        "and explains each bit of each descriptor. The last line says where it leads.",
        lambda text: pgtable.show(address(text)),
        expression,
    )
    Command("slabs", "gr slabs [NAME]", "Slab caches that hold slabs, or one cache whole.", slab.show)
    Command(
        "vmalloc",
        "gr vmalloc [all]",
        "Areas in use of the vmalloc range; with `all` also those that wait to be used again.",
        vmalloc.show,
    )
    Command(
        "symbols",
        "gr symbols [ADDRESS]",
        "Loads the kernel's symbols at the physical address of its image too, so that breakpoints\n"
        "work before the MMU is on. Finds the image, or is told where it is. Sets $gr_image.",
        symbols.show,
        expression,
    )
