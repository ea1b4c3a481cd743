"""`gr memblock`: RAM and what of it is taken, during boot (src/mm/memblock)."""

from .values import static


def regions(array):
    """The regions of one of the arrays."""
    grown = array["grown"].some()
    slots = array["first"] if grown is None else grown["__0"].slice()
    return [slots[n] for n in range(array["len"].int())]


def line(region):
    """A region as the kernel prints it."""
    start, end = region["range"].range()
    nid = region["nid"].some()
    node = f" on node {nid.int()}" if nid is not None else ""
    last = max(end - 1, 0)
    flags = region["flags"].int()
    return f"[{start:#018x}-{last:#018x}], {end - start:#018x} bytes{node} flags: {flags:#x}"


def show():
    """The lines of `gr memblock`."""
    memblock = static("granule::init::mm::MEMBLOCK")
    empty = True
    for name in ("memory", "reserved"):
        found = regions(memblock[name])
        empty = empty and not found
        yield f"{name}: {len(found)} regions"
        below = 0
        for region in found:
            yield f"  {line(region)}"
            start, end = region["range"].range()
            if start < below or end <= start:
                yield "! it is empty, or overlaps the one before it"
            below = end
    if empty:
        yield "memblock is empty: it is not filled yet, or the page allocator has its memory already"
    else:
        limit = memblock["current_limit"].int()
        way = "bottom up" if memblock["bottom_up"].int() else "top down"
        yield f"it allocates {way}, below {limit:#x}"
