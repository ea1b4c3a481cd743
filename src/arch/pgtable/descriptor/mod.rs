//! The words of a translation table (Arm ARM D8.3.1, VMSAv8-64 descriptor formats).
//!
//! A [`Descriptor`] is one 64-bit word. [`KernelAttrs`] are the attributes of a
//! mapping in the EL1 kernel regime, and can't say "writable and executable":
//! [`Permission`] has no such value. Attributes of other regimes will be types of
//! their own. Everything here is constant integer code: it runs with the MMU off.
#![deny(unsafe_code)]

use super::mair::MemoryType;
use crate::addr::{PAGE_SHIFT, PhysAddr, VirtAddr};

mod limits;
#[cfg(test)]
mod tests;

pub use limits::TableLimits;

/// Descriptors in a table: a 4 KiB page of 64-bit words.
pub const PTRS_PER_TABLE: usize = 512;
/// Descriptors of one level that the contiguous bit can make into one TLB entry
/// (Arm ARM table D8-104, 4 KiB granule).
pub const CONT_ENTRIES: usize = 16;
/// Bits of virtual address that the four levels translate.
pub const VA_BITS: u32 = 48;

const VALID: u64 = 1 << 0;
/// A table, or at the last level a page; clear, it is a block.
const TABLE_OR_PAGE: u64 = 1 << 1;
pub(super) const ATTR_INDX_SHIFT: u32 = 2;
pub(super) const ATTR_INDX: u64 = 7 << ATTR_INDX_SHIFT;
pub(super) const AP_EL0: u64 = 1 << 6;
pub(super) const AP_RDONLY: u64 = 1 << 7;
pub(super) const SH_OUTER: u64 = 0b10 << 8;
pub(super) const SH_INNER: u64 = 0b11 << 8;
pub(super) const AF: u64 = 1 << 10;
pub(super) const NG: u64 = 1 << 11;
const OUTPUT_ADDRESS: u64 = 0x0000_ffff_ffff_f000;
pub(super) const GP: u64 = 1 << 50;
pub(super) const DBM: u64 = 1 << 51;
const CONTIGUOUS: u64 = 1 << 52;
pub(super) const PXN: u64 = 1 << 53;
pub(super) const UXN: u64 = 1 << 54;
/// Table descriptor bit: nothing below it is executable at EL1.
pub(super) const PXN_TABLE: u64 = 1 << 59;
/// Table descriptor bit: nothing below it is executable at EL0.
pub(super) const UXN_TABLE: u64 = 1 << 60;
/// Table descriptor bit (APTable\[0\]): EL0 has no access to what is below it.
pub(super) const AP_TABLE_NO_EL0: u64 = 1 << 61;
/// Table descriptor bit (APTable\[1\]): nothing below it can be written.
pub(super) const AP_TABLE_RDONLY: u64 = 1 << 62;
/// Everything in a leaf that a [`KernelAttrs`] sets.
const ATTRS: u64 = ATTR_INDX | AP_EL0 | AP_RDONLY | SH_INNER | AF | NG | GP | DBM | PXN | UXN;

/// A level of the tables.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Level {
    /// Level 0: an entry spans 512 GiB and is always a table.
    Pgd = 0,
    /// Level 1: an entry is a table or a block of 1 GiB.
    Pud = 1,
    /// Level 2: an entry is a table or a block of 2 MiB.
    Pmd = 2,
    /// Level 3: an entry is a page of 4 KiB.
    Pte = 3,
}

