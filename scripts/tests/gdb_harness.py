"""What the tests of scripts/gdb.py are made of; scripts/tests/gdb.py tells the rest."""

import os
import pathlib
import re

import gdb

CONSOLE = pathlib.Path(os.environ["GRANULE_GDB_CONSOLE"])
TESTS = []


def test(name):
    """Makes a function the test of this name."""

    def note(function):
        TESTS.append((name, function))
        return function

    return note


class Failure(Exception):
    """What is wrong."""


def check(condition, *why):
    """Fails the test where the condition doesn't hold."""
    if not condition:
        raise Failure("\n".join(str(part) for part in why))


def same(found, expected, what):
    """Fails the test where the two differ."""
    check(found == expected, f"{what}:", f"  found    {found!r}", f"  expected {expected!r}")


def run(command):
    """The lines that a command prints."""
    print(f"(gdb) {command}")
    text = gdb.execute(command, to_string=True)
    print(text, end="")
    return text.splitlines()


def sound(lines):
    """The lines, if the command found nothing wrong."""
    faults = [line for line in lines if line.startswith("!")]
    check(not faults, *faults)
    return lines


def error_of(command):
    """What a command that fails says."""
    print(f"(gdb) {command}")
    try:
        gdb.execute(command, to_string=True)
    except gdb.error as error:
        print(error)
        return str(error)
    raise Failure(f"{command} does not fail")


def value(expression):
    """The number that an expression has."""
    return int(gdb.parse_and_eval(expression)) & (1 << 64) - 1


def run_to(place):
    """Runs on until a breakpoint, as `tbreak` and `continue` do."""
    # Not an internal one: at those, gdb takes an inlined function for its caller.
    point = gdb.Breakpoint(place, temporary=True)
    gdb.execute("continue", to_string=True)
    check(not point.is_valid(), f"stopped at {value('$pc'):#x}, and not at {place}")


def go_to(place):
    """Runs on until an address."""
    run_to(f"*{place:#x}")
    same(f"{value('$pc'):#x}", f"{place:#x}", "the program counter")


def stop_at(function):
    """Runs on until a function, and selects its frame."""
    run_to(function)
    select(function)


def select(function):
    """Selects the frame of a function that has begun: it, or what is inlined into its
    beginning, is the newest."""
    frame = gdb.newest_frame()
    names = [frame.name()]
    while not f"::{names[-1]}".endswith(f"::{function}") and frame.type() == gdb.INLINE_FRAME:
        frame = frame.older()
        names.append(frame.name())
    check(f"::{names[-1]}".endswith(f"::{function}"), f"{function} does not begin here, but {names}")
    frame.select()


# Where the kernel ends, of its own will or not.
END = "granule::init::panic::end"


def run_to_exit():
    """Runs the kernel to its end, which must be that of a kernel without a failure."""
    if gdb.newest_frame().name() != END:
        stop_at(END)
    same(value("code"), 0, "the code that the kernel ends with")
    try:
        gdb.execute("continue", to_string=True)
    except gdb.error as error:
        # QEMU tells its end and is gone: whether gdb's answer to that still finds it, as
        # gdb insists, is luck.
        check("Remote co" in str(error), error)
    else:
        same(value("$_exitcode"), 0, "the exit code")
    check(not gdb.selected_inferior().threads(), "the machine has not ended")


def console():
    """What the kernel has printed so far, without the time before log lines."""
    lines = CONSOLE.read_text(encoding="utf-8", errors="replace").replace("\r", "").splitlines()
    return [re.sub(r"^\[ *\d+\.\d+\] ", "", line) for line in lines]


def section(title):
    """The lines that the kernel has printed under a title, up to an empty one."""
    lines = console()
    check(title in lines, f"the kernel has not printed {title!r}")
    after = lines[lines.index(title) + 1 :]
    end = after.index("") if "" in after else len(after)
    return after[:end]


def contains(lines, expected, what):
    """Fails the test where one of the expected lines is not among those found."""
    missing = [line for line in expected if line not in lines]
    check(expected, f"{what}: the kernel has printed nothing to compare with")
    check(not missing, f"{what}: not found:", *missing)


IMAGE = 0x4020_0000
LINKED = 0xFFFF_8000_0000_0000


def symbol(name):
    """The address at which a symbol is linked."""
    # In C's terms: labels of assembly, and what they are called there.
    gdb.execute("set language c", to_string=True)
    try:
        address = value(f"(unsigned long)&{name}")
    finally:
        gdb.execute("set language auto", to_string=True)
    return address if address >= LINKED else address - IMAGE + LINKED


def physical(name):
    """The address of a symbol before the MMU is on."""
    return symbol(name) - LINKED + IMAGE


def compare_figures(zones_title, buddy_title):
    """`gr zones` and `gr buddy` against the kernel's report."""
    lines = sound(run("gr zones"))
    printed = section(zones_title)
    contains(lines, [line for line in printed if line.startswith("Node ")], "gr zones")
    figures = [line.split(" present ", 1)[1] for line in printed if line.startswith("report: zone ")]
    contains(lines, [f"  present {text}" for text in figures], "gr zones")
    total = [line.removeprefix("report: ") for line in printed if line.startswith("report: total ")]
    contains(lines, total, "gr zones")
    contains(sound(run("gr buddy")), section(buddy_title), "gr buddy")


def qemu_walk(address):
    """Where QEMU's own walk leads, or None."""
    text = gdb.execute(f"monitor gva2gpa {address:#x}", to_string=True)
    found = re.search(r"gpa: (?:0x)?([0-9a-f]+)", text)
    return int(found.group(1), 16) if found else None


def leads_to(address):
    """What the last line of `gr pte` says: (physical address, permissions, memory)."""
    lines = sound(gdb.execute(f"gr pte {address:#x}", to_string=True).splitlines())
    words = lines[-1].split(maxsplit=4)
    same(words[:2], [f"{address:#018x}", "->"], "the last line of gr pte")
    if words[2] == "nothing:":
        return None, "", "", lines
    return int(words[2], 16), words[3], words[4], lines
