"""`gr vmalloc [all]`: the areas of the vmalloc range (src/mm/vmalloc)."""

from . import source
from .target import Error
from .values import Place, lookup_type, static, stride

LIVE = 0xFFFF_FFFF
DIR = 512
AREA_LIMIT = 1 << 21


class Slots:
    """A table of slots (src/collections/slots.rs)."""

    def __init__(self, table):
        self._at = table
        try:
            self.value = table.type.template_argument(0)
        except (RuntimeError, ValueError) as error:
            raise Error(f"the slots' type is not in the symbols: {error}") from None
        align = max(self.value.alignof, 4)
        # Slot<T> is a u32 and T, in C's layout; slots are a power of two apart.
        self.offset = align
        size = self.offset + stride(self.value)
        self.size = 1 << (size - 1).bit_length()
        self.shift = (4096 // self.size).bit_length() - 1

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


def areas():
    """All areas in the order of their addresses."""
    tree = static("granule::mm::vmalloc::VMAP")["space"]["tree"]
    slots = Slots(tree["slots"].inner())
    stack, at, count = [], tree["root"]["top"].int(), 0
    while stack or at:
        while at:
            node = slots.get(at)
            stack.append(node)
            at = node["sides"][0]["top"].int()
            if len(stack) > 64:
                raise Error("the tree of areas has no end")
        node = stack.pop()
        count += 1
        if count > AREA_LIMIT:
            raise Error("the tree of areas has no end")
        yield node["item"]
        at = node["sides"][1]["top"].int()


def pooled():
    """Where the areas start that are in the pools."""
    vmap = static("granule::mm::vmalloc::VMAP")
    slots = Slots(vmap["space"]["tree"]["slots"].inner())
    starts = set()
    for head in vmap["pools"]:
        at = head.int()
        while at:
            item = slots.get(at)["item"]
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
    states, below, wrong = {}, None, []
    in_pools = pooled()
    for item in areas():
        start, end = item["range"].range()
        state = item["data"]["state"].variant()
        if state == "Unused":
            state = "Pooled" if start in in_pools else "Lazy"
        pages, count = states.get(state, (0, 0))
        states[state] = (pages + (end - start) // 4096, count + 1)
        if below is not None and start - item["gap"].int() != below:
            wrong.append(f"the gap below {start:#x} is {item['gap'].int():#x}, from {below:#x} on")
        below = end
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
