"""RAM as the firmware gave it, what was reserved of it, and the areas of CMA."""

from .markup import bytes_of, number, percent, phys, plural, size, tag, told


def _bounds(region):
    return int(region["start"], 16), int(region["end"], 16)


def _overlap(a, b):
    return max(0, min(a[1], b[1]) - max(a[0], b[0]))


def names_of(snapshot, region):
    """What is known of a reserved region: what the kernel, the firmware and CMA call its parts."""
    here, names = _bounds(region), []
    for other in snapshot["iomem"]:
        if other["name"] not in ("System RAM", "reserved") and _overlap(here, _bounds(other)):
            names.append(other["name"])
    for other in snapshot["reserved_mem"]:
        if _overlap(here, _bounds(other)):
            names.append(other["name"])
    for area in snapshot["cma"]:
        start = area["start_pfn"] << 12
        if _overlap(here, (start, start + (area["pages"] << 12))):
            names.append(f"CMA {area['name']}")
    return list(dict.fromkeys(names))


def strip(snapshot):
    """All regions of RAM, one after the other, and what is reserved of them."""
    ram = [_bounds(region) for region in snapshot["memblock"]["memory"]]
    if not ram:
        return tag("p", "No regions are known: memblock was not kept.", cls="note")
    whole = sum(end - start for start, end in ram)
    drawn, x = [], 0.0
    for start, end in ram:
        width = 1000 * (end - start) / whole
        text = f"RAM {start:#x} to {end:#x}, {bytes_of(end - start)}"
        drawn.append(tag("rect", x=round(x, 2), y=16, width=round(width, 2), height=30, cls="ram", **told(text)))
        if width > 90:
            drawn.append(tag("text", f"{start:#x}", x=round(x + 2, 1), y=60, cls="at0"))
        for region in snapshot["memblock"]["reserved"]:
            lap = _overlap((start, end), _bounds(region))
            if lap:
                low = max(_bounds(region)[0], start)
                at, wide = x + width * (low - start) / (end - start), max(width * lap / (end - start), 2.5)
                text = f"Reserved {region['start']} to {region['end']}, {bytes_of(lap)}: {', '.join(names_of(snapshot, region)) or 'at boot'}"
                drawn.append(tag("rect", x=round(min(at, 1000 - wide), 2), y=16, width=round(wide, 2), height=30, cls="use reserved", **told(text)))
        for area in snapshot["cma"]:
            low = area["start_pfn"] << 12
            lap = _overlap((start, end), (low, low + (area["pages"] << 12)))
            if lap:
                at, wide = x + width * (low - start) / (end - start), max(width * lap / (end - start), 2.5)
                text = f"CMA {area['name']}, {size(area['pages'])} at {low:#x}"
                drawn.append(tag("rect", x=round(at, 2), y=16, width=round(wide, 2), height=30, cls="use cma", **told(text)))
                drawn.append(tag("text", "C", x=round(at + wide / 2, 1), y=11, cls="mid"))
        x += width
    return tag("svg", *drawn, viewBox="0 0 1000 64", cls="strip")


def table(snapshot):
    """The reserved regions, with names; and the regions of the device tree."""
    rows = []
    for region in snapshot["memblock"]["reserved"]:
        start, end = _bounds(region)
        rows.append((start, end, ", ".join(names_of(snapshot, region)) or "at boot", "reserved"))
    for region in snapshot["memblock"]["memory"]:
        start, end = _bounds(region)
        node = f"node {region['node']}" if "node" in region else "node 0"
        rows.append((start, end, f"RAM, {node}" + (", not mapped" if region.get("nomap") else ""), "RAM"))
    rows.sort()
    body = [
        tag(
            "tr",
            tag("td", tag("code", f"{start:#x}"), " to ", tag("code", f"{end:#x}")),
            tag("td", bytes_of(end - start), cls="n"),
            tag("td", name),
            cls="is-ram" if kind == "RAM" else None,
            data_region=kind,
        )
        for start, end, name, kind in rows
    ]
    return tag(
        "div",
        tag("table", tag("thead", tag("tr", tag("th", "Physical addresses"), tag("th", "Size", cls="n"), tag("th", "What"))), tag("tbody", *body), cls="list regions"),
        cls="scroll",
    )


def cma(snapshot):
    """The areas of CMA: allocated, and lent to movable pages or free."""
    if not snapshot["cma"]:
        return tag("p", "There are no CMA areas.", cls="note")
    areas = []
    for area in snapshot["cma"]:
        used = 1000 * area["allocated"] / max(area["pages"], 1)
        text = f"{area['name']}: {size(area['allocated'])} of {size(area['pages'])} allocated as contiguous memory"
        areas.append(
            tag(
                "div",
                tag("h4", area["name"], tag("small", " default" if area["default"] else "", "" if area["active"] else " not in use")),
                tag(
                    "svg",
                    tag("rect", width=1000, height=16, cls="use free"),
                    tag("rect", width=round(used, 2), height=16, cls="use cma", **told(text)),
                    viewBox="0 0 1000 16",
                    cls="strip",
                ),
                tag(
                    "p",
                    f"{size(area['pages'])} at {phys(area['start_pfn'])}; {size(area['allocated'])} allocated "
                    f"({percent(area['allocated'], area['pages'])}), the longest run of the rest {size(area['longest_free'])}; "
                    f"{plural(area['successes'], 'allocation')}, {number(area['failures'])} failed.",
                    cls="note",
                ),
                cls="cma-area",
                data_cma=area["name"],
                data_allocated=area["allocated"],
            )
        )
    return tag("div", tag("h3", "CMA areas"), *areas, cls="cma")
