"""Reads a snapshot of memory (src/fs/snapshot/mod.rs) and checks that it is whole and adds up."""

import json

FORMAT = "granule memory snapshot"
VERSION = 1


class Invalid(Exception):
    """What is wrong with a snapshot, and where."""


def _fail(where, what):
    raise Invalid(f"{where}: {what}")


def _number(value, where):
    if type(value) is not int or value < 0:
        _fail(where, f"{json.dumps(value)[:40]} is no number of at least 0")
    return value


def _text(value, where):
    if not isinstance(value, str):
        _fail(where, "not a text")
    return value


def _flag(value, where):
    if not isinstance(value, bool):
        _fail(where, "neither true nor false")


def _hex(value, where):
    try:
        number = int(_text(value, where), 16)
    except ValueError:
        number = -1
    if not value.startswith("0x") or number < 0:
        _fail(where, f"{value[:40]!r} is no address")
    return number


def _array(value, where, length=None):
    if not isinstance(value, list):
        _fail(where, "not an array")
    if length is not None and len(value) != length:
        _fail(where, f"{len(value)} entries where there should be {length}")
    return value


def _numbers(value, where, length=None):
    for n, each in enumerate(_array(value, where, length)):
        _number(each, f"{where}[{n}]")
    return value


def _object(value, where, numbers=(), texts=(), flags=()):
    if not isinstance(value, dict):
        _fail(where, "not an object")
    for names, check in ((numbers, _number), (texts, _text), (flags, _flag)):
        for name in names:
            if name not in value:
                _fail(where, f"there is no {name!r}")
            check(value[name], f"{where}.{name}")
    return value


def _equal(is_, should, where, what):
    if is_ != should:
        _fail(where, f"{what} is {is_}, and its parts come to {should}")


def _range(value, where):
    _object(value, where, texts=("start", "end"))
    if _hex(value["start"], f"{where}.start") >= _hex(value["end"], f"{where}.end"):
        _fail(where, "it ends before it starts")


ZONE_NUMBERS = (
    "node start_pfn end_pfn present offline managed reserved free buddy isolated deferred pcp "
    "cma free_cma min low high boost pcp_high pcp_batch"
).split()
SLAB_NUMBERS = (
    "active total object_size size objects_per_slab pages_per_slab slabs pages partial in_sheaves"
).split()


def _zone(zone, where, snapshot):
    orders, types = snapshot["max_order"] + 1, len(snapshot["migratetypes"])
    _object(zone, where, numbers=ZONE_NUMBERS, texts=("name",))
    for name, length in (("pageblocks", types), ("unusable_index", orders), ("lowmem_reserve", None), ("pcp_by_cpu", None)):
        _numbers(zone.get(name), f"{where}.{name}", length)
    rows = _array(zone.get("free_blocks"), f"{where}.free_blocks", types)
    for n, row in enumerate(rows):
        _numbers(row, f"{where}.free_blocks[{n}]", orders)
    if zone["start_pfn"] >= zone["end_pfn"]:
        _fail(where, "it ends before it starts")
    if max(zone["unusable_index"]) > 1000:
        _fail(f"{where}.unusable_index", "more than a thousand thousandths")
    _equal(zone["present"], zone["managed"] + zone["reserved"], where, "present")
    _equal(zone["free"], sum(zone[name] for name in ("buddy", "isolated", "deferred", "pcp")), where, "free")
    listed = sum(blocks << order for row in rows for order, blocks in enumerate(row))
    _equal(zone["buddy"] + zone["isolated"], listed, where, "what the free lists hold")
    if zone["free"] > zone["managed"]:
        _fail(where, "more pages are free than managed")


def _pageblocks(snapshot):
    size = 1 << snapshot["pageblock_order"]
    last = {}
    for n, run in enumerate(_array(snapshot.get("pageblocks"), "pageblocks")):
        where = f"pageblocks[{n}]"
        _array(run, where, 6)
        zone, start, blocks, migratetype = (_number(value, where) for value in run[:4])
        free, fill = _numbers(run[4], f"{where}[4]"), _numbers(run[5], f"{where}[5]")
        if zone >= len(snapshot["zones"]):
            _fail(where, f"there is no zone {zone}")
        if migratetype >= len(snapshot["migratetypes"]):
            _fail(where, f"there is no migratetype {migratetype}")
        if len(free) > snapshot["max_order"] + 1 or len(fill) > len(snapshot["fills"]):
            _fail(where, "more orders or fills than there are")
        if blocks == 0 or start % size or start < last.get(zone, 0):
            _fail(where, "out of order, or no whole pageblock")
        last[zone] = start + blocks * size
        _equal(sum(free) + sum(fill), size, where, "a pageblock's pages")
    for n, part in enumerate(_array(snapshot.get("not_up"), "not_up")):
        zone, _, pages, free = _numbers(part, f"not_up[{n}]", 4)
        if zone >= len(snapshot["zones"]) or free > pages or pages == 0:
            _fail(f"not_up[{n}]", "no such zone, or more pages free than there are")


