"""How gdb prints the kernel's types: as their `Debug` does, and lists with what is on
them."""

import gdb
import gdb.printing

from . import source
from .page import Page, frame_text, from_link, zone_name
from .target import Error, read_int
from .values import AGGREGATES, Place


def scalar(value):
    """The integer in a value, through newtypes."""
    while value.type.strip_typedefs().code in AGGREGATES:
        fields = [f for f in value.type.strip_typedefs().fields() if f.type.sizeof]
        if len(fields) != 1:
            # An Option whose None is zeros: its bytes.
            if value.address is None:
                raise Error("not in memory")
            return read_int(int(value.address), value.type.sizeof)
        value = value[fields[0]]
    return int(value) & (1 << 8 * value.type.sizeof) - 1


def place(value):
    """A value in memory as a Place."""
    if value.address is None:
        raise Error("not in memory")
    return Place(gdb.lookup_type(value.type.strip_typedefs().name), int(value.address))


class Text:
    """A value in one piece of text."""

    def __init__(self, value, render):
        self.value, self.render = value, render

    def to_string(self):
        """What gdb prints."""
        try:
            return self.render(self.value)
        except (Error, gdb.error) as error:
            return f"<{error}>"


class List:
    """Frames on a list."""

    def __init__(self, value, head, summary):
        self.value, self.head, self.summary = value, head, summary

    def to_string(self):
        """The summary before the frames."""
        try:
            return self.summary(place(self.value))
        except (Error, gdb.error) as error:
            return f"<{error}>"

    def children(self):
        """The frames, up to what gdb would print."""
        limit = gdb.parameter("print elements") or 200
        try:
            at = from_link(place(self.value)[self.head].int())
            for n in range(limit + 1):
                if at is None:
                    return
                yield f"[{n}]", frame_text(at)
                at = Page(at).next
        except (Error, gdb.error) as error:
            yield "[...]", f"<{error}>"

    @staticmethod
    def display_hint():
        """Without names of members."""
        return "array"


class Lock:
    """A lock and what it guards."""

    def __init__(self, value):
        self.value = value

    def to_string(self):
        """Whether it is held."""
        holder = scalar(self.value["locked"])
        return f"held by CPU {holder - 1}" if holder else "unlocked"

    def children(self):
        """The value under it."""
        yield "value", self.value["value"]["value"]


def number(form):
    """A newtype in the form that `Debug` gives it."""
    return lambda value: Text(value, lambda v: form.format(scalar(v)))


def range_of(shift=0, wrap="[{:#x}..{:#x})"):
    """A range type."""

    def render(value):
        start, end = (scalar(value[name]) for name in ("start", "end"))
        return wrap.format(start << shift, end << shift)

    return lambda value: Text(value, render)


def flags(name, path, composites=False):
    """A `bitflags!` type."""

    def render(value):
        return f"{name}({source.render(scalar(value), source.flags(path, name), composites)})"

    return lambda value: Text(value, render)


def optional_frame(raw):
    """An Option<Frame>."""
    return "None" if raw == 0 else f"Some({frame_text(from_link(raw))})"


def page_text(value):
    """A frame descriptor in one line."""
    at = place(value)
    pfn = (at.address - source.start_of("VMEMMAP")) // at.type.sizeof
    page = Page(pfn)
    links = ", ".join(
        f"{name} {frame_text(link)}" for name, link in (("next", page.next), ("prev", page.prev)) if link is not None
    )
    return (
        f"Page of {frame_text(pfn)}: PageMarks({source.page_marks(page.flags)}), refcount {page.refcount}, "
        f"mapcount {page.mapcount}, private {page.private}, owner {page.owner:#x}"
        + (f", {links}" if links else "")
    )


def region_text(value):
    """A region of memblock."""
    from .memblock import line

    return line(place(value))


def variant(value):
    """The name of a plain enumeration's variant."""
    raw = int(value) & (1 << 8 * value.type.sizeof) - 1
    for field in value.type.strip_typedefs().fields():
        if field.enumval == raw:
            return field.name.rsplit("::", 1)[-1]
    return f"{raw:#x}"


