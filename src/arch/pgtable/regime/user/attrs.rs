//! Attributes of users' mappings, with the access flag and the dirty state of both kinds of CPU.
//!
//! A mapping that may be written has DBM set, whatever the CPU makes of that bit (Linux:
//! PTE_WRITE). It is clean while AP\[2\] makes it read-only too, and dirty once that is clear:
//! hardware with FEAT_HAFDBS clears AP\[2\] at the first write, on other CPUs the write faults and
//! [`UserAttrs::accessed`] says what the fault's handler stores. A page that is dirty and loses
//! the right to be written keeps its state in a bit of software's (Linux: PTE_DIRTY).
#![deny(unsafe_code)]

use super::super::Attributes;
use crate::arch::pgtable::descriptor::{
    AF, AP_EL0, AP_RDONLY, ATTR_INDX, ATTR_INDX_SHIFT, DBM, Descriptor, GP, NG, PXN, SH_INNER,
    SH_OUTER, TableLimits, UXN,
};
use crate::arch::pgtable::mair::MemoryType;
use bitflags::bitflags;

bitflags! {
    /// Rights of a program to a mapping (Linux: PROT_READ, PROT_WRITE, PROT_EXEC). One that it may
    /// write or execute it may read too.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Prot: u8 {
        /// Read.
        const READ = 1 << 0;
        /// Write.
        const WRITE = 1 << 1;
        /// Execute.
        const EXEC = 1 << 2;
    }
}

/// Bit of software's: the page is dirty, although the mapping can't be written.
const SW_DIRTY: u64 = 1 << 55;
/// Bit of software's: the memory is no page that is counted (Linux: PTE_SPECIAL).
const SPECIAL: u64 = 1 << 59;
/// Bit of software's: the page is anonymous, and of this mapping alone (Linux: PageAnonExclusive).
const EXCLUSIVE: u64 = 1 << 60;
/// Bit of software's: the page is one of shared memory, and counted so (Linux: MM_SHMEMPAGES).
const SHMEM: u64 = 1 << 61;
/// Bits that belong to the page, and stay whatever rights a program has.
const OF_PAGE: u64 = SPECIAL | EXCLUSIVE | SHMEM;
/// Everything in a leaf that a [`UserAttrs`] sets.
const ATTRS: u64 =
    ATTR_INDX | AP_EL0 | AP_RDONLY | SH_INNER | AF | NG | GP | DBM | PXN | UXN | SW_DIRTY | OF_PAGE;

/// Attributes of a mapping in a user's tables. The kernel never executes such memory, and it is
/// cached under the user's ASID: no value says otherwise.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct UserAttrs(u64);

impl UserAttrs {
    /// A mapping of `memory` that has never been accessed: old and clean. `None` for code in
    /// Device memory.
    #[must_use]
    pub const fn new(memory: MemoryType, prot: Prot) -> Option<Self> {
        if memory.is_device() && prot.contains(Prot::EXEC) {
            return None;
        }
        let sh = if memory.is_cacheable() { SH_INNER } else { SH_OUTER };
        let el0 = if prot.is_empty() { 0 } else { AP_EL0 };
        let write = if prot.contains(Prot::WRITE) { DBM } else { 0 };
        let uxn = if prot.contains(Prot::EXEC) { 0 } else { UXN };
        let indx = (memory.index() as u64) << ATTR_INDX_SHIFT;
        Some(Self(indx | sh | NG | PXN | AP_RDONLY | el0 | write | uxn))
    }

    /// The same memory and state with other rights (Linux: pte_modify). `None` as for
    /// [`UserAttrs::new`].
    #[must_use]
    pub const fn with_prot(self, prot: Prot) -> Option<Self> {
        let Some(Self(new)) = Self::new(self.memory(), prot) else { return None };
        let mut new = Self(new | self.0 & (AF | GP | OF_PAGE));
        if self.is_dirty() {
            new = new.dirty();
        }
        Some(new)
    }
    /// Sets guarded pages: an indirect branch must land on a `BTI` (FEAT_BTI; Linux: PROT_BTI).
    #[must_use]
    pub const fn guarded(self) -> Self {
        Self(self.0 | GP)
    }

    /// The kind of memory.
    #[must_use]
    pub const fn memory(self) -> MemoryType {
        MemoryType::from_index((self.0 >> ATTR_INDX_SHIFT) as u8 & 7)
    }
    /// The rights of a program.
    #[must_use]
    pub const fn prot(self) -> Prot {
        let mut prot = Prot::empty();
        if self.0 & AP_EL0 != 0 {
            prot = prot.union(Prot::READ);
        }
        if self.is_writable() {
            prot = prot.union(Prot::WRITE);
        }
        if self.0 & UXN == 0 {
            prot = prot.union(Prot::EXEC);
        }
        prot
    }
    /// Returns whether a program may write to it, now or after a fault that makes it dirty.
    #[must_use]
    pub const fn is_writable(self) -> bool {
        self.0 & DBM != 0
    }
    /// Returns whether it has been accessed since it was last made old.
    #[must_use]
    pub const fn is_young(self) -> bool {
        self.0 & AF != 0
    }
    /// Returns whether it has been written to since it was last made clean (Linux: pte_dirty).
    #[must_use]
    pub const fn is_dirty(self) -> bool {
        self.0 & SW_DIRTY != 0 || self.is_writable() && self.0 & AP_RDONLY == 0
    }

