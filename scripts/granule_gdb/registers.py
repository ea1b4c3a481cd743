"""`gr regs`: the registers of the EL1&0 translation in words (Arm ARM D24.2)."""

from .target import current_el, need_register, register

DEVICE = {0b00: "nGnRnE", 0b01: "nGnRE", 0b10: "nGRE", 0b11: "GRE"}


def _nibble(bits):
    """Half of a Normal attribute: outer or inner cacheability."""
    if bits == 0b0100:
        return "Non-cacheable"
    policy = {0b00: "Write-Through Transient", 0b01: "Write-Back Transient"}
    policy |= {0b10: "Write-Through", 0b11: "Write-Back"}
    allocate = [what for bit, what in ((2, "read"), (1, "write")) if bits & bit]
    return policy[bits >> 2] + (f", {' and '.join(allocate)} allocate" if allocate else "")


def memory_type(attr):
    """What an Attr field of MAIR_EL1 means."""
    outer, inner = attr >> 4, attr & 15
    if outer == 0:
        if attr & 0b11 == 0:
            return f"Device-{DEVICE[attr >> 2 & 3]}"
        return "Device or reserved with FEAT_XS" if attr & 0b11 == 1 else "reserved"
    if inner == 0:
        return "tagged or FEAT_XS memory" if attr in (0xF0, 0xA0, 0x40) else "reserved"
    if outer == inner:
        return f"Normal, {_nibble(outer)}"
    return f"Normal, outer {_nibble(outer)}, inner {_nibble(inner)}"


def mair_attr(index):
    """The Attr field that an AttrIndx chooses."""
    return need_register("MAIR_EL1") >> 8 * index & 0xFF


def decode_mair(mair):
    """A line for each Attr field in use."""
    for index in range(8):
        attr = mair >> 8 * index & 0xFF
        if attr or mair >> 8 * index or index == 0:
            yield f"Attr{index} {attr:#04x}: {memory_type(attr)}"


GRANULE0 = {0b00: "4 KiB", 0b01: "64 KiB", 0b10: "16 KiB"}
GRANULE1 = {0b01: "16 KiB", 0b10: "4 KiB", 0b11: "64 KiB"}
SHAREABLE = {0b00: "not shareable", 0b10: "outer shareable", 0b11: "inner shareable"}
WALK = {
    0b00: "Non-cacheable",
    0b01: "Write-Back, read and write allocate",
    0b10: "Write-Through",
    0b11: "Write-Back, no write allocate",
}
PA_BITS = {0: 32, 1: 36, 2: 40, 3: 42, 4: 44, 5: 48, 6: 52, 7: 56}


def tcr_half(tcr, upper):
    """T?SZ, granule and whether walks are off, of TTBR1's half or TTBR0's."""
    if upper:
        return tcr >> 16 & 63, GRANULE1.get(tcr >> 30 & 3, "reserved"), tcr >> 23 & 1
    return tcr & 63, GRANULE0.get(tcr >> 14 & 3, "reserved"), tcr >> 7 & 1


def decode_tcr(tcr):
    """TCR_EL1, each field that is not plainly off."""
    for upper in (False, True):
        n, base = (1, 16) if upper else (0, 0)
        size, granule, off = tcr_half(tcr, upper)
        yield (
            f"TTBR{n}: T{n}SZ {size}: {64 - size}-bit addresses, TG{n} {granule} granule, "
            f"EPD{n} {off}: walks {'off, every access faults' if off else 'on'}"
        )
        yield (
            f"  walks: SH{n} {SHAREABLE.get(tcr >> base + 12 & 3, 'reserved')}, "
            f"ORGN{n} {WALK[tcr >> base + 10 & 3]}, IRGN{n} {WALK[tcr >> base + 8 & 3]}"
        )
    yield f"IPS {tcr >> 32 & 7}: {PA_BITS[tcr >> 32 & 7]}-bit physical addresses"
    yield (
        f"AS {tcr >> 36 & 1}: ASIDs of {16 if tcr >> 36 & 1 else 8} bits, "
        f"A1 {tcr >> 22 & 1}: from TTBR{tcr >> 22 & 1}"
    )
    for bit, name, meaning in (
        (37, "TBI0", "the top byte of TTBR0's addresses is ignored"),
        (38, "TBI1", "the top byte of TTBR1's addresses is ignored"),
        (39, "HA", "hardware sets the access flag"),
        (40, "HD", "hardware keeps the dirty state"),
        (41, "HPD0", "no hierarchical permissions in TTBR0's tables"),
        (42, "HPD1", "no hierarchical permissions in TTBR1's tables"),
        (53, "NFD0", "no fault for non-faulting accesses through TTBR0"),
        (54, "NFD1", "no fault for non-faulting accesses through TTBR1"),
        (55, "E0PD0", "EL0 is kept out of TTBR0's half without a walk"),
        (56, "E0PD1", "EL0 is kept out of TTBR1's half without a walk"),
        (59, "DS", "52-bit addresses in descriptors"),
    ):
        if tcr >> bit & 1:
            yield f"{name} 1: {meaning}"


