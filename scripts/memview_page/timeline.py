"""Several snapshots: steps to choose from, and how the key figures change."""

from .figures import large_share, slab_waste, total
from .memory import pinned
from .markup import bytes_of, number, plural, tag, told, when


def _figures():
    """Name, value of a snapshot, and the value in words."""
    share = lambda snapshot: 100 * large_share(snapshot)[0] / max(large_share(snapshot)[1], 1)
    mib = lambda pages: bytes_of(pages * 4096)
    types = lambda name: lambda snapshot: sum(
        zone["pageblocks"][snapshot["migratetypes"].index(name)] for zone in snapshot["zones"] if name in snapshot["migratetypes"]
    )
    return [
        ("Free memory", lambda s: total(s, "free"), mib),
        ("Free as 2 MiB blocks", share, lambda value: f"{value:.0f} %"),
        ("Unmovable pageblocks", types("Unmovable"), number),
        ("Pinned movable pageblocks", pinned, number),
        ("Slabs", lambda s: sum(cache["pages"] for cache in s["slabs"]), mib),
        ("Waste in slabs", slab_waste, bytes_of),
        ("Page tables", lambda s: s["meminfo"]["PageTables"] << 10, bytes_of),
        ("vmalloc", lambda s: s["meminfo"]["VmallocUsed"] << 10, bytes_of),
    ]


def _multiple(name, values, words, labels):
    """One figure over the steps: a line, a dot for each step, and the value of the chosen one."""
    width, high, left = 240, 56, 8
    most = max([*values, 1e-9])
    step = (width - 2 * left) / max(len(values) - 1, 1)
    points = [(left + n * step, 8 + (high - 12) * (1 - value / most)) for n, value in enumerate(values)]
    line = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    dots = [
        tag("circle", cx=round(x, 1), cy=round(y, 1), r=4, data_step=n, data_words=words(value), **told(f"{labels[n]}: {name} {words(value)}"))
        for n, ((x, y), value) in enumerate(zip(points, values))
    ]
    return tag(
        "figure",
        tag("figcaption", name, " ", tag("b", words(values[0]), cls="now")),
        tag(
            "svg",
            tag("path", d=f"{line}V{high}H{points[0][0]:.1f}z", cls="under"),
            tag("path", d=f"M{left} {high}H{width - left}", cls="axis"),
            tag("path", d=line, cls="line"),
            *dots,
            viewBox=f"0 0 {width} {high + 4}",
        ),
        tag("p", f"{words(values[0])} \u2192 {words(values[-1])}", cls="note"),
        cls="multiple",
        data_multiple=name,
    )


def timeline(snapshots):
    """The steps and the small multiples."""
    labels = [label for label, _ in snapshots]
    states = [snapshot for _, snapshot in snapshots]
    steps = [
        tag("button", tag("b", n + 1), f" {label} ", tag("small", when(snapshot["time_us"])), type="button", cls="step", data_step=n, aria_pressed="true" if n == 0 else "false")
        for n, (label, snapshot) in enumerate(snapshots)
    ]
    multiples = [_multiple(name, [value(state) for state in states], words, labels) for name, value, words in _figures()]
    return tag(
        "section",
        tag("h2", "Time line"),
        tag("p", f"{plural(len(snapshots), 'snapshot')}, in the order in which they were given; what follows shows the chosen one.", cls="intro"),
        tag(
            "div",
            tag("button", "\u2190 Back", type="button", id="back"),
            tag("input", type="range", id="slider", min=0, max=len(snapshots) - 1, value=0, step=1, aria_label="Snapshot"),
            tag("button", "Next \u2192", type="button", id="next"),
            cls="slider",
        ),
        tag("div", *steps, cls="steps"),
        tag("div", *multiples, cls="multiples"),
        cls="part timeline",
        data_part="timeline",
        data_steps=len(snapshots),
    )
