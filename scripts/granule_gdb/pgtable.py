"""`gr pte VA`: the walk of the live tables, each bit of each descriptor in words (Arm ARM
D8.3.1; the kernel's own view of them is in src/arch/pgtable/descriptor/mod.rs).

Tables are read by their physical addresses, as the walker does, so it also works where
the linear map is wrong or not there yet.
"""

import struct

from .registers import GRANULE0, mair_attr, memory_type, tcr_half
from .target import Error, need_register, read_phys, register

NAMES = ("PGD", "PUD", "PMD", "PTE")
SIZES = ("512 GiB", "1 GiB", "2 MiB", "4 KiB")
OUTPUT_ADDRESS = 0x0000_FFFF_FFFF_F000
SHAREABLE = ("not shareable", "reserved", "outer shareable", "inner shareable")
# AP[2:1]
ACCESS = (
    "EL1 reads and writes, EL0 nothing",
    "EL1 and EL0 read and write",
    "EL1 reads, EL0 nothing",
    "EL1 and EL0 read",
)


class Step:
    """One descriptor of a walk."""

    def __init__(self, level, table, index, word):
        self.level, self.table, self.index, self.word = level, table, index, word
        low = word & 3
        if low & 1 == 0:
            self.kind = "invalid"
        elif level == 3:
            self.kind = "page" if low == 3 else "reserved"
        elif low == 3:
            self.kind = "table"
        else:
            self.kind = "block" if level > 0 else "reserved"

    @property
    def size(self):
        """The bytes that the entry spans."""
        return 1 << 39 - 9 * self.level

    @property
    def output(self):
        """The physical address that it leads to."""
        mask = OUTPUT_ADDRESS
        if self.kind == "block":
            mask &= ~(self.size - 1)
        return self.word & mask


def bit_lines(step):
    """A line for each bit or field of a descriptor."""
    word = step.word

    def bit(n):
        return word >> n & 1

    def line(bits, name, value, meaning):
        return f"[{bits:>5}] {name:<10} {value:<4} {meaning}"

    def flag(n, name, on, off):
        return line(n, name, bit(n), on if bit(n) else off)

    yield line(0, "valid", bit(0), "the walker follows it" if bit(0) else "an access faults")
    if not bit(0):
        if word:
            yield line("63:1", "software", "", f"{word:#018x}, which the walker does not look at")
        return
    kind = {"table": "a table of the next level", "page": "a page", "block": "a block"}
    yield line(1, "type", bit(1), kind.get(step.kind, "reserved at this level: an access faults"))
    if step.kind == "reserved":
        return
    yield line("47:12", "address", "", f"{step.output:#x}")
    if step.kind == "table":
        yield flag(59, "PXNTable", "nothing below is executable at EL1", "leaves decide for EL1")
        yield flag(60, "UXNTable", "nothing below is executable at EL0", "leaves decide for EL0")
        ap = word >> 61 & 3
        limits = [m for b, m in ((1, "EL0 reaches nothing below"), (2, "nothing below is writable")) if ap & b]
        yield line("62:61", "APTable", ap, ", ".join(limits) or "leaves decide")
        yield line(63, "NSTable", bit(63), "counts in secure state alone")
        rest = word & ~(OUTPUT_ADDRESS | 3 | 0b11111 << 59)
        if rest:
            yield line("", "ignored", "", f"{rest:#x}")
        return
    index = word >> 2 & 7
    attr = mair_attr(index)
    yield line("4:2", "AttrIndx", index, f"{memory_type(attr)} (MAIR_EL1.Attr{index} = {attr:#04x})")
    yield line(5, "NS", bit(5), "counts in secure state alone")
    yield flag(6, "AP[1]", "EL0 has access", "EL1 alone")
    yield flag(7, "AP[2]", "read-only", "writable")
    yield line("9:8", "SH", word >> 8 & 3, SHAREABLE[word >> 8 & 3])
    yield flag(10, "AF", "accessed", "not accessed yet: the first access faults, or sets it")
    yield flag(11, "nG", "of one ASID", "global: of all ASIDs")
    if step.kind == "block":
        yield flag(16, "nT", "not to be cached in a TLB", "may be cached in a TLB")
    yield flag(50, "GP", "guarded: indirect branches land on BTI", "not guarded")
    yield flag(51, "DBM", "hardware may make it writable", "AP[2] stands")
    sets = {1: "16 GiB", 2: "32 MiB", 3: "64 KiB"}[step.level]
    yield flag(52, "Contiguous", f"one of sixteen that map {sets} alike", "by itself")
    yield flag(53, "PXN", "not executable at EL1", "executable at EL1")
    yield flag(54, "UXN", "not executable at EL0", "executable at EL0")
    software, pbha = word >> 55 & 15, word >> 59 & 15
    if software:
        yield line("58:55", "software", software, "the kernel's own")
    if pbha or bit(63):
        yield line("63:59", "ignored", "", f"{word >> 59:#x}")


