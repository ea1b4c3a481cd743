"""`gr symbols [ADDRESS]`: the kernel's symbols at the physical address too.

The kernel is linked at the start of KIMAGE and runs at its physical address until the MMU
is on. With a copy of the symbols there, breakpoints and backtraces work from the first
instruction on.
"""

import struct

import gdb

from . import source
from .target import Error, mmu_is_on, need_register, read_phys
from .values import HIGH, symbol

MAGIC = b"ARM\x64"
ALIGN = 2 << 20
_added = {}


def _is_image(address):
    """Whether an arm64 Image begins at a physical address."""
    try:
        return address % ALIGN == 0 and read_phys(address + 56, 4) == MAGIC
    except Error:
        return False


def find_image():
    """Where the image is: the kernel knows it; before that, the program counter is in it,
    or in a boot loader's last instructions with the address beside them."""
    known = symbol("granule::arch::aarch64::image::PHYS")
    pc = need_register("pc")
    if known is not None and pc >= HIGH and mmu_is_on():
        address = known.int()
        if address:
            return address
    if pc < HIGH:
        start = pc & ~(ALIGN - 1)
        for address in range(start, max(start - 16 * ALIGN, -1), -ALIGN):
            if _is_image(address):
                return address
        for word in struct.unpack("<12Q", read_phys(pc & ~7, 96)):
            if _is_image(word) and word:
                return word
    return None


def kernel_file():
    """The file of the kernel's symbols."""
    files = [objfile.filename for objfile in gdb.objfiles() if objfile.filename]
    if not files:
        raise Error("no symbols: give gdb the kernel's ELF file")
    return files[0]


def show(text):
    """Adds the copy; the line of `gr symbols`."""
    address = int(gdb.parse_and_eval(text)) if text else find_image()
    if address is None:
        raise Error("no image found around the program counter: gr symbols ADDRESS says where it is")
    path = kernel_file()
    if _added.get(path) != address:
        if path in _added:
            # The machine was started again, with the image elsewhere.
            gdb.execute(f"remove-symbol-file -a {_added[path]:#x}", to_string=True)
        offset = address - source.start_of("KIMAGE") & (1 << 64) - 1
        gdb.execute(f'add-symbol-file "{path}" -o {offset:#x}', to_string=True)
        _added[path] = address
    gdb.set_convenience_variable("gr_image", address)
    yield f"image at {address:#x} ($gr_image), linked at {source.start_of('KIMAGE'):#x}: symbols at both"