def _address_space(snapshot):
    for n, region in enumerate(_array(snapshot.get("address_space"), "address_space")):
        where = f"address_space[{n}]"
        _object(region, where, texts=("name",), numbers=("runs_left_out", "bytes_left_out"))
        start, end = (_hex(va, where) for va in _array(region.get("range"), where, 2))
        at = start
        for m, run in enumerate(_array(region.get("runs"), f"{where}.runs")):
            here = f"{where}.runs[{m}]"
            _array(run, here, 7)
            first, last = _hex(run[0], here), _hex(run[1], here)
            if not at <= first < last <= end:
                _fail(here, "outside its region, or out of order")
            at = last
            for word, known in ((2, ("PGD", "PUD", "PMD", "PTE")), (3, ("RW", "ro")), (4, ("x", "NX"))):
                if run[word] not in known:
                    _fail(here, f"{json.dumps(run[word])[:40]} is none of {', '.join(known)}")
            _text(run[5], here)
            _flag(run[6], here)


def check(snapshot):
    """Raises Invalid where a snapshot is not whole, or does not add up."""
    if not isinstance(snapshot, dict) or snapshot.get("format") != FORMAT:
        _fail("format", f"this is no {FORMAT}")
    if snapshot.get("version") != VERSION:
        _fail("version", f"{json.dumps(snapshot.get('version'))[:40]}, and this program knows {VERSION}")
    _object(
        snapshot,
        "the snapshot",
        numbers=("time_us", "page_size", "pageblock_order", "max_order", "poisoned"),
        texts=("kernel", "model", "cmdline", "coherence"),
    )
    if snapshot["page_size"] != 4096 or not 0 < snapshot["pageblock_order"] <= snapshot["max_order"] <= 16:
        _fail("page_size", "pages and blocks of another size than 4 KiB and 2 to 2^16 of them")
    _numbers(snapshot.get("cpus"), "cpus")
    for name in ("migratetypes", "fills"):
        for each in _array(snapshot.get(name), name):
            _text(each, name)
    for n, node in enumerate(_array(snapshot.get("nodes"), "nodes")):
        _object(node, f"nodes[{n}]", numbers=("node",))
        _numbers(node.get("cpus"), f"nodes[{n}].cpus")
        _numbers(node.get("distances"), f"nodes[{n}].distances")
    if not _array(snapshot.get("zones"), "zones"):
        _fail("zones", "there are none")
    for n, zone in enumerate(snapshot["zones"]):
        _zone(zone, f"zones[{n}]", snapshot)
    _pageblocks(snapshot)
    _object(snapshot.get("memblock"), "memblock")
    for name in ("memory", "reserved"):
        for n, region in enumerate(_array(snapshot["memblock"].get(name), f"memblock.{name}")):
            _range(region, f"memblock.{name}[{n}]")
    for name in ("reserved_mem", "iomem"):
        for n, region in enumerate(_array(snapshot.get(name), name)):
            _range(region, f"{name}[{n}]")
            _text(region.get("name"), f"{name}[{n}].name")
    for n, area in enumerate(_array(snapshot.get("cma"), "cma")):
        where = f"cma[{n}]"
        numbers = ("start_pfn", "pages", "allocated", "longest_free", "successes", "failures")
        _object(area, where, numbers=numbers, texts=("name",), flags=("active", "default"))
        if area["allocated"] > area["pages"]:
            _fail(where, "more is allocated than there is")
    for n, cache in enumerate(_array(snapshot.get("slabs"), "slabs")):
        where = f"slabs[{n}]"
        _object(cache, where, numbers=SLAB_NUMBERS, texts=("name",), flags=("reclaimable",))
        if cache["active"] > cache["total"] or cache["partial"] > cache["slabs"]:
            _fail(where, "more objects are active than there are, or more slabs partial")
    vmalloc = _object(snapshot.get("vmalloc"), "vmalloc", numbers=("allocated", "areas_left_out"))
    for n, area in enumerate(_array(vmalloc.get("areas"), "vmalloc.areas")):
        where = f"vmalloc.areas[{n}]"
        _object(area, where, numbers=("pages",), texts=("kind", "caller"))
        start, end = (_hex(va, where) for va in _array(area.get("range"), where, 2))
        if start >= end:
            _fail(where, "it ends before it starts")
    _address_space(snapshot)
    for name in ("meminfo", "vmstat"):
        for key, value in _object(snapshot.get(name), name).items():
            _number(value, f"{name}.{key}")
    for name in ("MemTotal", "MemFree", "Slab", "PageTables", "VmallocUsed"):
        if name not in snapshot["meminfo"]:
            _fail("meminfo", f"there is no {name!r}")
    return snapshot


def _unique(pairs):
    """An object, none of whose names is there twice."""
    result = dict(pairs)
    if len(result) != len(pairs):
        _fail("an object", "a name is there twice")
    return result


def parse(text):
    """The snapshot of a text; raises Invalid."""
    try:
        snapshot = json.loads(text, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as why:
        raise Invalid(f"not JSON: {why}") from None
    return check(snapshot)


def load(path):
    """The snapshot in a file; raises Invalid."""
    try:
        with open(path, encoding="utf-8") as file:
            return parse(file.read())
    except UnicodeDecodeError:
        raise Invalid("not UTF-8") from None
    except OSError as why:
        raise Invalid(why.strerror) from None
