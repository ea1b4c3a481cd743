"""`gr page PFN`: a frame's descriptor, and what the frame is (src/mm/page/mod.rs)."""

from . import source
from .target import Error
from .values import Place, lookup_type, static

PAGE_SHIFT = 12
MAX_ORDER = 10
# In a pageblock's byte: it is of type Isolate, the last of them.
BLOCK_ISOLATED = 1 << 5
PAGEBLOCK = 9
SECTION_SHIFT = 15


def phys(pfn):
    """The physical address of a frame."""
    return pfn << PAGE_SHIFT


def frame_text(pfn):
    """A frame as the kernel prints it."""
    return f"Frame({phys(pfn):#x})"


def from_link(raw):
    """The frame number in a Link or an Option<Frame>, or None: it holds BIAS more."""
    return raw - (1 << MAX_ORDER) if raw else None


def is_populated(pfn):
    """Whether a frame has a descriptor (src/mm/sparse/mod.rs)."""
    section = pfn >> SECTION_SHIFT
    root = static("granule::mm::sparse::ROOT")["__0"]
    sections = 4096 // 4
    if section // sections >= len(root):
        return False
    leaf = root[section // sections].int()
    if leaf == 0:
        return False
    word = Place(lookup_type("u32"), leaf + 4 * (section % sections)).int()
    return bool(word >> (pfn >> MAX_ORDER & 31) & 1)


class Page:
    """The descriptor of a frame."""

    def __init__(self, pfn):
        self.pfn = pfn
        type_ = lookup_type("granule::mm::page::Page")
        self.address = source.start_of("VMEMMAP") + type_.sizeof * pfn
        self._at = Place(type_, self.address)

    def __getattr__(self, name):
        return self._at[name].int()

    @property
    def next(self):
        """The next frame of its list."""
        return from_link(self._at["next"].int())

    @property
    def prev(self):
        """The frame before it on its list."""
        return from_link(self._at["prev"].int())

    def has(self, mark):
        """Whether it is of this type, or has this flag."""
        number = source.page_type(mark)
        if number is not None:
            return self.flags & source.PAGE_TYPE_MASK == number
        return self.flags & source.page_flag(mark) != 0

    @property
    def zone(self):
        """The number of its zone, which is in the third descriptor of the largest block around it."""
        return Page((self.pfn & ~((1 << MAX_ORDER) - 1)) + 2).block


def kinds(type_name, path):
    """What `name()` calls the variants of an enumeration, in their order."""
    fields = sorted(lookup_type(type_name).fields(), key=lambda field: field.enumval)
    return [source.kind_name(path, field.name.rsplit("::", 1)[-1]) for field in fields]


def migratetypes():
    """Names of the migratetypes."""
    return kinds("granule::mm::ids::migratetype::Migratetype", "mm/ids/migratetype.rs")


def zone_types():
    """Names of the kinds of zone."""
    return kinds("granule::mm::ids::ZoneType", "mm/ids/mod.rs")


def migratetype(pfn):
    """The name of a pageblock's migratetype."""
    names = migratetypes()
    block = Page(pfn & ~((1 << PAGEBLOCK) - 1)).block
    return names[-1] if block & BLOCK_ISOLATED else names[min(block & 7, len(names) - 1)]


def zone_name(number):
    """A zone as the kernel prints it."""
    return f"Node {number >> 2} {zone_types()[number & 3]}"


def state(pfn):
    """What a frame is to the page allocator: (words, head), as src/mm/page_alloc/check.rs."""
    page = Page(pfn)
    if page.has("HOLE"):
        return "a hole", pfn
    for around in range(MAX_ORDER + 1):
        head_pfn = pfn & ~((1 << around) - 1)
        head = Page(head_pfn)
        where = f"in {frame_text(head_pfn)} of order"
        if head.has("BUDDY"):
            if head.private >= around:
                return f"free, {where} {head.private}", head_pfn
            continue
        if not around <= head.order <= MAX_ORDER:
            continue
        if head.has("PCP"):
            return f"free, on a per-CPU list, {where} {head.order}", head_pfn
        if head.refcount:
            return f"allocated, {where} {head.order}, refcount {head.refcount}", head_pfn
    for flag, words in (("HWPOISON", "poisoned"), ("OFFLINE", "offline")):
        if page.has(flag):
            return words, pfn
    return "reserved", pfn


def link_text(pfn):
    """A link in words."""
    return "none" if pfn is None else frame_text(pfn)


def show(pfn):
    """The lines of `gr page PFN`."""
    if not 0 <= pfn < 1 << 32:
        raise Error(f"{pfn:#x} is no frame number: those have 32 bits")
    linear = source.start_of("LINEAR") + phys(pfn)
    yield f"frame {pfn:#x}: physical {phys(pfn):#x}, linear map {linear:#x}"
    if not is_populated(pfn):
        yield (
            f"  it has no descriptor: section {pfn >> SECTION_SHIFT:#x} is not up, "
            "or its block of 4 MiB holds no RAM"
        )
        return
    page = Page(pfn)
    yield f"  descriptor at {page.address:#x}"
    yield (
        f"  PageMarks({source.page_marks(page.flags)}) refcount {page.refcount} "
        f"mapcount {page.mapcount} owner {page.owner:#x}"
    )
    words, head_pfn = state(pfn)
    head = Page(head_pfn)
    yield f"  {words}"
    yield (
        f"  private {page.private:#x}, next {link_text(page.next)}, prev {link_text(page.prev)}"
    )
    # The first frame of each block of the largest order says the zone for all of it.
    zone = Page(pfn & ~((1 << MAX_ORDER) - 1)).zone
    yield f"  zone {zone_name(zone)}, pageblock {pfn & ~((1 << PAGEBLOCK) - 1):#x} is {migratetype(pfn)}"
    if head_pfn != pfn:
        yield f"  the head has PageMarks({source.page_marks(head.flags)})"
    if page.has("SLAB"):
        from .slab import slab_line

        yield f"  {slab_line(page.prev if page.has('TAIL') else pfn)}"
    elif page.has("TAIL"):
        yield f"  a tail of the compound page at {link_text(page.prev)}"
    elif page.has("HEAD"):
        yield f"  the head of a compound page of order {page.order}"
    if page.has("TABLE"):
        yield "  a page table"
    if page.has("VMALLOC"):
        yield "  a page of a vmalloc area"
