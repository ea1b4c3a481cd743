//! The one place that edits page tables: [`Mapper`]. Its operations are in `map`,
//! `unmap`, `protect`, `split` and `walk`; what they share is here.
//!
//! Where something in use is unmapped for a moment, other CPUs may fault: they try again
//! until it is over ([`mmu::begin_bbm`], [`mmu::end_bbm`]; Linux retries such faults too:
//! is_spurious_el1_translation_fault).
//!
//! Order of things, in all of them (Arm ARM D8.17.1; Linux: set_pte, vunmap_range):
//! a table page is cleared and the stores are made visible before it is linked; new
//! entries are followed by `dsb ishst; isb`; entries that were valid are invalidated
//! before they say anything else (break-before-make), except for a change of
//! permissions alone, which may be made in place; what was taken away or changed is
//! owed a TLB invalidation (`FlushOwed`), and table pages are freed only after it.
#![deny(unsafe_code)]

use super::descriptor::{Level, TableLimits, VA_BITS};
use super::regime::{Attributes, Kernel, Regime};
use super::table::{Entry, Leaf, TableAccess, TableAddr};
use crate::addr::{PAGE_SIZE, PhysAddr, VirtAddr, VirtRange};
use crate::arch::mmu;
use bitflags::bitflags;
use core::fmt;

bitflags! {
    /// Restrictions on the sizes that a range is mapped in.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct MapFlags: u32 {
        /// Pages only, never blocks, so that parts can change without splitting.
        const NO_BLOCK = 1 << 0;
        /// Without the contiguous bit.
        const NO_CONT = 1 << 1;
    }
}

/// Error of an edit; nothing has changed then.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MapError {
    /// Part of the range is mapped already.
    AlreadyMapped,
    /// There was no page for a table.
    NoMemory,
    /// An address is no multiple of the page size.
    Misaligned,
    /// The change needs break-before-make where the range can't be broken, or the
    /// range cuts a block, which has to be split first.
    BreakBeforeMake,
    /// An address lies outside what the tables translate.
    OutOfRange,
    /// The mapping there may not be changed so.
    Refused,
}

impl fmt::Display for MapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AlreadyMapped => "part of the range is mapped already",
            Self::NoMemory => "no memory for a page table",
            Self::Misaligned => "an address is no multiple of the page size",
            Self::BreakBeforeMake => "the mapping can't be broken while it is in use",
            Self::OutOfRange => "an address is out of the tables' range",
            Self::Refused => "what is mapped there may not be changed so",
        })
    }
}

impl core::error::Error for MapError {}

/// Result of a translation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Translation<R: Regime = Kernel> {
    /// The physical address.
    pub pa: PhysAddr,
    /// Attributes of the mapping, with the rights that the tables above it leave.
    pub attrs: R::Attrs,
    /// The level of the page or block.
    pub level: Level,
    /// True if the mapping is one of a contiguous set.
    pub contiguous: bool,
    /// True if walkers find the mapping; see [`Mapper::set_valid`].
    pub valid: bool,
}

/// Tables at the top of the tree of a [`Mapper`].
pub(super) type RootOf<A> = <<A as TableAccess>::Regime as Regime>::Root;
/// Addresses of the regime of a [`Mapper`]'s tables.
pub(super) type AddrOf<A> = <<A as TableAccess>::Regime as Regime>::Addr;
/// Ranges of such addresses.
pub(super) type RangeOf<A> = <<A as TableAccess>::Regime as Regime>::Range;
/// Attributes of mappings in its tables.
pub(super) type AttrsOf<A> = <<A as TableAccess>::Regime as Regime>::Attrs;

/// Editor of a tree of tables. Its holder is the only one.
pub struct Mapper<'a, A: TableAccess> {
    pub(super) root: RootOf<A>,
    pub(super) access: &'a mut A,
}

/// A leaf that spans an address without starting there, or the set that it belongs to.
pub(super) struct Straddling<R: Regime> {
    pub(super) table: TableAddr<R>,
    pub(super) level: Level,
    /// The block, or the whole contiguous set.
    pub(super) va: VirtRange,
    pub(super) leaf: Leaf<R>,
}

impl<'a, A: TableAccess> Mapper<'a, A> {
    /// Edits the tree under `root`.
    #[inline(always)]
    pub fn new(root: RootOf<A>, access: &'a mut A) -> Self {
        Self { root, access }
    }

    /// A new, empty table that walkers may see once this returns: a PGD for
    /// [`Mapper::new`].
    ///
    /// # Errors
    /// [`MapError::NoMemory`].
    pub fn new_table(access: &mut A) -> Result<TableAddr<A::Regime>, MapError> {
        let table = access.alloc().ok_or(MapError::NoMemory)?;
        access.with(table, |t| t.clear_all());
        mmu::dsb_ishst();
        Ok(table)
    }

    /// Translates `va` as a walker does.
    #[must_use]
    pub fn translate(&self, va: AddrOf<A>) -> Option<Translation<A::Regime>> {
        self.entry(va).filter(|t| t.valid)
    }

    /// Translates `va`, also by a present-invalid entry.
    #[must_use]
    pub fn entry(&self, va: AddrOf<A>) -> Option<Translation<A::Regime>> {
        let va = A::Regime::input(va);
        if !A::Regime::reaches(self.root, va) {
            return None;
        }
        let (level, _, entry, limits) = self.lookup_limits(va);
        let Entry::Leaf(Leaf { pa, attrs, contiguous, valid }) = entry else {
            return None;
        };
        let attrs = attrs.limited(limits);
        let offset = va.get() & (level.size() - 1);
        Some(Translation { pa: pa + offset as u64, attrs, level, contiguous, valid })
    }