class Walk:
    """The walk of the live tables for an address."""

    def __init__(self, va):
        self.va = va
        self.steps = []
        self.flat = register("SCTLR_EL1") is not None and need_register("SCTLR_EL1") & 1 == 0
        self.fault = None
        self.ttbr = None
        if self.flat:
            return
        upper = va >> 55 & 1
        tcr = need_register("TCR_EL1")
        self.ttbr = f"TTBR{upper}_EL1"
        size, granule, off = tcr_half(tcr, upper)
        if granule != GRANULE0[0]:
            raise Error(f"the tables of {self.ttbr} have a granule of {granule}: only 4 KiB is known here")
        if not 16 <= size <= 39:
            raise Error(f"T{upper}SZ is {size}: only 16 to 39 are known here")
        top = va >> 64 - size
        if tcr >> 37 + upper & 1:
            top &= (1 << max(size - 8, 0)) - 1
            whole = (1 << max(size - 8, 0)) - 1
        else:
            whole = (1 << size) - 1
        if top != (whole if upper else 0):
            self.fault = f"it lies outside of the {64 - size} bits that T{upper}SZ gives {self.ttbr}"
        elif off:
            self.fault = f"walks through {self.ttbr} are off (TCR_EL1.EPD{upper})"
        else:
            # 4 levels resolve 48 bits; each that is left out 9 fewer.
            self._walk(need_register(self.ttbr) & 0x0000_FFFF_FFFF_FFFE, (size - 16) // 9)

    def _walk(self, table, first):
        for level in range(first, 4):
            index = self.va >> 39 - 9 * level & 511
            word = int.from_bytes(read_phys(table + 8 * index, 8), "little")
            step = Step(level, table, index, word)
            self.steps.append(step)
            if step.kind != "table":
                break
            table = step.output

    @property
    def leaf(self):
        """The block or page, or None."""
        last = self.steps[-1] if self.steps else None
        return last if last and last.kind in ("block", "page") else None

    @property
    def pa(self):
        """Where the address leads, or None."""
        if self.flat:
            return self.va
        return self.leaf and self.leaf.output + self.va % self.leaf.size

    def permissions(self):
        """Read, write and execute at EL1, table descriptors taken in."""
        word = self.leaf.word
        tables = [step.word for step in self.steps[:-1]]
        writable = not word >> 7 & 1 and not any(t >> 62 & 1 for t in tables)
        pxn = word >> 53 & 1 or any(t >> 59 & 1 for t in tables)
        # Memory that EL0 can write is never executable at EL1.
        el0_writes = writable and word >> 6 & 1 and not any(t >> 61 & 1 for t in tables)
        sctlr = register("SCTLR_EL1") or 0
        pxn = pxn or el0_writes or (writable and sctlr >> 19 & 1)
        return f"{'r'}{'w' if writable else '-'}{'-' if pxn else 'x'}"

    def broken_set(self):
        """Why a contiguous leaf's set is not one, or None."""
        step = self.leaf
        if not step or not step.word >> 52 & 1:
            return None
        first = step.index & ~15
        words = struct.unpack("<16Q", read_phys(step.table + 8 * first, 128))
        base = words[0] & OUTPUT_ADDRESS
        # The access flag and the dirty state may differ.
        ignore = OUTPUT_ADDRESS | 1 << 10 | 1 << 51 | 1 << 7
        for n, word in enumerate(words):
            alike = (word ^ words[0]) & ~ignore == 0
            if not alike or word & OUTPUT_ADDRESS != base + n * step.size:
                return f"entry {first + n} ({word:#018x}) is unlike the rest of its contiguous set"
        return None if base % (16 * step.size) == 0 else "its contiguous set is not aligned"


def show(va):
    """The lines of `gr pte VA`."""
    walk = Walk(va)
    if walk.flat:
        yield f"{va:#018x}: the MMU of this CPU is off: it is the physical address"
        return
    yield f"{va:#018x} through {walk.ttbr} {need_register(walk.ttbr):#x}:"
    for step in walk.steps:
        name = f"level {step.level} ({NAMES[step.level]}, {SIZES[step.level]} an entry)"
        yield f"  {name}, table {step.table:#x}, entry {step.index}: {step.word:#018x}, {step.kind}"
        for line in bit_lines(step):
            yield f"    {line}"
    if walk.fault:
        yield f"{va:#018x} -> nothing: {walk.fault}"
    elif not walk.leaf:
        level = walk.steps[-1].level
        yield f"{va:#018x} -> nothing: translation fault at level {level}"
    else:
        word = walk.leaf.word
        attr = mair_attr(word >> 2 & 7)
        yield f"{va:#018x} -> {walk.pa:#x} {walk.permissions()} {memory_type(attr)}"
        if walk.permissions()[1:] == "wx":
            yield "! it is writable and executable"
        broken = walk.broken_set()
        if broken:
            yield f"! {broken}"
