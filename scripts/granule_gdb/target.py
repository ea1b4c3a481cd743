"""The stopped machine: its memory and registers."""

import contextlib
import re

import gdb


class Error(Exception):
    """Why there is no answer, in one line."""


def inferior():
    """The machine, or an Error where there is none."""
    machine = gdb.selected_inferior()
    if not machine.is_valid() or machine.pid == 0 or gdb.selected_thread() is None:
        raise Error("there is no machine: 'target remote ...' first, or use scripts/gdb")
    if gdb.selected_thread().is_running():
        raise Error("the machine is running: stop it first (Ctrl-C)")
    return machine


def register(name):
    """A register of the selected CPU, or None where the target doesn't show it.

    QEMU calls a few system registers by their AArch32 names.
    """
    inferior()
    frame = gdb.newest_frame()
    for candidate in (name, name.removesuffix("_EL1"), name.lower()):
        try:
            value = frame.read_register(candidate)
        except ValueError:
            continue
        try:
            return int(value) & (1 << 64) - 1
        except (gdb.error, TypeError, ValueError):
            continue
    return None


def need_register(name):
    """A register of the selected CPU, or an Error."""
    value = register(name)
    if value is None:
        raise Error(f"the target does not show {name}: this needs QEMU's gdbstub, or one like it")
    return value


def current_el():
    """The exception level of the selected CPU."""
    return need_register("cpsr") >> 2 & 3


def mmu_is_on():
    """Whether the EL1&0 translation of the selected CPU is on."""
    sctlr = register("SCTLR_EL1")
    return sctlr is None or sctlr & 1 != 0


def read(address, size):
    """`size` bytes at a virtual address of the selected CPU."""
    try:
        return bytes(inferior().read_memory(address, size))
    except gdb.MemoryError:
        why = "nothing is mapped there" if mmu_is_on() else "the MMU of this CPU is off"
        raise Error(f"cannot read {size} bytes at {address:#x}: {why}") from None


def read_int(address, size):
    """An unsigned little-endian integer at a virtual address."""
    return int.from_bytes(read(address, size), "little")


def _packet(text):
    connection = getattr(inferior(), "connection", None)
    if hasattr(connection, "send_packet"):
        return bytes(connection.send_packet(text)).decode("latin-1")
    answer = gdb.execute(f"maintenance packet {text}", to_string=True)
    found = re.search(r'received: "(.*)"', answer)
    return found.group(1) if found else ""


@contextlib.contextmanager
def physical_memory():
    """Within it, addresses are physical (QEMU: docs/system/gdb.rst, PhyMemMode)."""
    if _packet("Qqemu.PhyMemMode:1") != "OK":
        raise Error("the target cannot read physical memory: this needs QEMU's gdbstub")
    try:
        yield
    finally:
        _packet("Qqemu.PhyMemMode:0")


def read_phys(address, size):
    """`size` bytes at a physical address."""
    with physical_memory():
        try:
            return bytes(inferior().read_memory(address, size))
        except gdb.MemoryError:
            raise Error(f"there is no memory at physical address {address:#x}") from None