    /// Returns whether any entry of `va` is valid or present-invalid. Empty entries are skipped as
    /// a whole.
    #[must_use]
    pub fn is_mapped(&self, va: RangeOf<A>) -> bool {
        let va = A::Regime::input_range(va);
        let mut at = va.start();
        while at < va.end() && A::Regime::reaches(self.root, at) {
            let (level, _, entry) = self.lookup(at);
            if matches!(entry, Entry::Leaf(_)) {
                return true;
            }
            at = at.align_down(level.size()).saturating_add(level.size());
        }
        false
    }

    /// The table of pages that translates `va`, if it is there; it is remembered from then on.
    pub(super) fn pte_table(&mut self, va: VirtAddr) -> Option<TableAddr<A::Regime>> {
        let (mut table, mut level) = A::Regime::top(self.root, va);
        while let Some(down) = level.down() {
            table = self.access.with(table, |t| t.next_table(level.index(va)))?;
            level = down;
        }
        if let Some(recent) = self.access.recent() {
            recent.note(va, table);
        }
        Some(table)
    }

    /// [`Mapper::lookup`], and the limits that the tables on the way set.
    pub(super) fn lookup_limits(
        &self,
        va: VirtAddr,
    ) -> (Level, TableAddr<A::Regime>, Entry<A::Regime>, TableLimits) {
        let (mut table, mut level) = A::Regime::top(self.root, va);
        let mut limits = TableLimits::NONE;
        loop {
            let (word, entry) = self.access.with(table, |t| {
                let index = level.index(va);
                (t.descriptor(index), t.entry(level, index))
            });
            match (entry, level.down()) {
                (Entry::Table(next), Some(down)) => {
                    (table, level, limits) = (next, down, limits.and(word));
                }
                _ => return (level, table, entry, limits),
            }
        }
    }

    /// The entry that decides about `va`: where it is and what it says.
    pub(super) fn lookup(&self, va: VirtAddr) -> (Level, TableAddr<A::Regime>, Entry<A::Regime>) {
        let (mut table, mut level) = A::Regime::top(self.root, va);
        loop {
            let entry = self.access.with(table, |t| t.entry(level, level.index(va)));
            match (entry, level.down()) {
                (Entry::Table(next), Some(down)) => (table, level) = (next, down),
                _ => return (level, table, entry),
            }
        }
    }
}

/// The tables at the top that translate some of `va`, each with its level and its part of `va`.
pub(super) fn tops<R: Regime>(
    root: R::Root,
    va: VirtRange,
) -> impl Iterator<Item = (TableAddr<R>, Level, VirtRange)> {
    let mut at = va.start();
    core::iter::from_fn(move || {
        if at >= va.end() || !R::reaches(root, at) {
            return None;
        }
        let (table, level) = R::top(root, at);
        let span = level.table_span();
        let part = VirtRange::new(at, at.align_down(span).saturating_add(span).min(va.end()));
        at = part.end();
        Some((table, level, part))
    })
}

/// The entries of a table of `level` that translate `va`, each with its part of it.
pub(super) fn parts(va: VirtRange, level: Level) -> impl Iterator<Item = (usize, VirtRange)> {
    let mut at = va.start();
    core::iter::from_fn(move || {
        if at >= va.end() {
            return None;
        }
        let next = at.align_down(level.size()).saturating_add(level.size()).min(va.end());
        let part = VirtRange::new(at, next);
        let index = level.index(at);
        at = next;
        Some((index, part))
    })
}

/// Makes new entries visible to all walkers, and to this CPU's next instruction.
#[inline]
pub(super) fn publish<R: Regime>() {
    mmu::dsb_ishst();
    R::synchronize();
}

impl<A: TableAccess> Mapper<'_, A> {
    /// Checks for whole pages that the tables at the top translate, within one half of the address
    /// space.
    #[inline]
    pub(super) fn check(&self, va: VirtRange) -> Result<(), MapError> {
        check(va)?;
        if va.is_empty() || A::Regime::reaches(self.root, va.end() - 1) {
            Ok(())
        } else {
            Err(MapError::OutOfRange)
        }
    }
}

/// Whole pages, within one half of the address space.
#[inline]
fn check(va: VirtRange) -> Result<(), MapError> {
    if !va.start().is_aligned(PAGE_SIZE) || !va.end().is_aligned(PAGE_SIZE) {
        return Err(MapError::Misaligned);
    }
    if va.is_empty() {
        return Ok(());
    }
    let half = va.start().get() >> VA_BITS;
    if half != (va.end() - 1).get() >> VA_BITS || (half != 0 && half != 0xffff) {
        return Err(MapError::OutOfRange);
    }
    Ok(())
}

/// A page frame within what descriptors can hold.
#[inline]
pub(super) fn check_page(pa: PhysAddr) -> Result<(), MapError> {
    if !pa.is_aligned(PAGE_SIZE as u64) {
        Err(MapError::Misaligned)
    } else if pa.get() >> VA_BITS != 0 {
        Err(MapError::OutOfRange)
    } else {
        Ok(())
    }
}