impl Level {
    /// log2 of the bytes that one entry spans.
    #[must_use]
    pub const fn shift(self) -> u32 {
        PAGE_SHIFT + 9 * (3 - self as u32)
    }
    /// The bytes that one entry spans.
    #[must_use]
    pub const fn size(self) -> usize {
        1 << self.shift()
    }
    /// The bytes that a whole table of this level spans.
    #[must_use]
    pub const fn table_span(self) -> usize {
        PTRS_PER_TABLE << self.shift()
    }
    /// The bytes that a set of entries with the contiguous bit spans.
    #[must_use]
    pub const fn cont_size(self) -> usize {
        CONT_ENTRIES << self.shift()
    }
    /// The index of the entry for `va` in a table of this level.
    #[must_use]
    pub const fn index(self, va: VirtAddr) -> usize {
        va.get() >> self.shift() & (PTRS_PER_TABLE - 1)
    }
    /// The level below; `None` below the PTE.
    #[must_use]
    pub const fn down(self) -> Option<Self> {
        match self {
            Self::Pgd => Some(Self::Pud),
            Self::Pud => Some(Self::Pmd),
            Self::Pmd => Some(Self::Pte),
            Self::Pte => None,
        }
    }
    /// Returns whether an entry can map memory: all but the PGD (blocks of 512 GiB need 52-bit
    /// addresses).
    #[must_use]
    pub const fn has_leaves(self) -> bool {
        !matches!(self, Self::Pgd)
    }
}

/// Rights of the kernel to a mapping. EL0 has none.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Permission {
    /// Read.
    Ro,
    /// Read and write.
    Rw,
    /// Read and execute.
    Rx,
}

/// The attributes of a mapping in the EL1 kernel regime, the bits of the address
/// and of the descriptor's kind left out.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct KernelAttrs(u64);

impl KernelAttrs {
    /// RAM for data: Normal, read and write (Linux: PAGE_KERNEL).
    pub const KERNEL: Self = Self::data(MemoryType::Normal, true);
    /// RAM for constants: Normal, read-only (Linux: PAGE_KERNEL_RO).
    pub const KERNEL_RO: Self = Self::data(MemoryType::Normal, false);
    /// RAM for code: Normal, read and execute (Linux: PAGE_KERNEL_ROX).
    pub const KERNEL_ROX: Self = Self(Self::KERNEL_RO.0 & !PXN);
    /// Device registers: Device-nGnRE, read and write (Linux: PROT_DEVICE_nGnRE).
    pub const DEVICE: Self = Self::data(MemoryType::DeviceNgnre, true);
    /// Memory for devices that don't snoop: Normal non-cacheable, read and write
    /// (Linux: pgprot_writecombine).
    pub const NORMAL_NC: Self = Self::data(MemoryType::NormalNc, true);

