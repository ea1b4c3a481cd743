"""Slab caches, areas of vmalloc, and the figures of /proc as they are."""

from .markup import bytes_of, number, percent, plural, size, tag, told

# Rows that are shown before the rest is folded away.
FIRST = 15


def _bar(part, whole, text, cls=""):
    return tag(
        "span",
        tag("i", style=f"width:{100 * part / whole if whole else 0:.1f}%"),
        cls=f"bar {cls}".strip(),
        **told(text),
    )


def _folded(head, rows, cls, what):
    """A table, of which all but the first rows are folded away."""
    parts = [tag("div", tag("table", tag("thead", head), tag("tbody", *rows[:FIRST]), cls=cls), cls="scroll")]
    if rows[FIRST:]:
        more = tag("div", tag("table", tag("thead", head), tag("tbody", *rows[FIRST:]), cls=cls), cls="scroll")
        parts.append(tag("details", tag("summary", f"{len(rows) - FIRST} more {what}"), more))
    return tag("div", *parts)


def slabs(snapshot):
    """The caches, those with most memory first; empty ones by name alone."""
    caches = sorted(snapshot["slabs"], key=lambda cache: (-cache["pages"], cache["name"]))
    held, empty = [c for c in caches if c["slabs"]], [c for c in caches if not c["slabs"]]
    most = max([cache["pages"] for cache in held], default=1)
    head = tag(
        "tr",
        *(tag("th", name, cls=cls) for name, cls in (
            ("Cache", None), ("Memory", "n"), ("", "wide"), ("Active / all objects", "n"), ("", "wide"), ("Object", "n"), ("Slabs", "n"), ("Waste", "n"))),
    )
    rows = []
    for cache in held:
        waste = cache["pages"] * 4096 - cache["active"] * cache["object_size"]
        name = cache["name"]
        rows.append(
            tag(
                "tr",
                tag("th", name, tag("small", " reclaimable" if cache["reclaimable"] else "")),
                tag("td", size(cache["pages"]), cls="n"),
                tag("td", _bar(cache["pages"], most, f"{name}: {size(cache['pages'])} in {plural(cache['slabs'], 'slab')}", "slab")),
                tag("td", f"{number(cache['active'])} / {number(cache['total'])}", cls="n"),
                tag("td", _bar(cache["active"], cache["total"], f"{name}: {percent(cache['active'], cache['total'])} of its objects are in use, {number(cache['in_sheaves'])} wait on CPUs", "full")),
                tag("td", f"{number(cache['size'])} B", cls="n"),
                tag("td", number(cache["slabs"]), tag("small", f" {number(cache['partial'])} partial"), cls="n"),
                tag("td", bytes_of(waste), tag("small", f" {percent(waste, cache['pages'] * 4096)}"), cls="n"),
                data_slab=name,
                data_active=cache["active"],
                data_total=cache["total"],
                data_pages=cache["pages"],
            )
        )
    note = tag("p", f"{plural(len(empty), 'cache')} without slabs: ", ", ".join(cache["name"] for cache in empty), ".", cls="note") if empty else ""
    return tag("div", _folded(head, rows, "list slabs", "caches"), note)


def vmalloc(snapshot):
    """The areas, the largest first."""
    areas = sorted(snapshot["vmalloc"]["areas"], key=lambda area: -area["pages"])
    if not areas:
        return tag("p", "There are none.", cls="note")
    most = areas[0]["pages"] or 1
    head = tag("tr", *(tag("th", name, cls=cls) for name, cls in (("Address", None), ("Size", "n"), ("", "wide"), ("What", None), ("Asked for by", None))))
    rows = [
        tag(
            "tr",
            tag("td", tag("code", area["range"][0])),
            tag("td", size(area["pages"]), cls="n"),
            tag("td", _bar(area["pages"], most, f"{area['kind']} at {area['range'][0]}: {plural(area['pages'], 'page')}", "vm")),
            tag("td", area["kind"], f" of {area['phys']}" if "phys" in area else ""),
            tag("td", area["caller"]),
            data_area=area["range"][0],
        )
        for area in areas
    ]
    left = snapshot["vmalloc"]["areas_left_out"]
    note = tag("p", f"{plural(left, 'more area')} left out of the snapshot.", cls="note") if left else ""
    return tag("div", _folded(head, rows, "list", "areas"), note)


def files(snapshot):
    """/proc/meminfo and /proc/vmstat."""
    def listed(name, values, unit):
        rows = [tag("tr", tag("th", key), tag("td", number(value), unit, cls="n"), data_name=key, data_value=value) for key, value in values.items()]
        return tag("details", tag("summary", f"{name}, {len(rows)} figures"), tag("table", tag("tbody", *rows), cls="list narrow"), data_file=name)

    return tag("div", listed("meminfo", snapshot["meminfo"], " kB"), listed("vmstat", snapshot["vmstat"], ""), cls="files")
