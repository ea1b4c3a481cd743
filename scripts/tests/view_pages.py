"""Pages of scripts/memview in a browser: what they show, in which light, and to whom."""

import copy
import json
import re
import tempfile
from pathlib import Path

from view_browser import Browser
from view_common import Wrong, load, memview, same
from view_shown import SHOWN, compare


def quiet(browser, path):
    """Opens a page, which says nothing to the console and asks for nothing else."""
    browser.complaints.clear()
    browser.requests.clear()
    browser.open(path)
    same([url for url in browser.requests if not url.startswith(("file://", "data:"))], [], "requests")
    no_complaints(browser)


def no_complaints(browser):
    browser.evaluate("1")
    same(browser.complaints, [], "complaints of the browser")


CONTRAST = r"""
(() => {
  const parse = (text) => text.match(/[\d.]+/g).slice(0, 3).map((n) => n / 255).map((c) => (c <= .03928 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4));
  const light = (text) => { const [r, g, b] = parse(text); return .2126 * r + .7152 * g + .0722 * b; };
  const under = (e) => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor; if (!/, 0\)$|transparent/.test(c)) return c; } return "rgb(255, 255, 255)"; };
  const ratio = (a, b) => { const [x, y] = [light(a), light(b)].sort((p, q) => q - p); return (x + .05) / (y + .05); };
  const shown = document.querySelector(".snapshot:not([hidden])");
  const found = {};
  for (const selector of ["h1", "h2", ".intro", ".note", "td", "thead th", "small", ".legend li", ".key", ".perm", "dd", "summary", "code"]) {
    for (const e of shown.querySelectorAll(selector)) {
      if (e.closest(".none") || !e.getClientRects().length) continue;
      const r = ratio(getComputedStyle(e).color, under(e));
      if (!(selector in found) || r < found[selector]) found[selector] = r;
    }
  }
  return { found, paper: light(getComputedStyle(document.body).backgroundColor) };
})()
"""


def readable(browser, paper, what):
    """All text stands out from what is behind it (WCAG AA), on a light or a dark ground."""
    contrast = browser.evaluate(CONTRAST)
    same(contrast["paper"] > 0.5, paper == "light", f"{what}: the ground is {paper}")
    for selector, ratio in contrast["found"].items():
        if ratio < 4.5:
            raise Wrong(f"{what}: {selector} has a contrast of {ratio:.2f}")
    same(len(contrast["found"]) >= 10, True, "elements looked at")


def apart(colors, what):
    same(len(set(colors.values())), len(colors), f"{what}: the colours differ, {colors}")


def page(paths):
    with Browser() as browser, tempfile.TemporaryDirectory() as directory:
        for path in paths:
            state, out = load(path), Path(directory) / "page.html"
            same(memview([path], out), (0, ""), "scripts/memview")
            browser.window(1280)
            browser.media()
            quiet(browser, out)
            shown = browser.evaluate(SHOWN)
            compare(shown, state)
            colors = {name: fill for name, fill in shown["fills"].items() if fill}
            apart(colors, "light")
            same(len(shown["headings"]) >= 7, True, "headings")
            readable(browser, "light", "light")
            for width in (1280, 800):
                browser.window(width)
                same(browser.evaluate("document.documentElement.scrollWidth <= innerWidth"), True, f"it fits {width} pixels")
            browser.window(1280)
            pointer(browser, state)
            dark(browser)
            paper(browser)
            no_complaints(browser)


def dark(browser):
    """A dark theme where the reader prefers one, or chooses it."""
    light = browser.evaluate(SHOWN)["fills"]
    browser.media(scheme="dark")
    readable(browser, "dark", "dark")
    colors = {name: fill for name, fill in browser.evaluate(SHOWN)["fills"].items() if fill}
    apart(colors, "dark")
    same(colors["m"] != light["m"], True, "colours of the dark theme are its own")
    browser.media(scheme="light")
    press = "document.getElementById('theme').click(); document.getElementById('theme').textContent"
    same(browser.evaluate(press), "Theme: light", "the button")
    same(browser.evaluate(press), "Theme: dark", "the button again")
    readable(browser, "dark", "dark by choice")
    browser.media(kind="print", scheme="dark")
    readable(browser, "light", "on paper, whatever the theme")
    browser.media()
    same(browser.evaluate(press), "Theme: auto", "the button once more")