    /// Never executable; global, accessed, and out of reach of EL0.
    #[must_use]
    pub const fn data(memory: MemoryType, writable: bool) -> Self {
        // The architecture takes Device and Non-cacheable memory as Outer Shareable
        // whatever the field says (Arm ARM D8.6.2); it says so here.
        let sh = if memory.is_cacheable() { SH_INNER } else { SH_OUTER };
        let ap = if writable { 0 } else { AP_RDONLY };
        Self((memory.index() as u64) << ATTR_INDX_SHIFT | sh | ap | AF | PXN | UXN)
    }
    /// `memory` with `permission`; `None` for code in anything but Normal memory:
    /// instruction fetches from Device memory are a programming error.
    #[must_use]
    pub const fn new(memory: MemoryType, permission: Permission) -> Option<Self> {
        match permission {
            Permission::Ro => Some(Self::data(memory, false)),
            Permission::Rw => Some(Self::data(memory, true)),
            Permission::Rx if memory.is_device() => None,
            Permission::Rx => Some(Self(Self::data(memory, false).0 & !PXN)),
        }
    }
    /// The same memory with another permission; `None` as for [`KernelAttrs::new`].
    #[must_use]
    pub const fn with_permission(self, permission: Permission) -> Option<Self> {
        match Self::new(self.memory(), permission) {
            Some(new) => Some(Self(new.0 | self.0 & GP)),
            None => None,
        }
    }
    /// Sets guarded pages: an indirect branch must land on a `BTI` (FEAT_BTI).
    #[must_use]
    pub const fn guarded(self) -> Self {
        Self(self.0 | GP)
    }
    /// The kind of memory.
    #[must_use]
    pub const fn memory(self) -> MemoryType {
        MemoryType::from_index((self.0 >> ATTR_INDX_SHIFT) as u8 & 7)
    }
    /// Returns the kernel's rights; [`Permission::Rx`] even for a word from elsewhere that is
    /// writable too.
    #[must_use]
    pub const fn permission(self) -> Permission {
        if self.0 & PXN == 0 {
            Permission::Rx
        } else if self.0 & AP_RDONLY == 0 {
            Permission::Rw
        } else {
            Permission::Ro
        }
    }
    /// Returns whether the kernel may write to it.
    #[must_use]
    pub const fn is_writable(self) -> bool {
        self.0 & AP_RDONLY == 0
    }
    /// Returns whether the kernel may execute it.
    #[must_use]
    pub const fn is_executable(self) -> bool {
        self.0 & PXN == 0
    }
    /// Returns whether branches into it are guarded.
    #[must_use]
    pub const fn is_guarded(self) -> bool {
        self.0 & GP != 0
    }
    /// The attributes with the rights that tables above leave.
    #[inline(always)]
    #[must_use]
    pub const fn limited(self, limits: TableLimits) -> Self {
        Self(limits.apply(self.0))
    }
    /// Returns whether it is Inner Shareable: all CPUs see the same.
    #[must_use]
    pub const fn is_shared(self) -> bool {
        self.0 & SH_INNER == SH_INNER
    }
    /// Returns whether the access flag is set: the first access does not fault.
    #[must_use]
    pub const fn is_accessed(self) -> bool {
        self.0 & AF != 0
    }
    /// Returns whether it is of one address space alone.
    #[must_use]
    pub const fn is_non_global(self) -> bool {
        self.0 & NG != 0
    }
    /// Returns whether EL0 may not execute it.
    #[must_use]
    pub const fn is_uxn(self) -> bool {
        self.0 & UXN != 0
    }
    /// Returns whether a live mapping may change from one to the other in place, without
    /// break-before-make (Arm ARM D8.17.1, R_WHZWS): memory type and shareability stay.
    #[must_use]
    pub const fn same_memory(self, other: Self) -> bool {
        (self.0 ^ other.0) & (ATTR_INDX | SH_INNER | NG) == 0
    }
    /// The descriptor bits.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }
}

impl core::fmt::Debug for KernelAttrs {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{:?} {:?}", self.memory(), self.permission())?;
        if self.is_guarded() { write!(f, " guarded") } else { Ok(()) }
    }
}

/// Meaning of a descriptor at its level.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// No mapping: an access faults.
    Invalid,
    /// The table of the next level.
    Table(PhysAddr),
    /// Memory: a page at the PTE level, a block above it.
    Leaf(PhysAddr, KernelAttrs),
}

/// Entry of a table.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Descriptor(u64);

impl Descriptor {
    /// Maps nothing.
    pub const INVALID: Self = Self(0);

