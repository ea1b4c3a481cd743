"""`gr zones` and `gr buddy`: zones, their free lists and the CPUs' own (src/mm/mmzone,
src/mm/page_alloc). The lines that the kernel prints too are the kernel's, to the letter."""

from . import source
from .page import Page, frame_text, from_link, migratetypes, phys, zone_types
from .values import per_cpu, static, typed

WALK_LIMIT = 1 << 20


class Zone:
    """A zone that holds RAM."""

    def __init__(self, index, place):
        self.index, self._at = index, place
        self.node, self.kind = index >> 2, zone_types()[index & 3]

    def __getattr__(self, name):
        return self._at[name].int()

    def marks(self):
        """The watermarks min, low and high."""
        return [self._at["watermark"][n].int() for n in range(3)]

    def list(self, order, mt):
        """A free list."""
        return self._at["area"]["lists"][order][mt]

    def orders(self, mt):
        """The bits of the orders that have free blocks of a migratetype."""
        return self._at["orders"][mt].int()

    def blocks(self, order):
        """Free blocks of an order, by the lists' own counts."""
        return sum(entry["nr_free"].int() for entry in self._at["area"]["lists"][order])

    def pcp(self):
        """Pages on all CPUs' lists."""
        return sum(cpu.count() for cpu in self.per_cpu())

    def per_cpu(self):
        """The lists of each CPU."""
        first = static("granule::mm::ids::pcp_column::FIRST")[self.index].int()
        if first == NO_COLUMN:
            return []
        cpus = per_cpu("granule::mm::page_alloc::pcp::PCP")
        return [PerCpu(cpu, self.index, first) for cpu in cpus]

    def title(self):
        """As it begins a line."""
        return f"Node {self.node}, zone {self.kind:>8} "


def zones():
    """The zones that hold RAM, by node and kind."""
    nodes = static("granule::mm::ids::nodes::NR_NODE_IDS").int()
    all_zones = static("granule::mm::mmzone::node::ZONES")
    for index in range(nodes * len(zone_types())):
        zone = Zone(index, typed("granule::mm::mmzone::zone::Zone", all_zones[index].int()))
        if zone.present:
            yield zone


FIGURES = ("present", "managed", "reserved", "free", "used")


def figures_text(figures):
    """Figures in the form of the kernel's report."""
    return " ".join(f"{name} {figure}" for name, figure in zip(FIGURES, figures))


def show_zones():
    """The lines of `gr zones`."""
    total = [0] * len(FIGURES)
    for zone in zones():
        low, mark, high = zone.marks()
        yield (
            f"{zone.title()} [mem {phys(zone.start):#013x}-{phys(zone.end) - 1:#013x}]  "
            f"min {low} low {mark} high {high}  pcp batch {zone.pcp_batch} high {zone.pcp_high}"
        )
        pcp = zone.pcp()
        free = zone.free + zone.isolated + zone.deferred + pcp
        figures = [zone.present, zone.managed, zone.present - zone.managed, free, zone.managed - free]
        yield f"  {figures_text(figures)}"
        yield (
            f"  of the free: buddy {zone.free}, isolated {zone.isolated}, per-CPU {pcp}, "
            f"not up yet {zone.deferred}; CMA {zone.free_cma} of {zone.cma}, "
            f"highatomic {zone.free_highatomic}"
        )
        reserve = [f"{kind} {zone._at['lowmem_reserve'][n].int()}" for n, kind in enumerate(zone_types())]
        yield f"  lowmem_reserve against {', '.join(reserve)}"
        total = [sum(pair) for pair in zip(total, figures)]
    if not total[0]:
        yield "no zone holds RAM yet: free_area_init has not run"
        return
    yield f"total {figures_text(total)}"


def walk(zone, order, mt, names):
    """Walks a free list; (blocks, what is wrong with it or None)."""
    entry = zone.list(order, mt)
    count = entry["nr_free"].int()
    head, tail = from_link(entry["head"].int()), from_link(entry["tail"].int())
    where = f"list of order {order} {names[mt]}"
    bit = zone.orders(mt) >> order & 1
    if bit != (count > 0):
        return count, f"{where}: {count} blocks, and its bit in `orders` is {bit}"
    seen, before, at = 0, None, head
    while at is not None:
        page = Page(at)
        if seen >= count or seen >= WALK_LIMIT:
            return count, f"{where}: it goes on after its {count} blocks, at {frame_text(at)}"
        if not page.has("BUDDY") or page.private != order:
            return count, (
                f"{where}: {frame_text(at)} is PageMarks({source.page_marks(page.flags)}), "
                f"private {page.private}"
            )
        if page.prev != before:
            return count, f"{where}: the way back from {frame_text(at)} leads elsewhere"
        seen, before, at = seen + 1, at, page.next
    if seen != count or before != tail:
        return count, f"{where}: it holds {seen} blocks, and says {count}, or its tail is another"
    return count, None


# The orders that have lists of CPUs, and their columns for each zone.
PCP_ORDERS = (0, 1, 2, 3, 4, 5, 9)
PCP_COLUMNS = 3
NO_COLUMN = 123


class PerCpu:
    """A CPU's lists of a zone (src/mm/pcp_list.rs)."""

    def __init__(self, pages, zone, first):
        self._granted = pages["granted"][zone].int()
        columns = [(row, n) for row in range(len(PCP_ORDERS)) for n in range(PCP_COLUMNS)]
        lists = pages["lists"]
        self._words = {(PCP_ORDERS[row], n): lists[row][first + n].int() for row, n in columns}

    def count(self):
        """Pages on them, as they say: what was granted and is not room."""
        room = sum(word & 0xFFFF_FFFF for word in self._words.values())
        return (self._granted - room) & 0xFFFF_FFFF

    def walk(self):
        """The blocks on them: {(order, column): blocks}, pages."""
        found, pages = {}, 0
        for (order, column), word in self._words.items():
            at, blocks = from_link(word >> 32), 0
            while at is not None and blocks < WALK_LIMIT:
                blocks += 1
                at = Page(at).next
            if blocks:
                found[order, column] = blocks
                pages += blocks << order
        return found, pages


def show_buddy():
    """The lines of `gr buddy`."""
    names, any_zone = migratetypes(), False
    for zone in zones():
        any_zone = True
        counts = "".join(f"{zone.blocks(order):>6} " for order in range(11))
        yield f"{zone.title()}{counts} pcp {zone.pcp()} deferred {zone.deferred}"
        wrong = []
        for mt, name in enumerate(names):
            row = []
            for order in range(11):
                count, fault = walk(zone, order, mt, names)
                row.append(count)
                if fault:
                    wrong.append(fault)
            if any(row):
                yield f"  {name:>18} " + "".join(f"{count:>6} " for count in row).rstrip()
        for cpu, pages in enumerate(zone.per_cpu()):
            found, held = pages.walk()
            count = pages.count()
            if count or held:
                lists = ", ".join(f"{n} of order {order} {names[mt]}" for (order, mt), n in found.items())
                yield f"  CPU {cpu}: {count} pages: {lists}"
            if count != held:
                wrong.append(f"CPU {cpu}: its lists hold {held} pages, and say {count}")
        free = sum(zone.blocks(order) << order for order in range(11))
        if free != zone.free + zone.isolated:
            wrong.append(f"the lists hold {free} pages, and the zone says {zone.free + zone.isolated}")
        for fault in wrong:
            yield f"! {fault}"
    if not any_zone:
        yield "no zone holds RAM yet: free_area_init has not run"