def paper(browser):
    """On paper nothing waits for a pointer."""
    browser.media(kind="print")
    same(browser.evaluate("getComputedStyle(document.getElementById('theme')).display"), "none", "the button on paper")
    # A4 less its margins; there nothing can be scrolled.
    browser.window(718)
    same(browser.evaluate("document.documentElement.scrollWidth <= innerWidth"), True, "it fits a sheet of paper")
    browser.window(1280)
    opened = "let n = 0; addEventListener('beforeprint', () => { n = document.querySelectorAll('.snapshot:not([hidden]) details:not(.files details):not([open])').length; window.foldedThere = n; }); 1"
    browser.evaluate(f"(() => {{ {opened} }})()")
    pdf = browser.pdf()
    same((pdf[:5], len(re.findall(rb"/Type\s*/Page\b", pdf)) >= 2), (b"%PDF-", True), "pages of paper")
    same(browser.evaluate("window.foldedThere"), 0, "what is folded on paper")
    # Kinds are told apart without colour: every kind but the common one is hatched.
    hatched = "[...document.querySelectorAll('.snapshot:not([hidden]) .grid path.free')].filter((p) => !p.matches('.m') && !(p.nextSibling && p.nextSibling.matches('.hatch'))).length"
    same(browser.evaluate(hatched), 0, "kinds without a hatching")
    browser.media()


def pointer(browser, state):
    """What is pointed at explains itself; so does what the keyboard comes to."""
    n, zone = next((n, zone) for n, zone in enumerate(state["zones"]) if any(run[0] == n for run in state["pageblocks"]))
    run = next(run for run in state["pageblocks"] if run[0] == n)
    index = run[1] // 512
    where = browser.evaluate(f"""(() => {{
      const grid = document.querySelectorAll(".snapshot:not([hidden]) .grid")[{n}];
      grid.scrollIntoView({{ block: "center" }});
      const zone = JSON.parse(document.getElementById("data").textContent)[0].zones[{n}];
      const box = grid.getBoundingClientRect(), scale = box.width / grid.viewBox.baseVal.width;
      const top = zone.tops.find(([row]) => row === Math.floor({index} / zone.columns))[1];
      return [box.left + (zone.left + ({index} % zone.columns + .5) * zone.width) * scale, box.top + (top + zone.height / 2) * scale];
    }})()""")
    browser.point(*where)
    tip = browser.evaluate("document.getElementById('tip').hidden ? null : document.getElementById('tip').textContent")
    if not tip:
        raise Wrong("pointing at a pageblock explains nothing")
    kind, free = state["migratetypes"][run[3]], sum(run[4])
    same((f"{run[1] << 12:#x}" in tip, f"Pageblock {index}: {kind}" in tip, f"Free: {free} pages" in tip), (True, True, True), f"the tip {tip!r}")
    browser.evaluate(f"document.querySelectorAll('.snapshot:not([hidden]) .grid')[{n}].focus(); 1")
    browser.key("ArrowRight")
    said = browser.evaluate("document.getElementById('said').textContent")
    same("Pageblock " in said or "not up" in said, True, f"what the keyboard comes to, {said!r}")
    browser.key("Tab")
    browser.key("Escape")
    same(browser.evaluate("document.getElementById('tip').hidden"), True, "Escape puts the tip away")
    browser.evaluate("document.querySelector('.snapshot:not([hidden]) .usage').scrollIntoView({ block: 'center' }); 1")
    spot = browser.evaluate("(() => { const b = document.querySelector('.snapshot:not([hidden]) .usage rect').getBoundingClientRect(); return [b.left + 4, b.top + 6]; })()")
    browser.point(*spot)
    same(browser.evaluate("document.getElementById('tip').textContent").startswith("free, on the lists: "), True, "the bar explains itself")
    browser.point(2, 2)


def time_line(paths):
    states = [load(path) for path in paths]
    with Browser() as browser, tempfile.TemporaryDirectory() as directory:
        out = Path(directory) / "page.html"
        same(memview(paths, out), (0, ""), "scripts/memview")
        browser.window(1280)
        browser.media()
        quiet(browser, out)
        steps = "[...document.querySelectorAll('.step')]"
        same(browser.evaluate(f"{steps}.length"), len(states), "steps")
        same(browser.evaluate("document.querySelectorAll('.multiple').length >= 6"), True, "small multiples")
        free = "document.querySelector('[data-multiple=\"Free memory\"]')"
        dots = browser.evaluate(f"[...{free}.querySelectorAll('circle')].map((c) => +c.getAttribute('cy'))")
        pages = [sum(zone["free"] for zone in state["zones"]) for state in states]
        same(sorted(range(len(pages)), key=lambda n: dots[n]), sorted(range(len(pages)), key=lambda n: -pages[n]), "more is drawn higher")
        for n, state in enumerate(states):
            compare(browser.evaluate(SHOWN), state)
            same(browser.evaluate(f"{steps}.map((b) => b.getAttribute('aria-pressed'))"), ["true" if n == m else "false" for m in range(len(states))], "the step that is chosen")
            same(browser.evaluate("document.querySelectorAll('.snapshot:not([hidden])').length"), 1, "one at a time")
            browser.evaluate("document.getElementById('next').click(); 1")
        browser.evaluate("const s = document.getElementById('slider'); s.value = 0; s.dispatchEvent(new Event('input')); 1")
        compare(browser.evaluate(SHOWN), states[0])
        browser.evaluate(f"{steps}[{len(states) - 1}].click(); 1")
        compare(browser.evaluate(SHOWN), states[-1])
        browser.media(scheme="dark")
        readable(browser, "dark", "dark")
        browser.window(800)
        same(browser.evaluate("document.documentElement.scrollWidth <= innerWidth"), True, "it fits 800 pixels")
        no_complaints(browser)


