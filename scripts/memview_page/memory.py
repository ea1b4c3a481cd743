"""Physical memory as a grid of pageblocks, and what of it is free by order."""

from .markup import Markup, number, percent, phys, plural, size, tag, told

# Of the drawing: columns of labels, and of cells.
LEFT, WIDTH = 112, 1000
# What can't be moved, of what is allocated.
KEPT = ("slab", "page_table", "vmalloc", "cma", "allocated")
# What never was the allocator's, or is no more.
RESERVED = ("vmemmap", "reserved", "poisoned", "offline")
FILL_NAMES = {
    "pcp": "on CPUs' lists",
    "slab": "slabs",
    "page_table": "page tables",
    "vmalloc": "vmalloc",
    "movable": "movable",
    "cma": "CMA, allocated",
    "allocated": "other kernel pages",
    "vmemmap": "frame descriptors",
    "reserved": "reserved",
    "hole": "no RAM",
    "poisoned": "bad memory",
    "offline": "offline",
}
# Of each migratetype: its class in the style sheet.
TYPE_CLASS = {"Unmovable": "u", "Movable": "m", "Reclaimable": "r", "HighAtomic": "h", "CMA": "c", "Isolate": "i"}


def type_class(snapshot, migratetype):
    """The class of a migratetype by its number."""
    return TYPE_CLASS.get(snapshot["migratetypes"][migratetype], "i")


def fills(snapshot, run):
    """What is in each pageblock of a run, by name."""
    return dict(zip(snapshot["fills"], run[5]))


def is_pinned(snapshot, run):
    """Whether a pageblock is for movable pages, and holds one that can't be moved."""
    of = fills(snapshot, run)
    kept = sum(of.get(name, 0) for name in KEPT if name != "cma")
    return snapshot["migratetypes"][run[3]] in ("Movable", "CMA") and kept > 0


def pinned(snapshot):
    """How many such pageblocks there are."""
    return sum(run[2] for run in snapshot["pageblocks"] if is_pinned(snapshot, run))


def patterns():
    """The hatchings of migratetypes, once for the whole page."""
    shapes = {
        "u": Markup('<path d="M-1 5L5 -1M2 8L8 2"/>'),
        "r": Markup('<path d="M0 1.5H6M0 4.5H6"/>'),
        "h": Markup('<path d="M1.5 0V6M4.5 0V6"/>'),
        "c": Markup('<circle cx="1.5" cy="1.5" r=".9"/><circle cx="4.5" cy="4.5" r=".9"/>'),
        "i": Markup('<path d="M0 0L6 6M6 0L0 6"/>'),
        "n": Markup('<circle cx="3" cy="3" r=".7"/>'),
    }
    defs = [
        tag("pattern", shape, id=f"{kind}-{name}", cls=f"{kind} {name}", width=6, height=6, patternUnits="userSpaceOnUse")
        for name, shape in shapes.items()
        # On pale ground and on a full tone.
        for kind in "pq"
    ]
    return tag("svg", tag("defs", *defs), width=0, height=0, aria_hidden="true", cls="unseen")


