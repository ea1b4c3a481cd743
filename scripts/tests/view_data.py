"""Snapshots against the kernel's files, altered ones, and those over a serial line."""

import copy
import json
import re
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from view_common import SCRIPTS, Wrong, load, memview, same


def figures(text):
    words = (line.replace(":", " ").split() for line in text.splitlines())
    return {word[0]: int(word[1]) for word in words}


def files(dump):
    """The snapshot in a dump says what the files beside it say, which were read at the same
    moment: nothing was allocated between."""
    parts = re.split(r"^=== (\S+)\n", Path(dump).read_text(errors="replace").replace("\r", ""), flags=re.M)
    texts = dict(zip(parts[1::2], parts[2::2]))
    if "end" not in texts:
        raise Wrong("the dump is not whole")
    state = json.loads(texts["/sys/kernel/debug/memory_snapshot"])
    zones = {(zone["node"], zone["name"]): zone for zone in state["zones"]}
    types = state["migratetypes"]

    same(state["meminfo"], figures(texts["/proc/meminfo"]), "meminfo")
    same(state["vmstat"], figures(texts["/proc/vmstat"]), "vmstat")
    same(state["cmdline"], texts["/proc/cmdline"].rstrip("\n"), "cmdline")

    seen = 0
    for line in texts["/proc/buddyinfo"].splitlines():
        node, name, *blocks = re.match(r"Node (\d+), zone +(\S+) +(.*)", line).groups()
        rows = zones[int(node), name]["free_blocks"]
        same([sum(row[order] for row in rows) for order in range(11)], list(map(int, blocks[0].split())), "buddyinfo")
        seen += 1
    same(seen, len(zones), "zones of buddyinfo")

    seen = 0
    for line in texts["/proc/pagetypeinfo"].splitlines():
        if match := re.match(r"Node +(\d+), zone +(\S+), type +(\S+) +(.*)", line):
            node, name, kind, blocks = match.groups()
            row = zones[int(node), name]["free_blocks"][types.index(kind)]
            same(row, list(map(int, blocks.split())), f"pagetypeinfo of {kind}")
            seen += 1
        elif match := re.match(r"Node +(\d+), zone +(\S+) +([\d ]+)$", line):
            node, name, blocks = match.groups()
            same(zones[int(node), name]["pageblocks"], list(map(int, blocks.split())), "pageblocks by type")
            seen += 1
    same(seen, len(zones) * (len(types) + 1), "lines of pagetypeinfo")

    seen = 0
    for part in re.split(r"^(?=Node )", texts["/proc/zoneinfo"], flags=re.M)[1:]:
        node, name = re.match(r"Node (\d+), zone +(\S+)", part).groups()
        zone = zones.get((int(node), name))
        if zone is None:
            continue
        figure = lambda word: int(re.search(rf"^ +{word} +(\d+)$", part, re.M).group(1))
        for word in ("present", "managed", "cma", "min", "boost"):
            same(zone[word], figure(word), f"zoneinfo's {word}")
        for word in ("low", "high"):
            same(zone[word] + zone["boost"], figure(word), f"zoneinfo's {word}")
        same(zone["end_pfn"] - zone["start_pfn"], figure("spanned"), "spanned")
        same((zone["free"], zone["pcp"], zone["deferred"], zone["free_cma"]), tuple(map(figure, ("nr_free_pages", "nr_free_pcp", "nr_free_deferred", "nr_free_cma"))), "free")
        same(zone["pcp_by_cpu"], list(map(int, re.findall(r"^ +count: +(\d+)$", part, re.M))), "pages on CPUs")
        seen += 1
    same(seen, len(zones), "zones of zoneinfo")

    lines = [line.split() for line in texts["/proc/slabinfo"].splitlines()[2:]]
    told = [[c["name"], c["active"], c["total"], c["size"], c["objects_per_slab"], c["pages_per_slab"], c["slabs"]] for c in state["slabs"]]
    same(told, [[l[0], *map(int, l[1:6]), int(l[14])] for l in lines], "slabinfo")

    areas = [tuple(int(at, 16) for at in line.split()[0].split("-")) for line in texts["/proc/vmallocinfo"].splitlines()]
    same([tuple(int(at, 16) for at in area["range"]) for area in state["vmalloc"]["areas"]], areas, "vmallocinfo")

    mapped = {}
    region = None
    for line in texts["/sys/kernel/debug/kernel_page_tables"].splitlines():
        if match := re.match(r"---\[ (.*) (start|end) \]---", line):
            region = match.group(1) if match.group(2) == "start" else None
            mapped.setdefault(match.group(1), [])
        elif region:
            span, _, level, *rest = line.split()
            start, end = (int(at, 16) for at in span.split("-"))
            mapped[region].append([start, end, level, "RW" if "RW" in rest else "ro", "NX" if "NX" in rest else "x", rest[-1]])
    told = {of["name"]: [[int(run[0], 16), int(run[1], 16), *run[2:6]] for run in of["runs"]] for of in state["address_space"]}
    same(told, mapped, "page tables")

    for kind in ("memory", "reserved"):
        spans = re.findall(r": (0x[0-9a-f]+)\.\.(0x[0-9a-f]+)", texts[f"/sys/kernel/debug/memblock/{kind}"])
        spans = [(int(start, 16), int(end, 16) + 1) for start, end in spans]
        same([(int(r["start"], 16), int(r["end"], 16)) for r in state["memblock"][kind]], spans, f"memblock {kind}")
    iomem = [(int(a, 16), int(b, 16) + 1, name) for a, b, name in re.findall(r"^ *([0-9a-f]+)-([0-9a-f]+) : (.*)$", texts["/proc/iomem"], re.M)]
    same([(int(r["start"], 16), int(r["end"], 16), r["name"]) for r in state["iomem"]], iomem, "iomem")
    for area in state["cma"]:
        for key, name in (("pages", "count"), ("allocated", "used"), ("longest_free", "maxchunk"), ("start_pfn", "base_pfn")):
            same(area[key], int(texts[f"/sys/kernel/debug/cma/{area['name']}/{name}"]), f"CMA's {name}")

    # What fills the pageblocks, against the allocators' walks of all frames.
    walked = dict(re.findall(r"^pages (\S+) (\d+)$", texts["figures"], re.M))
    use = dict.fromkeys(state["fills"], 0)
    free = 0
    for run in state["pageblocks"]:
        free += run[2] * sum(run[4])
        for name, pages in zip(state["fills"], run[5]):
            use[name] += run[2] * pages
    same(use["slab"], int(walked["Slab"]), "pages of slabs")
    same(use["page_table"], int(walked["PageTables"]), "pages of tables")
    same(use["vmalloc"], int(walked["VmallocUsed"]), "pages of vmalloc")
    down = sum(part[3] for part in state["not_up"])
    same(free + use["pcp"] + down, int(walked["MemFree"]), "free pages")
    held = sum(area["allocated"] for area in state["cma"])
    same(use["cma"], held, "pages of CMA")
    same(down, sum(zone["deferred"] for zone in state["zones"]), "pages that are not up")
    reserved = use["reserved"] + use["vmemmap"] + sum(part[2] - part[3] for part in state["not_up"])
    same(reserved, sum(zone["reserved"] for zone in state["zones"]), "reserved pages")
    for n, zone in enumerate(state["zones"]):
        by_type = [0] * len(types)
        for run in state["pageblocks"]:
            if run[0] == n:
                by_type[run[3]] += run[2]
        same(by_type, zone["pageblocks"], "pageblocks by type, one by one")