# Names that are markup, ends of elements, and what breaks JSON in a script.
EVIL = [
    "<script>alert(1)</script>", "</script><img src=x onerror=alert(2)>", "<!--<script>", "\"><svg onload=alert(3)>",
    "'-alert(4)-'", "&lt;b&gt; &amp; ]]>", "\u2028\u2029\\\"", "javascript:alert(5)",
]


def hostile(path):
    state = load(path)
    state["model"], state["cmdline"], state["kernel"], state["coherence"] = EVIL[0], " ".join(EVIL), EVIL[1], EVIL[5]
    # All of them hold slabs: the table is a long one, a part of it folded away.
    state["slabs"] = [
        dict(cache, name=f"{EVIL[n % len(EVIL)]}{n}", slabs=1, partial=0, active=n % 3, total=max(cache["objects_per_slab"], 3), pages=cache["pages_per_slab"])
        for n, cache in enumerate(state["slabs"])
    ]
    for n, area in enumerate(state["vmalloc"]["areas"]):
        area["kind"], area["caller"] = EVIL[n % len(EVIL)], EVIL[-1 - n % len(EVIL)]
    for n, region in enumerate(state["iomem"]):
        region["name"] = EVIL[n % len(EVIL)]
    for area in state["cma"]:
        area["name"] = EVIL[1]
    for zone in state["zones"]:
        zone["name"] = EVIL[1] + EVIL[3]
    for region in state["address_space"]:
        region["name"] = EVIL[1]
        for run in region["runs"]:
            run[5] = EVIL[0]
    state["meminfo"][EVIL[0]] = 7
    state["vmstat"][EVIL[3]] = 8
    with Browser() as browser, tempfile.TemporaryDirectory() as directory:
        evil, out = Path(directory) / f"{EVIL[0].replace('/', '')}.json", Path(directory) / "page.html"
        evil.write_text(json.dumps(state), encoding="utf-8")
        same(memview([evil, evil], out), (0, ""), "scripts/memview")
        browser.window(1280)
        browser.media()
        quiet(browser, out)
        compare(browser.evaluate(SHOWN), state)
        pointer(browser, state)
        same(browser.evaluate("[document.scripts.length, document.images.length, document.querySelectorAll('[onload],[onerror]').length]"), [2, 0, 0], "elements that came in by a name")
        folded = "document.querySelectorAll('.snapshot:not([hidden]) details:not(.files details):not([open])').length"
        same(browser.evaluate(folded) > 0, True, "something is folded on the screen")
        paper(browser)
        no_complaints(browser)


def scattered(huge, fragmented):
    """A machine as large as the first, all of it up, its pageblocks those of the second over
    and over."""
    state, runs = copy.deepcopy(huge), []
    for n, zone in enumerate(state["zones"]):
        source = [run for run in fragmented["pageblocks"] if run[0] == 0]
        zone["pageblocks"] = [0] * len(zone["pageblocks"])
        zone["free_blocks"] = [[0] * len(row) for row in zone["free_blocks"]]
        held = free = pcp = 0
        for index, start in enumerate(range(zone["start_pfn"], zone["end_pfn"] - 511, 512)):
            _, _, _, kind, orders, fill = source[index % len(source)]
            runs.append([n, start, 1, kind, orders, fill])
            zone["pageblocks"][kind] += 1
            held, free, pcp = held + 512, free + sum(orders), pcp + (fill[0] if fill else 0)
            zone["free_blocks"][kind][0] += sum(orders)
        zone.update(present=held, managed=held, reserved=0, free=free + pcp, buddy=free, isolated=0, deferred=0, pcp=pcp)
    state["pageblocks"], state["not_up"] = runs, []
    return state


def huge(paths):
    booted, fragmented = map(load, paths)
    pages = sum(zone["present"] for zone in booted["zones"])
    same(pages, 32 << 18, "32 GiB of RAM")
    same(Path(paths[0]).stat().st_size < 1 << 20, True, "its snapshot is less than 1 MiB long")
    with Browser() as browser, tempfile.TemporaryDirectory() as directory:
        out, made = Path(directory) / "page.html", Path(directory) / "scattered.json"
        state = scattered(booted, fragmented)
        made.write_text(json.dumps(state), encoding="utf-8")
        same(sum(run[2] for run in state["pageblocks"]), 16384, "pageblocks")
        for path, state in ((paths[0], booted), (made, state)):
            same(memview([path], out), (0, ""), "scripts/memview")
            same(out.stat().st_size < 6 << 20, True, f"a page of {out.stat().st_size} bytes")
            browser.window(1280)
            browser.media()
            quiet(browser, out)
            compare(browser.evaluate(SHOWN), state)
            pointer(browser, state)
            elements = browser.evaluate("document.querySelectorAll('*').length")
            same(elements < 6000, True, f"{elements} elements")
            no_complaints(browser)