    /// Says that the memory is no page that is counted: the shared zero page, or the kernel's own
    /// (Linux: pte_mkspecial).
    #[must_use]
    pub const fn special(self) -> Self {
        Self(self.0 | SPECIAL)
    }
    /// Returns whether the memory is no page that is counted (Linux: pte_special).
    #[must_use]
    pub const fn is_special(self) -> bool {
        self.0 & SPECIAL != 0
    }
    /// Says that the page is anonymous, and of this mapping alone.
    #[must_use]
    pub const fn exclusive(self) -> Self {
        Self(self.0 | EXCLUSIVE)
    }
    /// Says that the page is one of shared memory.
    #[must_use]
    pub const fn shmem(self) -> Self {
        Self(self.0 | SHMEM)
    }
    /// Returns whether the page is one of shared memory.
    #[must_use]
    pub const fn is_shmem(self) -> bool {
        self.0 & SHMEM != 0
    }
    /// Returns whether the page is anonymous, and of this mapping alone: a write need not copy it.
    #[must_use]
    pub const fn is_exclusive(self) -> bool {
        self.0 & EXCLUSIVE != 0
    }
    /// The rights and the memory of `area` for the same page: its state, and whose it is, stay.
    /// Without `may_write` the right to write is left out, for copy on write (Linux: pte_modify).
    #[must_use]
    pub const fn with_rights_of(self, area: Self, may_write: bool) -> Self {
        let state = self.0 & (AF | OF_PAGE);
        let rights = Self(area.0 & !(AF | OF_PAGE | SW_DIRTY) | AP_RDONLY);
        let rights = if may_write { rights } else { rights.write_protected() };
        let new = Self(rights.0 | state);
        if self.is_dirty() { new.dirty() } else { new }
    }

    /// Sets the access flag.
    #[must_use]
    pub const fn young(self) -> Self {
        Self(self.0 | AF)
    }
    /// Clears the access flag: the next access sets it, or faults.
    #[must_use]
    pub const fn old(self) -> Self {
        Self(self.0 & !AF)
    }
    /// Makes it dirty (Linux: pte_mkdirty).
    #[must_use]
    pub const fn dirty(self) -> Self {
        if self.is_writable() { Self(self.0 & !AP_RDONLY) } else { Self(self.0 | SW_DIRTY) }
    }
    /// Makes it clean: the next write makes it dirty, or faults (Linux: pte_mkclean).
    #[must_use]
    pub const fn clean(self) -> Self {
        Self(self.0 & !SW_DIRTY | AP_RDONLY)
    }
    /// Takes the right to write away, for copy on write; dirty if it was (Linux: pte_wrprotect).
    #[must_use]
    pub const fn write_protected(self) -> Self {
        let dirty = if self.is_dirty() { SW_DIRTY } else { 0 };
        Self(self.0 & !DBM | AP_RDONLY | dirty)
    }
    /// Gives the right to write; dirty if it was (Linux: pte_mkwrite).
    #[must_use]
    pub const fn writable(self) -> Self {
        let rdonly = if self.is_dirty() { 0 } else { AP_RDONLY };
        Self(self.0 & !(SW_DIRTY | AP_RDONLY) | DBM | rdonly)
    }

    /// The attributes after an access, a write or not: young, and dirty if written. `None` where
    /// the access isn't allowed at all. A fault on the access flag, or of a write to a clean
    /// mapping, is done with when these are stored: on CPUs without FEAT_HAFDBS each first access
    /// takes one, on others none does but by a race (Linux: ptep_set_access_flags).
    #[must_use]
    pub const fn accessed(self, write: bool) -> Option<Self> {
        match (write, self.is_writable(), self.0 & AP_EL0 != 0) {
            (_, _, false) | (true, false, _) => None,
            (true, true, true) => Some(self.young().dirty()),
            (false, _, true) => Some(self.young()),
        }
    }
}

impl Attributes for UserAttrs {
    #[inline(always)]
    fn of_leaf(leaf: Descriptor) -> Self {
        // What a user's leaf must have it has, whatever the word says.
        Self(leaf.bits() & ATTRS | NG | PXN)
    }
    #[inline(always)]
    fn bits(self) -> u64 {
        self.0
    }
    #[inline(always)]
    fn same_memory(self, other: Self) -> bool {
        (self.0 ^ other.0) & (ATTR_INDX | SH_INNER) == 0
    }
    #[inline(always)]
    fn with_state_of(self, other: Self) -> Self {
        let dirty = if other.is_dirty() { self.dirty() } else { self };
        Self(dirty.0 | other.0 & AF)
    }
    #[inline(always)]
    fn limited(self, limits: TableLimits) -> Self {
        let attrs = if limits.is_read_only() { self.write_protected() } else { self };
        Self(limits.apply(attrs.0))
    }
}

impl core::fmt::Debug for UserAttrs {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{:?} {:?}", self.memory(), self.prot())?;
        for (is, what) in [(self.is_young(), " young"), (self.is_dirty(), " dirty")] {
            f.write_str(if is { what } else { "" })?;
        }
        if self.0 & GP != 0 { f.write_str(" guarded") } else { Ok(()) }
    }
}