def alterations(state):
    """Ways to spoil a snapshot: a name, and what does it."""
    def drop(path):
        def f(s):
            *way, last = path
            for step in way:
                s = s[step]
            del s[last]
        return f

    def put(value, *path):
        def f(s):
            *way, last = path
            for step in way:
                s = s[step]
            s[last] = value(s[last]) if callable(value) else value
        return f

    for key in state:
        yield f"without {key}", drop([key])
    for key in state["zones"][0]:
        yield f"a zone without {key}", drop(["zones", 0, key])
    for key in state["slabs"][0]:
        yield f"a cache without {key}", drop(["slabs", 0, key])
    more = lambda value: value + 1
    yield "another format", put("other", "format")
    yield "a later version", put(more, "version")
    yield "one free page more", put(more, "zones", 0, "free")
    yield "one managed page more", put(more, "zones", 0, "managed")
    yield "a free block more", put(more, "zones", 0, "free_blocks", 1, 0)
    yield "a page more in a pageblock", put(lambda fill: [*fill, 1][:12] if len(fill) < 12 else fill[:-1] + [fill[-1] + 1], "pageblocks", 0, 5)
    yield "a migratetype that there is not", put(99, "pageblocks", 0, 3)
    yield "a zone that there is not", put(9, "pageblocks", 0, 0)
    yield "a figure below 0", put(-1, "zones", 0, "min")
    yield "a figure that is text", put("7", "meminfo", "MemFree")
    yield "a figure that is a truth", put(True, "meminfo", "MemFree")
    yield "a share of more than all", put([1001] * 11, "zones", 0, "unusable_index")
    yield "more objects than there are", put(1 << 40, "slabs", 0, "active")
    yield "an address that is none", put("0xfffg", "address_space", 0, "runs", 0, 0)
    yield "a permission that is none", put("rw", "address_space", 0, "runs", 0, 3)
    yield "a mapping out of order", lambda s: s["address_space"][0]["runs"].reverse()
    yield "pageblocks out of order", lambda s: s["pageblocks"].reverse()
    yield "a region that ends before it starts", put("0x0", "memblock", "reserved", 0, "end")
    yield "a list that is none", put({}, "slabs")


