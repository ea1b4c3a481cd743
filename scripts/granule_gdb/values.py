"""Typed places in the kernel's memory.

gdb's own values go wrong for Rust's enumerations: it resolves their types against the
bytes at hand, and sizes and strides with them. A `Place` is an address and the type as
the compiler wrote it; its fields are reached by name, and wrappers (locks, cells,
atomics, newtypes) are looked through.
"""

import gdb

from . import source
from .target import Error, read, read_int

# Types that are looked through, by the beginning of their name, and the field inside.
WRAPPERS = (
    ("granule::arch::aarch64::MachineLocal<", "value"),
    ("granule::sync::spinlock::SpinLock<", "value"),
    ("granule::arch::aarch64::percpu::PerCpu<", "__0"),
    ("granule::percpu::array::CpuArray<", "slots"),
    ("granule::percpu::array::Slot<", "__0"),
    ("granule::mm::slab::memory::EarlyCell<", "__0"),
    ("core::cell::UnsafeCell<", "value"),
    ("core::cell::Cell<", "value"),
    ("core::mem::maybe_uninit::MaybeUninit<", "value"),
    ("core::mem::manually_drop::ManuallyDrop<", "value"),
    ("core::mem::maybe_dangling::MaybeDangling<", "__0"),
)
OPTION = "core::option::Option<"
AGGREGATES = (gdb.TYPE_CODE_STRUCT, gdb.TYPE_CODE_UNION)
# A kernel address, as opposed to that of the same symbol's physical copy.
HIGH = 1 << 63


def field_of(type_, name):
    """The field of a type, or None. A variant's name is also that of its discriminant,
    which comes first."""
    found = None
    for field in type_.fields():
        if field.name == name and hasattr(field, "bitpos"):
            found = field
    return found


