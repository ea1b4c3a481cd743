"""The figures that are looked at first, and what memory is used for."""

from .memory import FILL_NAMES, pinned
from .markup import bytes_of, number, percent, plural, size, tag, told


def pages_by_use(snapshot):
    """RAM by what it is used for, in pages: `free` and `not_up` beside the names of fills.
    What is free comes from the zones, the rest from the walk of the pageblocks."""
    uses = dict.fromkeys(("free", "not_up", *snapshot["fills"]), 0)
    for run in snapshot["pageblocks"]:
        uses["free"] += run[2] * sum(run[4])
        for name, pages in zip(snapshot["fills"], run[5]):
            uses[name] += run[2] * pages
    for _, _, pages, free in snapshot["not_up"]:
        uses["not_up"] += free
        uses["reserved"] += pages - free
    uses.pop("hole", None)
    return uses


def total(snapshot, name):
    """A figure of all zones."""
    return sum(zone[name] for zone in snapshot["zones"])


def large_share(snapshot):
    """Of what is on free lists, the part that can be had as pageblocks, and all of it."""
    order = snapshot["pageblock_order"]
    listed = large = 0
    for zone in snapshot["zones"]:
        for row in zone["free_blocks"]:
            listed += sum(blocks << n for n, blocks in enumerate(row))
            large += sum(blocks << n for n, blocks in enumerate(row) if n >= order)
    return large + total(snapshot, "deferred"), listed + total(snapshot, "deferred")


def slab_waste(snapshot):
    """Bytes of slabs that are in no object in use."""
    return sum(cache["pages"] * 4096 - cache["active"] * cache["object_size"] for cache in snapshot["slabs"])


def tiles(snapshot):
    """The key figures."""
    large, listed = large_share(snapshot)
    slab = sum(cache["pages"] for cache in snapshot["slabs"])
    managed, free = total(snapshot, "managed"), total(snapshot, "free")
    blocks = sum(run[2] for run in snapshot["pageblocks"])
    held = [
        ("free", "Free", size(free), f"{percent(free, managed)} of {size(managed)}", free),
        ("large", "Free as 2 MiB blocks", percent(large, listed), f"{size(large)} of what is free", large),
        ("pinned", "Pinned pageblocks", number(pinned(snapshot)), f"movable ones, of {plural(blocks, 'pageblock')}", pinned(snapshot)),
        ("slab", "Slabs", size(slab), f"{bytes_of(slab_waste(snapshot))} of it in no object", slab),
        ("tables", "Page tables", bytes_of(snapshot["meminfo"]["PageTables"] * 1024), "of the kernel's half", snapshot["meminfo"]["PageTables"]),
        ("vmalloc", "vmalloc", bytes_of(snapshot["meminfo"]["VmallocUsed"] * 1024), plural(len(snapshot["vmalloc"]["areas"]) + snapshot["vmalloc"]["areas_left_out"], "area"), snapshot["meminfo"]["VmallocUsed"]),
        ("reserved", "Reserved", size(total(snapshot, "reserved")), "never the allocator's", total(snapshot, "reserved")),
    ]
    return tag(
        "dl",
        *(
            tag("div", tag("dt", name), tag("dd", value), tag("dd", note, cls="note"), data_figure=key, data_value=figure)
            for key, name, value, note, figure in held
        ),
        cls="tiles",
    )


# In the order of the bar: what is free first, then from what moves to what stays.
USES = [
    ("free", "F", "free, on the lists"),
    ("pcp", "L", "free, on CPUs' lists"),
    ("not_up", "N", "free, not up yet"),
    ("movable", "M", "movable"),
    ("cma", "C", "CMA, allocated"),
    ("slab", "S", "slabs"),
    ("vmalloc", "V", "vmalloc"),
    ("page_table", "T", "page tables"),
    ("allocated", "K", "other kernel pages"),
    ("vmemmap", "D", "frame descriptors"),
    ("reserved", "R", "reserved"),
    ("poisoned", "X", "bad memory"),
    ("offline", "O", "offline"),
]


def usage(snapshot):
    """What RAM is used for: a bar, and a legend with the figures."""
    uses = pages_by_use(snapshot)
    whole = sum(uses.values())
    known = [*USES, *((name, "?", FILL_NAMES.get(name, name)) for name in uses if name not in {use[0] for use in USES})]
    boxes, items, x = [], [], 0.0
    for name, letter, words in known:
        pages = uses.get(name, 0)
        if not pages:
            continue
        width = 1000 * pages / whole
        text = f"{words}: {size(pages)}, {percent(pages, whole)} of RAM, {plural(pages, 'page')}"
        boxes.append(tag("rect", x=round(x, 2), width=round(max(width, 0.8), 2), height=34, cls=f"use {name}", **told(text)))
        if width > 20:
            boxes.append(tag("text", letter, x=round(x + width / 2, 1), y=22, cls=f"on {name}"))
        items.append(
            tag(
                "li",
                tag("span", letter, cls=f"key {name}"),
                f"{words} ",
                tag("b", size(pages)),
                data_use=name,
                data_pages=pages,
            )
        )
        x += width
    return tag(
        "figure",
        tag("figcaption", tag("h3", "What RAM is used for"), tag("span", f"{size(whole)} in all")),
        tag("svg", *boxes, viewBox="0 0 1000 34", cls="usage"),
        tag("ul", *items, cls="legend"),
    )


def drift(snapshot):
    """How far the walk of the pageblocks differs from what the zones said."""
    uses = pages_by_use(snapshot)
    walked = uses["free"] + uses["pcp"] + uses["not_up"]
    apart = abs(walked - total(snapshot, "free"))
    if apart == 0:
        return "Here the walk of all pageblocks came to the same number of free pages as the zones, to the page."
    return f"Here the walk of all pageblocks came to {plural(apart, 'free page')} more or less than the zones."
