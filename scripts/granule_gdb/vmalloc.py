"""`gr vmalloc [all]`: the areas of the vmalloc range (src/mm/vmalloc)."""

from . import source
from .target import Error
from .values import Place, lookup_type, static, stride

LIVE = 0xFFFF_FFFF
DIR = 512
AREA_LIMIT = 1 << 21
PAGE = 4096
# Of a tree of ranges (src/collections/range_tree): levels at most, and bits of a value.
DEPTH = 12
VALUE_BITS = 28


class Slots:
    """A table of slots (src/collections/slots.rs)."""

    def __init__(self, table):
        self._at = table
        try:
            self.value = table.type.template_argument(0)
        except (RuntimeError, ValueError) as error:
            raise Error(f"the slots' type is not in the symbols: {error}") from None
        align = max(self.value.alignof, 4)
        # Slot<T> is a u32 and T, in C's layout; slots are a power of two apart, or three quarters of one.
        self.offset = align
        size = self.offset + stride(self.value)
        power = 1 << (size - 1).bit_length()
        self.size = power // 4 * 3 if size <= power // 4 * 3 else power
        self.shift = (4096 // self.size - 1).bit_length()

    def get(self, number):
        """The value of a live slot."""
        page, slot = number >> self.shift, number & (1 << self.shift) - 1
        root = self._at["root"]
        directory = root[page // DIR].int() if page // DIR < len(root) else 0
        word = root[0].type
        entry = Place(word, directory + 8 * (page % DIR)).int() if directory else 0
        if not entry or entry & 1:
            raise Error(f"slot {number:#x} is in no page: the tree is damaged")
        at = entry + slot * self.size
        if Place(lookup_type("u32"), at).int() != LIVE:
            raise Error(f"slot {number:#x} is not live: the tree is damaged")
        return Place(self.value, at + self.offset)


def space():
    """The address space, with its table of areas and its tree."""
    return static("granule::mm::vmalloc::VMAP")["space"]


def entries(node):
    """The entries of a node in order: the first page, the value, and the end or bound."""
    order = node["order"]["__0"].int()
    for index in range(order & 15):
        place = order >> 4 * index + 4 & 15
        word = node["words"][place].int()
        yield word >> VALUE_BITS, word & (1 << VALUE_BITS) - 1, node["extra"][place].int()


def walk(nodes, number, level, part, found, wrong):
    """Adds the ranges below a node to `found`, and what is wrong there to `wrong`. The node has the
    pages of `part`. Returns the largest gap there."""
    start, end = part
    below, largest = list(entries(nodes.get(number))), 0
    firsts = [first for first, _, _ in below] + [end]
    if not level:
        largest = max(0, firsts[0] - start)
    for index, (first, value, extra) in enumerate(below):
        if len(found) > AREA_LIMIT:
            raise Error("the tree of areas has no end")
        if not level:
            found.append((first, extra, value))
            gap = firsts[index + 1] - extra
            if gap < 0:
                wrong.append(f"pages {first:#x} to {extra:#x} reach beyond {firsts[index + 1]:#x}")
        else:
            inside = (first if index else start, firsts[index + 1])
            gap = walk(nodes, value, level - 1, inside, found, wrong)
            if gap > extra:
                wrong.append(f"a gap of {gap:#x} pages from {first:#x} on, where the bound is {extra:#x}")
        largest = max(largest, gap)
    return largest


def areas(wrong):
    """All areas in the order of their addresses. Adds what is wrong with the tree to `wrong`."""
    tree, records = space()["tree"], Slots(space()["areas"])
    root, height, found = tree["root"].int(), tree["height"].int(), []
    if height >= DEPTH:
        raise Error(f"the tree of areas has {height} levels: it is damaged")
    if root:
        walk(Slots(tree["nodes"]), root, height, (0, tree["end"].int()), found, wrong)
    base = space()["range"].range()[0]
    for first, end, number in found:
        item = records.get(number)
        pages = tuple((at - base) // PAGE for at in item["range"].range())
        if pages != (first, end):
            wrong.append(f"area {number} has pages {pages[0]:#x} to {pages[1]:#x}, in the tree {first:#x} to {end:#x}")
        yield item


def pooled():
    """Where the areas start that are in the pools."""
    records = Slots(space()["areas"])
    starts = set()
    for head in static("granule::mm::vmalloc::VMAP")["pools"]:
        at = head.int()
        while at:
            item = records.get(at)
            start = item["range"].range()[0]
            if start in starts:
                raise Error(f"a pool of areas comes back to {start:#x}")
            starts.add(start)
            at = item["data"]["next"].int()
    return starts


def flag_table():
    """The flags of areas."""
    return dict(source.flags("mm/vmalloc/area.rs", "VmFlags"))


def line(item):
    """An area as in the kernel's /proc/vmallocinfo."""
    start, end = item["range"].range()
    data, flags = item["data"], flag_table()
    bits = data["flags"].int()
    caller = data["caller"].target()
    place = f"{caller['filename']['pointer'].str()}:{caller['line'].int()}"
    text = f"{start:#018x}-{end:#018x} {end - start:7} {place}"
    if bits & (flags.get("VM_ALLOC", 0) | flags.get("VM_MAP", 0)):
        text += f" pages={data['nr_pages'].int()}"
    if bits & flags.get("VM_IOREMAP", 0):
        text += f" phys={data['phys'].int():#018x} ioremap"
    if bits & flags.get("VM_ALLOC", 0):
        text += " vmalloc"
    if bits & flags.get("VM_MAP", 0):
        text += " vmap"
    if bits & flags.get("VM_DMA_COHERENT", 0):
        text += " dma-coherent"
    if bits & flags.get("VM_MAP_RAM", 0):
        text += " vm_map_ram"
    return text


def show(what):
    """The lines of `gr vmalloc [all]`."""
    if what not in ("", "all"):
        raise Error("gr vmalloc [all]")
    states, wrong = {}, []
    in_pools = pooled()
    for item in areas(wrong):
        start, end = item["range"].range()
        state = item["data"]["state"].variant()
        if state == "Unused":
            state = "Pooled" if start in in_pools else "Lazy"
        pages, count = states.get(state, (0, 0))
        states[state] = (pages + (end - start) // 4096, count + 1)
        if state == "Busy":
            yield line(item)
        elif what == "all":
            yield f"{start:#018x}-{end:#018x} {end - start:7} {state.lower()}"
    for state, (pages, count) in states.items():
        name = "in use" if state == "Busy" else state.lower()
        yield f"{name}: {count} areas, {pages} pages of addresses"
    vmap = static("granule::mm::vmalloc::VMAP")
    stat = {name: vmap["stat"][name].int() for name in ("mapped", "lazy", "lazy_frames", "pooled")}
    yield "pages: " + ", ".join(f"{name} {figure}" for name, figure in stat.items())
    for state, name in (("Lazy", "lazy"), ("Pooled", "pooled")):
        pages = states.get(state, (0, 0))[0]
        if pages != stat[name] and not vmap["purging"].int():
            wrong.append(f"areas that are {name} have {pages} pages, and the count says {stat[name]}")
    for fault in wrong:
        yield f"! {fault}"