def tampered(path):
    state, text = load(path), Path(path).read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as directory:
        bad, out = Path(directory) / "bad.json", Path(directory) / "out.html"
        same(memview([path], out)[0], 0, "the snapshot as it is")
        if not out.exists():
            raise Wrong("no page was made")
        out.unlink()

        def refused(name, content):
            bad.write_bytes(content)
            code, said = memview([path, bad], out)
            if code != 1 or out.exists() or not said.startswith(f"error: {bad}: ") or "Traceback" in said:
                raise Wrong(f"{name}: exit code {code}, said {said[-300:]!r}, page {out.exists()}")
            same.compared += 1

        tried = 0
        for name, spoil in alterations(state):
            altered = copy.deepcopy(state)
            spoil(altered)
            same(altered != state, True, f"{name} alters it")
            refused(name, json.dumps(altered).encode())
            tried += 1
        same(tried > 60, True, "there are many alterations")
        for name, content in (
            ("empty", b""),
            ("cut in the middle", text.encode()[: len(text) // 2]),
            ("cut before the end", text.rstrip().encode()[:-1]),
            ("two of them", (text + text).encode()),
            ("no UTF-8", text.encode().replace(b"Granule", b"\xff\xfe", 1)),
            ("a name twice", text.replace('"version":1', '"version":1,"version":1', 1).encode()),
            ("deep", b"[" * 200_000),
            ("a number", b"7"),
        ):
            refused(name, content)
        code, said = memview([Path(directory) / "none.json"], out)
        same((code, "No such file" in said), (1, True), "a file that is not there")
        same(memview([], out)[0], 2, "no snapshot")


def attach(path):
    """A stand-in for a monitor, which echoes what is typed, ends lines as terminals do, and
    lets the kernel's log come between; slowly, and cut anywhere."""
    text = Path(path).read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as directory:
        at, out = f"{directory}/serial", Path(directory) / "out.json"

        def monitor(listener, text, stays):
            with listener.accept()[0] as line:
                typed = b""
                while b"memory_snapshot\r" not in typed:
                    more = line.recv(64)
                    if not more:
                        return
                    typed += more
                    line.sendall(more)
                lines = text.split("\n")
                lines.insert(len(lines) // 2, "[   12.345678] warning: something happened")
                answer = "\r\n" + "\r\n".join(lines) + "granule> "
                for start in range(0, len(answer), 1000):
                    line.sendall(answer[start : start + 1000].encode())
                # A terminal stays open; a kernel that ends closes the line.
                if stays:
                    line.recv(1)

        for content, code in ((text, 0), (text.replace('"zones"', '"sones"', 1), 1)):
            with socket.socket(socket.AF_UNIX) as listener:
                Path(at).unlink(missing_ok=True)
                listener.bind(at)
                listener.listen()
                thread = threading.Thread(target=monitor, args=(listener, content, code == 0), daemon=True)
                thread.start()
                command = [SCRIPTS / "snapshot", out, "--attach", at]
                run = subprocess.run(command, capture_output=True, text=True)
                same((run.returncode, out.exists()), (code, code == 0), f"--attach, which said {run.stderr[-300:]}")
                if code == 0:
                    same(load(out), json.loads(text), "what came over the line")
                    out.unlink()


def monitor(image):
    """The monitor of a kernel that runs, asked twice; between, somebody allocates 2 MiB."""
    with tempfile.TemporaryDirectory() as directory:
        at, out = f"{directory}/serial", Path(directory) / "out.json"
        runner = [SCRIPTS / "qemu-runner", image, "--monitor", "--console", at, "--mem", "256M", "--append", "cma=16M"]
        kernel = subprocess.Popen(runner, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        try:
            while not Path(at).exists():
                if kernel.poll() is not None:
                    raise Wrong(f"QEMU ended with {kernel.returncode}")
                time.sleep(0.05)
            states = []
            for command in ("\r", "alloc pages 9\r"):
                with socket.socket(socket.AF_UNIX) as line:
                    line.connect(at)
                    line.sendall(command.encode())
                    said = b""
                    while not re.search(rb"granule> (\x1b\[K)?$", said) or (len(command) > 1 and b"1: pages" not in said):
                        more = line.recv(4096)
                        if not more:
                            raise Wrong(f"the line was closed after {said[-300:]}")
                        said += more
                run = subprocess.run([SCRIPTS / "snapshot", out, "--attach", at], capture_output=True, text=True)
                same(run.returncode, 0, f"--attach, which said {run.stderr[-300:]}")
                states.append(load(out))
            same(["cma=16M" in state["cmdline"].split() for state in states], [True, True], "the command line")
            less = states[0]["meminfo"]["MemFree"] - states[1]["meminfo"]["MemFree"]
            same(2048 <= less < 2048 + 256, True, f"{less} kB less are free after 2 MiB were allocated")
            with socket.socket(socket.AF_UNIX) as line:
                line.connect(at)
                line.sendall(b"poweroff\r")
                while line.recv(4096):
                    pass
            same(kernel.wait(), 0, "the kernel's exit code")
        finally:
            kernel.kill()
            kernel.wait()