class Place:
    """A value of `type` at `address`."""

    __slots__ = ("type", "address")

    def __init__(self, type_, address):
        self.type = type_.strip_typedefs()
        self.address = address
        if self.type.code == gdb.TYPE_CODE_STRUCT and self.type.name and not self.type.fields():
            # Behind a pointer there may be no more than the name.
            try:
                self.type = gdb.lookup_type(self.type.name)
            except gdb.error:
                pass

    @property
    def name(self):
        """The type's name."""
        return self.type.name or str(self.type)

    def _at(self, field):
        return Place(field.type, self.address + field.bitpos // 8)

    def inner(self):
        """What a wrapper holds; itself where it is none."""
        place = self
        while place.type.code in AGGREGATES:
            for prefix, inside in WRAPPERS:
                if place.name.startswith(prefix):
                    field = field_of(place.type, inside)
                    break
            else:
                return place
            if field is None:
                raise Error(f"{place.name} has no field {inside}: these are not Granule's types")
            place = place._at(field)
        return place

    def has(self, name):
        """Whether it has a field of this name."""
        place = self.inner()
        return place.type.code in AGGREGATES and field_of(place.type, name) is not None

    def __getitem__(self, key):
        place = self.inner()
        if isinstance(key, int):
            return place._element(key)
        field = field_of(place.type, key) if place.type.code in AGGREGATES else None
        if field is None:
            raise Error(
                f"{place.name} has no field {key}: scripts/gdb.py and this kernel are not of one source"
            )
        return place._at(field)

    def _element(self, index):
        if self.type.code != gdb.TYPE_CODE_ARRAY:
            raise Error(f"{self.name} is no array")
        if not 0 <= index < len(self):
            raise Error(f"index {index} is out of the {len(self)} of {self.name}")
        element = self.type.target()
        return Place(element, self.address + index * stride(element))

    def __len__(self):
        low, high = self.inner().type.range()
        return high - low + 1

    def __iter__(self):
        place = self.inner()
        return (place._element(index) for index in range(len(place)))

    def int(self):
        """The integer in it, through newtypes and atomics too; of an Option whose None
        needs no room, the raw word, which is 0 for None."""
        place = self.inner()
        while place.type.code in AGGREGATES and not place.name.startswith(OPTION):
            fields = [f for f in place.type.fields() if hasattr(f, "bitpos") and f.type.sizeof]
            if len(fields) != 1:
                raise Error(f"{place.name} is no integer")
            place = place._at(fields[0]).inner()
        size = place.type.sizeof
        if size not in (1, 2, 4, 8):
            raise Error(f"{place.name} is no integer")
        return read_int(place.address, size)

    def some(self):
        """What an Option holds, or None."""
        place = self.inner()
        if not place.name.startswith(OPTION):
            raise Error(f"{place.name} is no Option")
        # The discriminant, or where None is told from a pointer or a number by zeros.
        discriminant = next((f for f in place.type.fields() if f.type.code not in AGGREGATES), None)
        variant = next((f for f in place.type.fields() if f.name == "Some"), None)
        if discriminant is None or variant is None:
            raise Error(f"{place.name} is of a form that is not known here")
        if place._at(discriminant).int() == 0:
            return None
        return place._at(variant)["__0"]

    def target(self):
        """What a pointer or a thin reference points to."""
        place = self.inner()
        while place.type.code in AGGREGATES:
            fields = [f for f in place.type.fields() if hasattr(f, "bitpos") and f.type.sizeof]
            if len(fields) != 1:
                raise Error(f"{place.name} is no pointer")
            place = place._at(fields[0]).inner()
        if place.type.code != gdb.TYPE_CODE_PTR:
            raise Error(f"{place.name} is no pointer")
        return Place(place.type.target(), place.int())

    def slice(self):
        """The elements of a slice reference."""
        start, length = self["data_ptr"].target(), self["length"].int()
        size = stride(start.type)
        return [Place(start.type, start.address + n * size) for n in range(length)]

    def str(self):
        """The text of a &str."""
        length = self["length"].int()
        if length > 4096:
            raise Error(f"a text of {length} bytes at {self.address:#x}: its memory is not set up")
        return read(self["data_ptr"].int(), length).decode("utf-8", "replace")

    def variant(self):
        """The name of a plain enumeration's value."""
        place = self.inner()
        value = place.int()
        for field in place.type.fields():
            if field.enumval == value:
                return field.name.rsplit("::", 1)[-1]
        return f"{value:#x}"

    def range(self):
        """Start and end of a range type."""
        return self["start"].int(), self["end"].int()


def stride(type_):
    """The distance of such elements in an array."""
    align = max(type_.alignof, 1)
    return (type_.sizeof + align - 1) // align * align


def lookup_type(name):
    """A type by its full name."""
    try:
        return gdb.lookup_type(name)
    except gdb.error:
        raise Error(
            f"no type {name} in the symbols: no debugging information, or it was optimised away"
        ) from None


def symbol(name):
    """The kernel's symbol of this name, not its physical copy."""
    found = _lookup_symbol(name)
    if found is None:
        # gdb 13 stops at the first unit whose index knows the name, even if the symbol is
        # in another one. This reads in all of them.
        gdb.execute(f"info variables -q ^{name.rsplit('::', 1)[-1]}$", to_string=True)
        found = _lookup_symbol(name)
    return found


def _lookup_symbol(name):
    for objfile in gdb.objfiles():
        for lookup in (objfile.lookup_global_symbol, objfile.lookup_static_symbol):
            found = lookup(name)
            if found is None:
                continue
            try:
                address = found.value().address
            except gdb.error:
                address = None
            address = None if address is None else _linked(int(address))
            if address is not None:
                return Place(found.type, address)
    return None


def _linked(address):
    """A symbol's address in the high half. gdb looks external statics up by their linkage
    names, and may find those of the copy at the physical address."""
    if address >= HIGH:
        return address
    image = gdb.convenience_variable("gr_image")
    if image is None:
        return None
    return address - int(image) + source.start_of("KIMAGE")


def static(name):
    """A static of the kernel."""
    found = symbol(name)
    if found is None:
        raise Error(
            f"no static {name} in the symbols: no debugging information, or it was optimised away"
        )
    return found


def per_cpu(name):
    """The values of a per-CPU static, CPU by CPU (src/arch/aarch64/percpu.rs)."""
    return of_cpus(static(name))


def of_cpus(own):
    """The values of a per-CPU variable, CPU by CPU, by that of the boot CPU."""
    cpus = static("granule::arch::aarch64::percpu::UNITS").int()
    distance = source.start_of("PERCPU") - source.start_of("KIMAGE")
    return [Place(own.type, own.address + cpu * distance) for cpu in range(cpus)]


def typed(name, address):
    """The value of the type called `name` at `address`."""
    return Place(lookup_type(name), address)