SCTLR_BITS = (
    (0, "M", "the EL1&0 MMU is on", "the EL1&0 MMU is off"),
    (1, "A", "unaligned accesses fault", None),
    (2, "C", "data caches on", "data accesses are not cached"),
    (3, "SA", "SP must be aligned at EL1", None),
    (4, "SA0", "SP must be aligned at EL0", None),
    (9, "UMA", "EL0 may change the interrupt masks", None),
    (12, "I", "instruction caches on", "instruction fetches are not cached"),
    (14, "DZE", "EL0 may use DC ZVA", None),
    (15, "UCT", "EL0 may read CTR_EL0", None),
    (16, "nTWI", "EL0 may use WFI", None),
    (18, "nTWE", "EL0 may use WFE", None),
    (19, "WXN", "what is writable is not executable", None),
    (23, "SPAN", "an exception leaves PSTATE.PAN as it is", "an exception to EL1 sets PSTATE.PAN"),
    (24, "E0E", "EL0's data is big endian", None),
    (25, "EE", "EL1's data is big endian", None),
    (26, "UCI", "EL0 may do cache maintenance", None),
    (27, "EnDB", "pointer authentication with key DB", None),
    (30, "EnIB", "pointer authentication with key IB", None),
    (31, "EnIA", "pointer authentication with key IA", None),
    (35, "BT0", "BTI at EL0", None),
    (36, "BT1", "BTI at EL1", None),
    (57, "EPAN", "PAN counts execute-only pages in", None),
)


def decode_sctlr(sctlr):
    """SCTLR_EL1, what is on and what matters off."""
    for bit, name, on, off in SCTLR_BITS:
        value = sctlr >> bit & 1
        meaning = on if value else off
        if meaning:
            yield f"{name} {value}: {meaning}"


def decode_ttbr(name, value, tcr):
    """A table base register."""
    asid = value >> 48
    from_here = tcr is not None and (tcr >> 22 & 1) == int(name[4])
    text = f"table at {value & 0x0000_FFFF_FFFF_FFFE:#x}, CnP {value & 1}"
    yield text + (f", ASID {asid}" if from_here or asid else "")


def decode_pstate(cpsr):
    """PSTATE as gdb shows it."""
    flags = "".join(n if cpsr >> b & 1 else "-" for b, n in ((31, "N"), (30, "Z"), (29, "C"), (28, "V")))
    masks = "".join(n if cpsr >> b & 1 else "-" for b, n in ((9, "D"), (8, "A"), (7, "I"), (6, "F")))
    stack = "SPx" if cpsr & 1 else "SP0"
    yield f"EL{cpsr >> 2 & 3}, {stack}, flags {flags}, masked {masks}, PAN {cpsr >> 22 & 1}"


def show():
    """The lines of `gr regs`."""
    tcr = register("TCR_EL1")
    decoders = (
        ("cpsr", "PSTATE", decode_pstate),
        ("SCTLR_EL1", "SCTLR_EL1", decode_sctlr),
        ("MAIR_EL1", "MAIR_EL1", decode_mair),
        ("TCR_EL1", "TCR_EL1", decode_tcr),
        ("TTBR0_EL1", "TTBR0_EL1", lambda v: decode_ttbr("TTBR0", v, tcr)),
        ("TTBR1_EL1", "TTBR1_EL1", lambda v: decode_ttbr("TTBR1", v, tcr)),
        ("VBAR_EL1", "VBAR_EL1", None),
        ("ESR_EL1", "ESR_EL1", decode_esr),
        ("ELR_EL1", "ELR_EL1", None),
        ("FAR_EL1", "FAR_EL1", None),
    )
    current_el()
    for name, title, decode in decoders:
        value = register(name)
        if value is None:
            yield f"{title:<10} is not shown by this target"
            continue
        yield f"{title:<10} {value:#018x}"
        for line in decode(value) if decode else ():
            yield f"    {line}"


EXCEPTION_CLASS = {
    0x00: "unknown reason",
    0x01: "trapped WFI or WFE",
    0x07: "trapped FP or SIMD access",
    0x0E: "illegal execution state",
    0x15: "SVC",
    0x16: "HVC",
    0x17: "SMC",
    0x18: "trapped MSR, MRS or system instruction",
    0x20: "instruction abort from EL0",
    0x21: "instruction abort at EL1",
    0x22: "PC alignment fault",
    0x24: "data abort from EL0",
    0x25: "data abort at EL1",
    0x26: "SP alignment fault",
    0x2F: "SError",
    0x31: "breakpoint at EL1",
    0x33: "software step at EL1",
    0x35: "watchpoint at EL1",
    0x3C: "BRK",
}
FAULT = {
    0b0000: "address size fault",
    0b0001: "translation fault",
    0b0010: "access flag fault",
    0b0011: "permission fault",
}


def decode_esr(esr):
    """The syndrome of the last exception to EL1."""
    if esr == 0:
        yield "no exception yet"
        return
    cause = esr >> 26 & 63
    text = f"EC {cause:#04x}: {EXCEPTION_CLASS.get(cause, 'another class')}"
    if cause in (0x20, 0x21, 0x24, 0x25):
        status = esr & 63
        if status >> 2 in FAULT:
            text += f", {FAULT[status >> 2]} at level {status & 3}"
        elif status == 0b010000:
            text += ", external abort"
        elif status == 0b100001:
            text += ", alignment fault"
        if cause >= 0x24:
            text += ", by a write" if esr >> 6 & 1 else ", by a read"
    yield text
