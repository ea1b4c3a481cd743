"""The page of scripts/memview: HTML, SVG, a style sheet and a script in one text.

All that comes from a snapshot goes through `markup`, which escapes it, or into a block of JSON
that no element can end in.
"""

import json
from pathlib import Path

from . import figures, memory, regions, space, tables, timeline
from .markup import Markup, size, tag, when

HERE = Path(__file__).parent


def _json_block(value):
    """JSON for a script element, in which no `</script>` and no comment can begin."""
    text = json.dumps(value, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def _section(name, title, intro, *content):
    """A part of the page with a heading and a sentence on what is seen."""
    return tag(
        "section",
        tag("h2", title),
        tag("p", intro, cls="intro") if intro else "",
        *content,
        cls="part",
        data_part=name,
    )


def _one(number, label, snapshot):
    """All parts of one snapshot."""
    total = sum(zone["present"] for zone in snapshot["zones"])
    return tag(
        "div",
        tag(
            "header",
            tag("p", tag("b", snapshot["model"] or "a machine"), " · ", snapshot["kernel"], " · ", size(total), " of RAM · ",
                len(snapshot["cpus"]), " CPUs · ", when(snapshot["time_us"]), " after the start", cls="machine"),
            tag("p", "Command line: ", tag("code", snapshot["cmdline"] or "(empty)"), cls="cmdline"),
            cls="of",
        ),
        _section("figures", "Key figures", "", figures.tiles(snapshot), figures.usage(snapshot)),
        _section(
            "memory",
            "Physical memory",
            "Each cell is a pageblock of 2 MiB. Its colour and hatching tell its migratetype. It fills from the "
            "bottom: grey is reserved, the darkest part is the kernel's and stays where it is, the middle tone can be "
            "moved, and what is pale is free. A triangle marks a movable pageblock that holds pages which can't be moved.",
            memory.legend(snapshot),
            *(memory.grid(snapshot, number, n) for n in range(len(snapshot["zones"]))),
        ),
        _section(
            "free",
            "Free blocks by order",
            "How much memory lies in free blocks of each order, by migratetype, and the number of blocks. Memory that "
            "is scattered stands on the left.",
            *(memory.free_blocks(snapshot, n) for n in range(len(snapshot["zones"]))),
        ),
        _section(
            "regions",
            "Reserved regions and CMA",
            "Where the firmware put RAM, and what was taken of it before the page allocator started.",
            regions.strip(snapshot),
            regions.table(snapshot),
            regions.cma(snapshot),
        ),
        _section(
            "slabs",
            "Slab caches",
            "By the memory that they hold. Waste is what of that is in no object in use.",
            tables.slabs(snapshot),
        ),
        _section(
            "space",
            "Kernel address space",
            "The kernel's half of virtual memory, region by region, as the page tables from PGD to PTE map it. Widths "
            "are logarithmic.",
            space.verdict(snapshot),
            *(space.region(snapshot, n) for n in range(len(snapshot["address_space"]))),
        ),
        _section("vmalloc", "vmalloc areas", "", tables.vmalloc(snapshot)),
        _section("files", "All figures", "", tables.files(snapshot)),
        tag("p", "How these figures hold together: ", snapshot["coherence"], ". ", figures.drift(snapshot), cls="intro coherence"),
        cls="snapshot",
        data_snapshot=number,
        data_label=label,
        hidden=number > 0,
    )


def page(snapshots):
    """The page of some snapshots, each with its label."""
    data = [memory.for_script(snapshot) for _, snapshot in snapshots]
    title = "Granule: memory" + (f" in {len(snapshots)} steps" if len(snapshots) > 1 else f", {snapshots[0][0]}")
    return "<!DOCTYPE html>\n" + tag(
        "html",
        tag(
            "head",
            Markup('<meta charset="utf-8">'),
            Markup('<meta name="viewport" content="width=device-width, initial-scale=1">'),
            # Nothing is fetched, whatever a snapshot holds.
            Markup(
                '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
                "style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:\">"
            ),
            Markup('<link rel="icon" href="data:,">'),
            tag("title", title),
            tag("style", Markup((HERE / "style.css").read_text(encoding="utf-8"))),
        ),
        tag(
            "body",
            tag(
                "header",
                tag("h1", "Granule ", tag("span", "memory")),
                tag("button", "Theme: auto", id="theme", type="button"),
                cls="top",
            ),
            memory.patterns(),
            tag(
                "main",
                timeline.timeline(snapshots) if len(snapshots) > 1 else "",
                *(_one(number, label, snapshot) for number, (label, snapshot) in enumerate(snapshots)),
            ),
            tag("div", id="tip", role="tooltip", hidden=True),
            tag("div", id="said", role="status", aria_live="polite", cls="unseen"),
            tag("script", _json_block(data), type="application/json", id="data"),
            tag("script", Markup((HERE / "script.js").read_text(encoding="utf-8"))),
        ),
        lang="en",
    )