class Layout:
    """Where the pageblocks of a zone are drawn: rows that start at round addresses; a row that
    holds nothing is not drawn."""

    def __init__(self, snapshot, zone):
        self.size = 1 << snapshot["pageblock_order"]
        self.runs = [run for run in snapshot["pageblocks"] if run[0] == zone]
        # Sections that are not up, in whole pageblocks.
        self.not_up = []
        for _, start, pages, free in (part for part in snapshot["not_up"] if part[0] == zone):
            first, last = start // self.size, -(-(start + pages) // self.size)
            self.not_up.append((first, last - first, pages, free))
        spans = [(run[1] // self.size, run[2]) for run in self.runs] + [part[:2] for part in self.not_up]
        blocks = sum(count for _, count in spans)
        self.columns = 32 if blocks <= 512 else 64 if blocks <= 4096 else 128
        self.width = WIDTH / self.columns
        self.height = min(self.width, 20)
        rows = sorted({row for first, count in spans for row in range(first // self.columns, (first + count - 1) // self.columns + 1)})
        self.top, y, last = {}, 0, None
        for row in rows:
            # A gap where addresses are left out.
            if last is not None and row != last + 1:
                y += 16
            self.top[row], last = y, row
            y += self.height
        self.bottom = y

    def pieces(self, first, count):
        """The parts of a run that lie in one row: x, y and width."""
        while count > 0:
            row, column = divmod(first, self.columns)
            here = min(count, self.columns - column)
            yield LEFT + column * self.width, self.top[row], here * self.width
            first, count = first + here, count - here


def _box(x, y, width, height):
    return f"M{x:.5g} {y:.5g}h{width:.5g}v{height:.5g}h-{width:.5g}z"


def _layers(snapshot, layout):
    """The boxes to draw, by class, from the lowest layer up."""
    layers = {}
    for run in layout.runs:
        name, of = type_class(snapshot, run[3]), fills(snapshot, run)
        parts = [
            ("res", sum(of.get(fill, 0) for fill in RESERVED)),
            (f"kept {name}", sum(of.get(fill, 0) for fill in KEPT)),
            (f"mov {name}", of.get("movable", 0)),
        ]
        for x, y, width in layout.pieces(run[1] // layout.size, run[2]):
            layers.setdefault(f"free {name}", []).append(_box(x, y, width, layout.height))
            base = y + layout.height
            for cls, pages in parts:
                if pages:
                    height = layout.height * pages / layout.size
                    base -= height
                    layers.setdefault(cls, []).append(_box(x, base, width, height))
            if of.get("hole"):
                layers.setdefault("hole", []).append(_box(x, y, width, layout.height * of["hole"] / layout.size))
            if is_pinned(snapshot, run):
                side = min(layout.height, layout.width) * 0.34
                for n in range(round(width / layout.width)):
                    right = x + (n + 1) * layout.width
                    layers.setdefault("pin", []).append(f"M{right:.5g} {y:.5g}v{side:.5g}l-{side:.5g} -{side:.5g}z")
    for first, count, _, _ in layout.not_up:
        for x, y, width in layout.pieces(first, count):
            layers.setdefault("notup", []).append(_box(x, y, width, layout.height))
    return layers


def grid(snapshot, which, n):
    """The pageblocks of a zone."""
    zone, layout = snapshot["zones"][n], Layout(snapshot, n)
    layers = _layers(snapshot, layout)
    rank = {"free": 0, "notup": 1, "res": 3, "kept": 4, "mov": 5, "hole": 6, "pin": 8}
    drawn = []
    for cls in sorted(layers, key=lambda cls: rank[cls.split()[0]]):
        d = "".join(layers[cls])
        drawn.append(tag("path", d=d, cls=cls))
        if cls.startswith("free ") and cls != "free m":
            drawn.append(tag("path", d=d, cls="hatch", fill=f"url(#p-{cls[-1]})"))
        if cls == "notup":
            drawn.append(tag("path", d=d, cls="hatch", fill="url(#p-n)"))
    lines = "".join(f"M{LEFT + column * layout.width:.5g} 0V{layout.bottom:.5g}" for column in range(layout.columns + 1))
    labels, every = [], max(1, 13 // int(layout.height) + (len(layout.top) > 40) * 3)
    last = None
    for index, (row, y) in enumerate(layout.top.items()):
        lines += f"M{LEFT} {y:.5g}h{WIDTH}M{LEFT} {y + layout.height:.5g}h{WIDTH}"
        if last is not None and row != last + 1:
            gap = (row - last - 1) * layout.columns * layout.size
            labels.append(tag("text", f"{size(gap)} of addresses left out", x=LEFT + 4, y=round(y - 4, 1), cls="gap"))
        if index % every == 0:
            at = phys(row * layout.columns * layout.size)
            labels.append(tag("text", at, x=LEFT - 8, y=round(y + min(layout.height - 2, layout.height / 2 + 4.5), 1), cls="at"))
        last = row
    counts = {snapshot["migratetypes"][i]: blocks for i, blocks in enumerate(zone["pageblocks"]) if blocks}
    told_counts = ", ".join(f"{blocks} {name}" for name, blocks in counts.items())
    waiting = sum(part[1] for part in layout.not_up)
    name = f"Node {zone['node']}, zone {zone['name']}"
    summary = f"{plural(sum(run[2] for run in layout.runs), 'pageblock')}: {told_counts or 'none'}"
    if waiting:
        summary += f"; {number(waiting)} more not up yet"
    return tag(
        "figure",
        tag(
            "figcaption",
            tag("h3", name),
            tag(
                "span",
                f"{phys(zone['start_pfn'])} to {phys(zone['end_pfn'])}, {size(zone['present'])} of RAM, "
                f"{size(zone['free'])} free. {summary}.",
            ),
        ),
        tag(
            "svg",
            *drawn,
            tag("path", d=lines, cls="lines"),
            *labels,
            tag("rect", cls="cursor", width=round(layout.width, 3), height=round(layout.height, 3), visibility="hidden"),
            viewBox=f"0 0 {LEFT + WIDTH + 2} {layout.bottom + 2:.5g}",
            cls="grid",
            role="application",
            tabindex=0,
            aria_label=f"{name}. {summary}. Arrow keys go from pageblock to pageblock.",
            data_grid=n,
            data_of=which,
            data_cell=round(layout.width * layout.height, 4),
        ),
        gauge(zone),
        cls="zone",
        data_zone=n,
        data_free=zone["free"],
        data_pinned=sum(run[2] for run in layout.runs if is_pinned(snapshot, run)),
        **{f"data_type_{name.lower()}": blocks for name, blocks in counts.items()},
    )


def gauge(zone):
    """Free memory beside the zone's watermarks."""
    most = max(zone["managed"], 1)
    marks = [(name, zone[name] + (zone["boost"] if name != "min" else 0)) for name in ("min", "low", "high")]
    text = f"{size(zone['free'])} of {size(zone['managed'])} free"
    text += "; watermarks: " + ", ".join(f"{name} {size(pages)}" for name, pages in marks)
    ticks = [
        tag("span", cls="mark", style=f"left:{100 * pages / most:.2f}%") for _, pages in marks
    ]
    return tag(
        "div",
        tag("div", tag("i", style=f"width:{100 * zone['free'] / most:.2f}%"), *ticks, cls="track"),
        tag("span", text, cls="note"),
        cls="gauge",
    )


def legend(snapshot):
    """What colours, hatchings and parts of a cell mean."""
    def swatch(cls, hatch=None):
        parts = [tag("rect", width=22, height=16, cls=cls)]
        if hatch:
            parts.append(tag("rect", width=22, height=16, fill=f"url(#p-{hatch})", cls="hatch"))
        if cls.startswith("free"):
            parts += [
                tag("rect", y=11, width=22, height=5, cls=f"kept {cls[-1]}"),
                tag("rect", y=7, width=22, height=4, cls=f"mov {cls[-1]}"),
            ]
        if cls == "pin":
            parts = [tag("rect", width=22, height=16, cls="free m"), tag("path", d="M22 0v9l-9 -9z", cls="pin")]
        return tag("svg", *parts, width=22, height=16, cls="swatch", aria_hidden="true")

    items = []
    for n, name in enumerate(snapshot["migratetypes"]):
        blocks = sum(zone["pageblocks"][n] for zone in snapshot["zones"])
        cls = TYPE_CLASS.get(name, "i")
        items.append(
            tag("li", swatch(f"free {cls}", cls if cls != "m" else None), f"{name} ", tag("b", number(blocks)),
                data_legend=name, data_blocks=blocks, cls=None if blocks else "none")
        )
    items.append(tag("li", swatch("res"), "reserved, descriptors"))
    items.append(tag("li", swatch("notup", "n"), "free, not up yet"))
    items.append(tag("li", swatch("pin"), "movable, but pinned ", tag("b", number(pinned(snapshot)))))
    return tag("ul", *items, cls="legend")


def free_blocks(snapshot, n):
    """Free memory of a zone by order and migratetype: a chart, and the number of blocks."""
    zone, orders = snapshot["zones"][n], range(snapshot["max_order"] + 1)
    rows = [(name, row) for name, row in zip(snapshot["migratetypes"], zone["free_blocks"])]
    pages = [sum(row[order] << order for _, row in rows) for order in orders]
    most = max([*pages, 1])
    left, high, step = 118, 150, 82
    bars = []
    for order in orders:
        y = high + 18.0
        for name, row in rows:
            held = row[order] << order
            if not held:
                continue
            height = high * held / most
            y -= height
            cls = TYPE_CLASS.get(name, "i")
            box = {"x": left + order * step + 8, "y": round(y, 2), "width": step - 16, "height": round(height, 2)}
            text = f"Order {order}, {name}: {plural(row[order], 'block')}, {size(held)}"
            bars.append(tag("rect", **box, cls=f"mov {cls}", **told(text)))
            if cls != "m":
                bars.append(tag("rect", **box, fill=f"url(#q-{cls})", cls="hatch"))
        share = percent(pages[order], sum(pages))
        if pages[order]:
            bars.append(tag("text", share, x=left + order * step + step / 2, y=round(y - 5, 1), cls="mid"))
    axis = tag("path", d=f"M{left} {high + 18.5}h{len(orders) * step}", cls="axis")
    head = [tag("th", "Order")] + [tag("th", order, tag("small", size(1 << order))) for order in orders] + [tag("th", "Memory")]
    body = []
    for name, row in rows:
        held = sum(blocks << order for order, blocks in enumerate(row))
        if not held and name not in ("Unmovable", "Movable", "Reclaimable"):
            continue
        body.append(
            tag(
                "tr",
                tag("th", tag("span", cls=f"dot {TYPE_CLASS.get(name, 'i')}"), name),
                *(tag("td", number(blocks) if blocks else "·", data_blocks=f"{name} {order} {blocks}") for order, blocks in enumerate(row)),
                tag("td", size(held)),
            )
        )
    unusable = zone["unusable_index"][snapshot["pageblock_order"]]
    hidden = [
        text
        for text in (
            f"{size(zone['deferred'])} in sections that are not up yet" if zone["deferred"] else "",
            f"{size(zone['pcp'])} on CPUs' own lists" if zone["pcp"] else "",
        )
        if text
    ]
    note = f"{unusable / 10:.1f} % of what is on the lists can't be had as blocks of 2 MiB."
    if hidden:
        note += " Free and on no list: " + ", ".join(hidden) + "."
    return tag(
        "figure",
        tag("figcaption", tag("h3", f"Node {zone['node']}, zone {zone['name']}"), tag("span", note)),
        tag(
            "div",
            tag("svg", axis, *bars, viewBox=f"0 0 {left + len(orders) * step + 90} {high + 22}", cls="chart"),
            tag("table", tag("thead", tag("tr", *head)), tag("tbody", *body), cls="orders"),
            cls="scroll",
        ),
    )


def for_script(snapshot):
    """What the script needs to explain a pageblock: runs, and where they are drawn."""
    zones = []
    for n, zone in enumerate(snapshot["zones"]):
        layout = Layout(snapshot, n)
        zones.append(
            {
                "name": f"node {zone['node']}, zone {zone['name']}",
                "columns": layout.columns,
                "width": layout.width,
                "height": layout.height,
                "left": LEFT,
                "tops": [[row, y] for row, y in layout.top.items()],
                "runs": [[run[1] // layout.size, *run[2:]] for run in layout.runs],
                "notUp": layout.not_up,
            }
        )
    names = [FILL_NAMES.get(name, name) for name in snapshot["fills"]]
    return {"types": snapshot["migratetypes"], "fills": names, "pages": 1 << snapshot["pageblock_order"], "zones": zones}
