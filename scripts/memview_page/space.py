"""The kernel's half of virtual memory, as its page tables map it."""

from math import log2

from .markup import bytes_of, number, plural, tag, told

# Bits of an address below the index of each level, four-level tables of 4 KiB.
SHIFTS = {"PGD": 39, "PUD": 30, "PMD": 21, "PTE": 12}
LEVELS = list(SHIFTS)
# Rows that are shown before the rest is folded away.
FIRST = 12


def permission(run):
    """Letters and a class: what the kernel may do there."""
    _, _, _, write, execute, memory, valid = run
    if not valid:
        return "--", "hidden", "hidden from the MMU"
    if write == "RW" and execute == "x":
        return "RWX", "wx", "writable and executable"
    if execute == "x":
        return "RX", "rx", "read and execute"
    if write == "RW":
        return ("RW", "dev", "read and write, a device's registers") if memory.startswith("DEVICE") else ("RW", "rw", "read and write")
    return "R", "ro", "read only"


def length(run):
    """Bytes of a run."""
    return int(run[1], 16) - int(run[0], 16)


def path(run):
    """The way to a run through the tables: indices from the PGD to where its entries stand."""
    first, last = int(run[0], 16), int(run[1], 16) - 1
    words = []
    for level in LEVELS[: LEVELS.index(run[2]) + 1]:
        shift = SHIFTS[level]
        low, high = first >> shift & 511, last >> shift & 511
        whole = first >> shift == last >> shift
        words.append(f"{level} {low}" if whole else f"{level} {low}\u2013{high}")
        if not whole:
            break
    return " \u203a ".join(words)


def entries(run):
    """How many entries a run takes, at its level."""
    return -(-length(run) >> SHIFTS[run[2]])


def verdict(snapshot):
    """Whether anything is writable and executable."""
    runs = [run for region in snapshot["address_space"] for run in region["runs"]]
    bad = [run for run in runs if run[6] and run[3] == "RW" and run[4] == "x"]
    total = bytes_of(sum(length(run) for run in runs) + sum(region["bytes_left_out"] for region in snapshot["address_space"]))
    mapped = f"{plural(len(runs), 'mapping')}, {total} in all"
    if bad:
        text = f"W^X is broken: {plural(len(bad), 'mapping')} writable and executable, the first at {bad[0][0]}"
    else:
        text = "W^X holds: nothing is writable and executable"
    keys = [
        tag("li", tag("span", letters, cls=f"perm {cls}"), words)
        for letters, cls, words in (
            ("RX", "rx", "read, execute"), ("R", "ro", "read only"), ("RW", "rw", "read, write"),
            ("RW", "dev", "device registers"), ("--", "hidden", "hidden"), ("RWX", "wx", "writable and executable"))
    ]
    return tag(
        "div",
        tag("p", tag("b", ("\u2717 " if bad else "\u2713 ") + text, cls="broken" if bad else "holds", data_wx=len(bad)), " · ", mapped, "."),
        tag("ul", *keys, cls="legend"),
    )


def region(snapshot, n):
    """A region: a strip of its mappings, and a row for each."""
    of = snapshot["address_space"][n]
    runs = of["runs"]
    weights = [log2(length(run) / 4096) + 1.6 for run in runs]
    # A gap is as wide for all sizes: addresses without a mapping.
    gaps = [int(b[0], 16) != int(a[1], 16) for a, b in zip(runs, runs[1:])]
    unit = (1000 - 4.0 * sum(gaps)) / max(sum(weights), 1)
    drawn, x = [], 0.0
    for run, weight, gap in zip(runs, weights, [*gaps, False]):
        letters, cls, words = permission(run)
        width = weight * unit
        text = f"{run[0]} to {run[1]}, {bytes_of(length(run))}: {words}, {run[5]}; {path(run)}, {number(entries(run))} entries at {run[2]}"
        drawn.append(tag("rect", x=round(x, 2), width=round(max(width - 1, 0.7), 2), height=26, cls=f"map {cls}", **told(text)))
        if width > 13 * len(letters):
            drawn.append(tag("text", letters, x=round(x + width / 2, 1), y=18, cls=f"on {cls}"))
        x += width + (4 if gap else 0)
    rows = []
    for run in runs:
        letters, cls, words = permission(run)
        rows.append(
            tag(
                "tr",
                tag("td", path(run), cls="path"),
                tag("td", tag("code", run[0])),
                tag("td", bytes_of(length(run)), cls="n"),
                tag("td", f"{number(entries(run))} \u00d7 {run[2]}", cls="n"),
                tag("td", tag("span", letters, cls=f"perm {cls}", title=words)),
                tag("td", run[5].removeprefix("MEM/").replace("NORMAL", "Normal").replace("DEVICE/", "Device-")),
                data_run=run[0],
                data_perm=letters,
            )
        )
    head = tag("tr", *(tag("th", name, cls=cls) for name, cls in (("Through the tables", None), ("From", None), ("Size", "n"), ("Entries", "n"), ("May", None), ("Memory", None))))
    parts = [tag("div", tag("table", tag("thead", head), tag("tbody", *rows[:FIRST]), cls="list runs"), cls="scroll")] if rows else []
    if rows[FIRST:]:
        more = tag("div", tag("table", tag("thead", head), tag("tbody", *rows[FIRST:]), cls="list runs"), cls="scroll")
        parts.append(tag("details", tag("summary", f"{len(rows) - FIRST} more mappings"), more))
    left = of["runs_left_out"]
    if left:
        parts.append(tag("p", f"{plural(left, 'more mapping')}, {bytes_of(of['bytes_left_out'])}, left out of the snapshot.", cls="note"))
    mapped = sum(length(run) for run in runs) + of["bytes_left_out"]
    return tag(
        "figure",
        tag(
            "figcaption",
            tag("h3", of["name"]),
            tag("span", f"{of['range'][0]} to {of['range'][1]}; {bytes_of(mapped)} mapped" if runs else f"{of['range'][0]} to {of['range'][1]}; nothing mapped"),
        ),
        tag("svg", *drawn, viewBox="0 0 1000 26", cls="strip") if runs else "",
        *parts,
        data_space=of["name"],
    )
