"""`gr slabs [NAME]`: the slab caches (src/mm/slab)."""

from . import source
from .page import MAX_ORDER, Page, frame_text, from_link, phys
from .target import Error
from .values import Place, lookup_type, of_cpus, static, typed

END = 0xFFFF
LIST_LIMIT = 1 << 16


def capacity(top):
    """How many objects a sheaf holds at most, by the place of its top."""
    size = lookup_type("granule::mm::slab::sheaf::Sheaf").sizeof
    return typed("granule::mm::slab::sheaf::Sheaf", top & -size)["capacity"].int()


def held(top):
    """Objects in a sheaf, by the place of its top."""
    size = lookup_type("granule::mm::slab::sheaf::Sheaf").sizeof
    return max(capacity(top) - top % size // 8, 0)


class Cache:
    """A kmem cache."""

    def __init__(self, place):
        self._at = place
        self.address = place.address
        self.name = place["name"].str()
        self.layout = {
            name: place["setup"]["layout"][name].int()
            for name in ("object_size", "size", "red_left", "offset", "align", "order", "min_order")
        }

    def sheaves(self):
        """The tops of the sheaves on CPUs: (CPU, main, spare)."""
        for cpu, slot in enumerate(of_cpus(self._at["cpu"])):
            yield cpu, slot["main"].int(), slot["spare"].int()

    def nodes(self):
        """Its shares of all nodes (src/mm/slab/nodes.rs)."""
        nodes = self._at["nodes"]
        first, start = nodes["first"], nodes["further"].int()
        yield first
        for index in range(nodes["len"].int() if start else 0):
            yield Place(first.type, start + index * first.type.sizeof)

    def barn(self):
        """The tops of the full and the empty sheaves of all nodes' barns."""
        for kind in ("full", "empty"):
            barns = [node["barn"][kind] for node in self.nodes()]
            yield kind, [barn["xs"][n].int() for barn in barns for n in range(barn["len"].int())]

    def sum(self, count):
        """A count of all nodes together: slabs, total or in_use."""
        return sum(node[count].int() for node in self.nodes())

    def in_sheaves(self):
        """Free objects in sheaves."""
        on_cpus = sum(held(main) + held(spare) for _, main, spare in self.sheaves())
        return on_cpus + sum(map(held, dict(self.barn())["full"]))

    def objects(self, order):
        """Objects in a slab of an order."""
        return (4096 << order) // self.layout["size"]

    def line(self):
        """As in the kernel's /proc/slabinfo."""
        layout = self.layout
        active = max(self.sum("in_use") - self.in_sheaves(), 0)
        return (
            f"{self.name:<17} {active:>6} {self.sum('total'):>6} {layout['size']:>6} "
            f"{self.objects(layout['order']):>4} {1 << layout['order']:>4} {self.sum('slabs'):>6}"
        )

    def partial(self):
        """Walks the partial slabs of all nodes: (frames, what is wrong or None)."""
        frames = []
        for node in self.nodes():
            of_node, fault = self._partial_of(node)
            frames += of_node
            if fault:
                return frames, fault
        return frames, None

    def _partial_of(self, node):
        partial = node["partial"]
        frames, at = [], from_link(partial["first"].int())
        before = None
        while at is not None:
            page = Page(at)
            if len(frames) > LIST_LIMIT:
                return frames, "the list of partial slabs has no end"
            if not (page.has("SLAB") and page.has("HEAD")) or page.owner != self.address:
                return frames, f"{frame_text(at)} is on the list, and no slab of this cache"
            if page.prev != before:
                return frames, f"the way back from {frame_text(at)} leads elsewhere"
            frames.append(at)
            before, at = at, page.next
        if len(frames) != partial["len"].int() or before != from_link(partial["last"].int()):
            return frames, f"{len(frames)} partial slabs, and the list says {partial['len'].int()}"
        return frames, None


def caches():
    """All caches in the order of creation."""
    place = static("granule::mm::slab::caches::SLAB_CACHES")["first"]
    found = []
    while place["to"].int():
        cache = Cache(place["to"].target())
        found.append(cache)
        if len(found) > LIST_LIMIT:
            raise Error("the list of caches has no end")
        place = cache._at["link"]
    return found


def counters(page):
    """Objects in use and the first free one, as a slab's head keeps them."""
    return page.mapcount >> 16, page.mapcount & 0xFFFF


def slab_line(head):
    """What a slab is, by its head frame."""
    page = Page(head)
    named = {cache.address: cache for cache in caches()}
    cache = named.get(page.owner)
    if cache is None:
        return f"a slab whose owner, {page.owner:#x}, is no cache"
    in_use, free = counters(page)
    total = cache.objects(page.order if page.order <= MAX_ORDER else cache.layout["order"])
    first = "none free" if free == END else f"first free {free}"
    return (
        f"slab of {cache.name} at {source.start_of('LINEAR') + phys(head):#x}, order {page.order}: "
        f"{in_use} of {total} objects in use, {first}"
    )


def _details(cache):
    layout = cache.layout
    flags = source.render(cache._at["setup"]["flags"].int(), source.flags("mm/slab/flags.rs", "SlabFlags"))
    yield (
        f"  at {cache.address:#x}: objects of {layout['object_size']} bytes every {layout['size']}, "
        f"aligned to {layout['align']}, free link at {layout['offset']}, SlabFlags({flags})"
    )
    yield (
        f"  {cache.sum('slabs')} slabs with {cache.sum('total')} objects, "
        f"{cache.sum('in_use')} out of their slabs, {cache.in_sheaves()} of them in sheaves"
    )
    for cpu, main, spare in cache.sheaves():
        if capacity(main) or capacity(spare):
            text = " and ".join(
                f"{name} {held(sheaf)} of {capacity(sheaf)}"
                for name, sheaf in (("main", main), ("spare", spare))
                if capacity(sheaf)
            )
            yield f"  CPU {cpu}: {text}"
    barn = ", ".join(f"{len(sheaves)} {kind}" for kind, sheaves in cache.barn() if sheaves)
    if barn:
        yield f"  barn: {barn}"
    frames, fault = cache.partial()
    for frame in frames[:64]:
        yield f"  partial: {slab_line(frame)}"
    if len(frames) > 64:
        yield f"  ... and {len(frames) - 64} more"
    if fault:
        yield f"! {fault}"


def show(name):
    """The lines of `gr slabs [NAME]`."""
    found = caches()
    if not found:
        yield "no caches yet: kmem_cache_init has not run"
        return
    if name:
        named = [cache for cache in found if cache.name == name]
        if not named:
            raise Error(f"no cache is called {name}; there are: {' '.join(c.name for c in found)}")
        yield named[0].line()
        yield from _details(named[0])
        return
    yield "# name            active  total   size objs pages slabs"
    for cache in found:
        if cache.sum("slabs"):
            yield cache.line()
            fault = cache.partial()[1]
            if fault:
                yield f"! {cache.name}: {fault}"
    idle = sum(1 for cache in found if not cache.sum("slabs"))
    yield f"{len(found)} caches, {idle} of them without a slab; `gr slabs NAME` shows one whole"