EXACT = {
    "granule::addr::address::PhysAddr": number("PhysAddr({:#x})"),
    "granule::addr::address::VirtAddr": number("VirtAddr({:#x})"),
    "granule::addr::frame::Pfn": number("Pfn({:#x})"),
    "granule::addr::frame::Order": number("Order({})"),
    "granule::addr::range::PhysRange": range_of(),
    "granule::addr::range::VirtRange": range_of(),
    "granule::addr::range::PfnRange": range_of(),
    "granule::arch::CpuId": number("CpuId({})"),
    "granule::mm::page::frame::Frame": lambda v: Text(v, lambda v: frame_text(from_link(scalar(v)))),
    "granule::mm::page::Link": lambda v: Text(v, lambda v: optional_frame(scalar(v))),
    "core::option::Option<granule::mm::page::frame::Frame>": lambda v: Text(
        v, lambda v: optional_frame(scalar(v))
    ),
    "granule::mm::page::Page": lambda v: Text(v, page_text),
    "granule::mm::page::flags::PageFlags": flags("PageFlags", "mm/page/flags.rs"),
    "granule::mm::gfp::Gfp": flags("Gfp", "mm/gfp.rs", composites=True),
    "granule::mm::mmzone::watermark::WmarkFlags": flags("WmarkFlags", "mm/mmzone/watermark.rs"),
    "granule::mm::ids::ZoneId": lambda v: Text(v, lambda v: zone_name(scalar(v))),
    "granule::mm::ids::NodeId": number("NodeId({})"),
    "granule::mm::slab::flags::SlabFlags": flags("SlabFlags", "mm/slab/flags.rs"),
    "granule::mm::vmalloc::area::VmFlags": flags("VmFlags", "mm/vmalloc/area.rs"),
    "granule::mm::memblock::region::RegionFlags": flags("RegionFlags", "mm/memblock/region.rs"),
    "granule::mm::memblock::region::Region": lambda v: Text(v, region_text),
    "granule::arch::pgtable::descriptor::Descriptor": number("Descriptor({:#018x})"),
    "granule::arch::pgtable::descriptor::KernelAttrs": number("KernelAttrs({:#018x})"),
    "granule::mm::page::free_list::FreeList": lambda v: List(
        v, "head", lambda at: f"{at['nr_free'].int()} blocks"
    ),
    "granule::mm::slab::node::SlabList": lambda v: List(v, "first", lambda at: f"{at['len'].int()} slabs"),
    "granule::mm::vmalloc::area_pages::AreaPages": lambda v: List(
        v, "head", lambda at: f"{at['len'].int()} pages"
    ),
}
ATOMIC = "core::sync::atomic::Atomic"
POINTERS = ATOMIC + "Ptr<"


class Printers(gdb.printing.PrettyPrinter):
    """All of them, as `info pretty-printer` lists them."""

    def __init__(self):
        names = sorted(EXACT) + ["granule::sync::spinlock::SpinLock", ATOMIC, "enumerations"]
        super().__init__("granule", [gdb.printing.SubPrettyPrinter(name) for name in names])

    def _on(self, name):
        return any(p.name == name and p.enabled for p in self.subprinters)

    def __call__(self, value):
        type_ = value.type.strip_typedefs()
        name = type_.name or ""
        if name in EXACT:
            return EXACT[name](value) if self._on(name) else None
        if name.startswith("granule::sync::spinlock::SpinLock<"):
            return Lock(value) if self._on("granule::sync::spinlock::SpinLock") else None
        if name.startswith(ATOMIC) and not name.startswith(POINTERS) and self._on(ATOMIC):
            return Text(value, lambda v: str(scalar(v)))
        if type_.code == gdb.TYPE_CODE_ENUM and name.startswith("granule::") and self._on("enumerations"):
            return Text(value, variant)
        return None


def register():
    """Makes gdb use them, in place of those of an earlier load."""
    gdb.printing.register_pretty_printer(None, Printers(), replace=True)
