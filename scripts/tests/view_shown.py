"""What a page of scripts/memview shows, and whether it is what the snapshot has."""

import re

from view_common import near, same

# What the page shows, as the document has it.
SHOWN = r"""
(() => {
  const shown = document.querySelector(".snapshot:not([hidden])");
  const all = (selector, root = shown) => [...root.querySelectorAll(selector)];
  const area = (paths) => paths.reduce((sum, path) => {
    for (const [, w, h] of path.getAttribute("d").matchAll(/h([\d.e+-]+)v([\d.e+-]+)h-[\d.e+-]+z/g)) sum += w * h;
    return sum;
  }, 0);
  const zones = all(".zone").map((zone) => {
    const grid = zone.querySelector(".grid"), cell = +grid.dataset.cell;
    const drawn = {};
    for (const path of all("path[class]", grid)) {
      const name = path.getAttribute("class");
      if (!/^(free|kept|mov|res|notup)/.test(name)) continue;
      drawn[name] = (drawn[name] || 0) + area([path]) / cell;
    }
    return { data: { ...zone.dataset }, drawn, seen: grid.getBoundingClientRect().height > 20 };
  });
  const color = (selector) => { const e = shown.querySelector(selector); return e && getComputedStyle(e).fill; };
  return {
    zones,
    types: all("[data-legend]").map((e) => [e.dataset.legend, +e.dataset.blocks, e.innerText.trim()]),
    uses: Object.fromEntries(all("[data-use]").map((e) => [e.dataset.use, +e.dataset.pages])),
    figures: Object.fromEntries(all("[data-figure]").map((e) => [e.dataset.figure, [+e.dataset.value, e.innerText]])),
    orders: all(".orders").map((t) => all("[data-blocks]", t).map((e) => [e.dataset.blocks, e.innerText.replace(/\D/g, "")])),
    slabs: all("[data-slab]").map((e) => [e.dataset.slab, +e.dataset.active, +e.dataset.total, +e.dataset.pages, e.cells[3].textContent.replace(/[^\d/]/g, "")]),
    regions: all("[data-region]").map((e) => [e.dataset.region, e.cells[0].textContent]),
    cma: all("[data-cma]").map((e) => [e.dataset.cma, +e.dataset.allocated]),
    areas: all("[data-area]").map((e) => e.dataset.area),
    runs: all("[data-run]").map((e) => [e.dataset.run, e.dataset.perm, e.querySelector(".perm").textContent]),
    strips: all("[data-space]").map((e) => all("svg rect", e).length),
    wx: [+shown.querySelector("[data-wx]").dataset.wx, shown.querySelector("[data-wx]").innerText],
    files: Object.fromEntries(all("[data-file]").map((e) => [e.dataset.file, Object.fromEntries(all("[data-name]", e).map((r) => [r.dataset.name, +r.dataset.value]))])),
    headings: all("h2").map((e) => e.textContent),
    fills: { u: color("path.kept.u"), m: color("path.free.m"), r: color("path.free.r") },
    text: shown.innerText,
  };
})()
"""

CLASSES = {"Unmovable": "u", "Movable": "m", "Reclaimable": "r", "HighAtomic": "h", "CMA": "c", "Isolate": "i"}
KEPT = ("slab", "page_table", "vmalloc", "cma", "allocated")