    /// The word with these bits, as read from a table.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
    /// Returns the bits.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }
    /// The next table lies at `pa`, a multiple of 4 KiB. Nothing under it is
    /// executable at EL0; for EL1 the leaves decide.
    #[must_use]
    pub const fn table(pa: PhysAddr) -> Self {
        Self::table_with(pa, UXN_TABLE)
    }
    /// The next table lies at `pa`; the bits are those that a regime's tables have besides.
    #[must_use]
    pub(super) const fn table_with(pa: PhysAddr, bits: u64) -> Self {
        Self(pa.get() & OUTPUT_ADDRESS | bits | TABLE_OR_PAGE | VALID)
    }
    /// Maps the memory at `pa`, a multiple of `level`'s size: a page at the PTE
    /// level, a block at the PMD and PUD. With `contiguous` it is one of an aligned
    /// set of sixteen that map contiguous memory alike.
    #[must_use]
    pub const fn leaf(level: Level, pa: PhysAddr, attrs: KernelAttrs, contiguous: bool) -> Self {
        Self::leaf_with(level, pa, attrs.0, contiguous)
    }
    /// Variant of [`Descriptor::leaf`] with the bits of attributes of any regime.
    #[inline(always)]
    #[must_use]
    pub(super) const fn leaf_with(
        level: Level,
        pa: PhysAddr,
        attrs: u64,
        contiguous: bool,
    ) -> Self {
        let kind = if matches!(level, Level::Pte) { TABLE_OR_PAGE | VALID } else { VALID };
        let contiguous = if contiguous { CONTIGUOUS } else { 0 };
        Self(pa.get() & OUTPUT_ADDRESS | attrs | contiguous | kind)
    }
    /// The leaf or block as an invalid entry that keeps its contents: the walker finds no mapping,
    /// and software can tell it from an empty entry (Linux: PTE_PRESENT_INVALID, which is the NG
    /// bit too).
    #[must_use]
    pub const fn present_invalid(self) -> Self {
        Self(self.0 & !VALID | NG)
    }
    /// The valid leaf of a [present-invalid](Descriptor::present_invalid) entry; `None` of others.
    #[must_use]
    pub const fn undo_present_invalid(self) -> Option<Self> {
        if self.0 & (VALID | NG) == NG { Some(Self(self.0 & !NG | VALID)) } else { None }
    }
    /// Decodes the descriptor as an entry of a table of `level`. A block where none can be (at
    /// the PGD, or at the PTE with bit 1 clear) is invalid, as the hardware takes it.
    #[must_use]
    pub const fn kind(self, level: Level) -> Kind {
        if !self.is_valid() {
            return Kind::Invalid;
        }
        let table_or_page = self.0 & TABLE_OR_PAGE != 0;
        let leaf = match level {
            Level::Pte if table_or_page => true,
            Level::Pud | Level::Pmd if !table_or_page => true,
            Level::Pgd | Level::Pte if !table_or_page => return Kind::Invalid,
            _ => false,
        };
        if !leaf {
            return Kind::Table(PhysAddr::new(self.0 & OUTPUT_ADDRESS));
        }
        let pa = self.0 & OUTPUT_ADDRESS & !(level.size() as u64 - 1);
        Kind::Leaf(PhysAddr::new(pa), self.kernel_attrs())
    }
    /// The attributes of a leaf, as one of the kernel's regime.
    #[must_use]
    pub(super) const fn kernel_attrs(self) -> KernelAttrs {
        KernelAttrs(self.0 & ATTRS)
    }
    /// The table that a word of a table above the last level leads to: what
    /// [`Descriptor::kind`] says, in fewer steps.
    #[must_use]
    pub const fn next_table(self) -> Option<PhysAddr> {
        if self.0 & (VALID | TABLE_OR_PAGE) == VALID | TABLE_OR_PAGE {
            Some(PhysAddr::new(self.0 & OUTPUT_ADDRESS))
        } else {
            None
        }
    }
    /// The same leaf for memory that lies `bytes` further on, below 256 TiB still.
    #[must_use]
    pub const fn further(self, bytes: usize) -> Self {
        Self(self.0 + bytes as u64)
    }
    /// Returns whether the walker follows it.
    #[must_use]
    pub const fn is_valid(self) -> bool {
        self.0 & VALID != 0
    }
    /// Returns whether a leaf is one of a contiguous set.
    #[must_use]
    pub const fn is_contiguous(self) -> bool {
        self.0 & CONTIGUOUS != 0
    }
    /// Returns whether a leaf can be written and executed at EL1, which none may be.
    #[must_use]
    pub const fn is_writable_and_executable(self) -> bool {
        self.0 & (AP_RDONLY | PXN) == 0
    }
    /// Returns whether EL0 could execute or reach a leaf, which it may not in the kernel's half.
    #[must_use]
    pub const fn is_open_to_el0(self) -> bool {
        self.0 & AP_EL0 != 0 || self.0 & UXN == 0
    }
}

impl core::fmt::Debug for Descriptor {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Descriptor({:#018x})", self.0)
    }
}