def compare(shown, state):
    """What a page shows is what the snapshot has."""
    types, names = state["migratetypes"], state["fills"]
    same(len(shown["zones"]), len(state["zones"]), "zones shown")
    for n, (zone, of) in enumerate(zip(shown["zones"], state["zones"])):
        same(int(zone["data"]["free"]), of["free"], "free pages of a zone")
        same(zone["seen"], True, "a zone's pageblocks are to be seen")
        told = {kind: int(zone["data"].get(f"type{kind}", zone["data"].get("type" + kind.capitalize(), 0))) for kind in map(str.lower, types)}
        same(told, {kind.lower(): of["pageblocks"][i] for i, kind in enumerate(types)}, "pageblocks by migratetype")
        expected = {}
        pinned = 0
        for run in (run for run in state["pageblocks"] if run[0] == n):
            use = dict(zip(names, run[5]))
            cls = CLASSES[types[run[3]]]
            kept = sum(use.get(name, 0) for name in KEPT)
            for part, pages in (
                (f"free {cls}", 512), (f"kept {cls}", kept), (f"mov {cls}", use.get("movable", 0)),
                ("res", sum(use.get(name, 0) for name in ("vmemmap", "reserved", "poisoned", "offline"))),
            ):
                expected[part] = expected.get(part, 0) + run[2] * pages / 512
            if types[run[3]] in ("Movable", "CMA") and kept - use.get("cma", 0) > 0:
                pinned += run[2]
        for part in set(zone["drawn"]) | {part for part, blocks in expected.items() if blocks}:
            if part == "notup":
                continue
            blocks = expected.get(part, 0)
            near(zone["drawn"].get(part, 0), blocks, f"pageblocks drawn as {part}", 0.02 + blocks * 0.002)
        down = sum(part[2] for part in state["not_up"] if part[0] == n)
        near(zone["drawn"].get("notup", 0), down / 512, "pageblocks drawn as not up", 2.1)
        same(int(zone["data"]["pinned"]), pinned, "pinned pageblocks")
    for name, blocks, text in shown["types"]:
        count = sum(zone["pageblocks"][types.index(name)] for zone in state["zones"])
        same((blocks, re.sub(r"\D", "", text)), (count, str(count)), f"{name} in the legend")
    uses = dict.fromkeys(names, 0)
    uses["free"] = sum(run[2] * sum(run[4]) for run in state["pageblocks"])
    uses["not_up"] = sum(part[3] for part in state["not_up"])
    for run in state["pageblocks"]:
        for name, pages in zip(names, run[5]):
            uses[name] += run[2] * pages
    uses["reserved"] += sum(part[2] - part[3] for part in state["not_up"])
    del uses["hole"]
    same(shown["uses"], {name: pages for name, pages in uses.items() if pages}, "uses of RAM")
    free = sum(zone["free"] for zone in state["zones"])
    same(shown["figures"]["free"][0], free, "the key figure of free memory")
    mib = free / 256
    words = f"{mib:.0f} MiB" if mib >= 100 or mib == int(mib) else f"{mib:.1f} MiB"
    if mib < 1024:
        same(words in shown["figures"]["free"][1], True, f"free memory in words, {words}")
    same(shown["figures"]["slab"][0], sum(cache["pages"] for cache in state["slabs"]), "pages of slabs")
    for table, zone in zip(shown["orders"], state["zones"]):
        cells = {tuple(cell.rsplit(" ", 2)): text for cell, text in table}
        for kind, row in zip(types, zone["free_blocks"]):
            for order, blocks in enumerate(row):
                if blocks or kind in ("Unmovable", "Movable", "Reclaimable"):
                    same(cells.get((kind, str(order), str(blocks))), str(blocks) if blocks else "", f"blocks of order {order}, {kind}")
    held = [cache for cache in state["slabs"] if cache["slabs"]]
    told = sorted([c["name"], c["active"], c["total"], c["pages"], f"{c['active']}/{c['total']}"] for c in held)
    same(sorted(shown["slabs"]), told, "caches")
    spans = sorted((kind, int(r["start"], 16), int(r["end"], 16)) for kind, of in (("RAM", "memory"), ("reserved", "reserved")) for r in state["memblock"][of])
    same(sorted((kind, *(int(at, 16) for at in text.split(" to "))) for kind, text in shown["regions"]), spans, "regions")
    same(shown["cma"], [[area["name"], area["allocated"]] for area in state["cma"]], "CMA areas")
    same(sorted(shown["areas"]), sorted(area["range"][0] for area in state["vmalloc"]["areas"]), "areas of vmalloc")
    letters = lambda run: "--" if not run[6] else ("R" + "W" * (run[3] == "RW") + "X" * (run[4] == "x"))
    runs = [run for region in state["address_space"] for run in region["runs"]]
    same(shown["runs"], [[run[0], letters(run), letters(run)] for run in runs], "mappings with permissions")
    same(shown["strips"], [len(region["runs"]) for region in state["address_space"]], "mappings drawn")
    bad = sum(letters(run) == "RWX" for run in runs)
    same((shown["wx"][0], "holds" in shown["wx"][1]), (bad, bad == 0), "the verdict on W^X")
    same(shown["files"], {"meminfo": state["meminfo"], "vmstat": state["vmstat"]}, "figures of /proc")
    for word in (state["model"], state["kernel"], state["coherence"]):
        same(word in shown["text"], True, f"{word!r} is to be read")
