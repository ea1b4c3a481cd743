//! The one place that edits page tables: map, unmap, protect, and what they need.
//!
//! Order of things, in all of them (Arm ARM D8.17.1; Linux: set_pte, vunmap_range):
//! a table page is cleared and the stores are made visible before it is linked; new
//! entries are followed by `dsb ishst; isb`; entries that were valid are invalidated
//! before they say anything else (break-before-make), except for a change of
//! permissions alone, which may be made in place; what was taken away or changed is
//! owed a TLB invalidation ([`FlushOwed`]), and table pages are freed only after it.
#![deny(unsafe_code)]

use super::descriptor::{CONT_ENTRIES, KernelAttrs, Level, PTRS_PER_TABLE, VA_BITS};
use super::flush::FlushOwed;
use super::table::{Entry, Leaf, TableAccess, TableAddr};
use crate::addr::{PAGE_SIZE, PhysAddr, VirtAddr, VirtRange};
use crate::arch::mmu;
use bitflags::bitflags;
use core::fmt;

bitflags! {
    /// How a range may be mapped.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct MapFlags: u32 {
        /// In pages only, never in blocks, so that parts can change without splitting.
        const NO_BLOCK = 1 << 0;
        /// Without the contiguous bit.
        const NO_CONT = 1 << 1;
    }
}

/// Why an edit was not made; nothing has changed then.
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
}

impl fmt::Display for MapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AlreadyMapped => "part of the range is mapped already",
            Self::NoMemory => "no memory for a page table",
            Self::Misaligned => "an address is no multiple of the page size",
            Self::BreakBeforeMake => "the mapping can't be broken while it is in use",
            Self::OutOfRange => "an address is out of the tables' range",
        })
    }
}

/// Where an address leads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Translation {
    /// The physical address.
    pub pa: PhysAddr,
    /// How it is mapped.
    pub attrs: KernelAttrs,
    /// The level of the page or block.
    pub level: Level,
    /// Whether that is one of a contiguous set.
    pub contiguous: bool,
}

/// A tree of tables and the means to edit it. Whoever holds it is its only editor.
pub struct Mapper<'a, A: TableAccess> {
    pub(super) root: TableAddr,
    pub(super) access: &'a mut A,
}

/// A leaf that spans an address without starting there, or the set that it belongs to.
pub(super) struct Straddling {
    pub(super) table: TableAddr,
    pub(super) level: Level,
    /// The block, or the whole contiguous set.
    pub(super) va: VirtRange,
    pub(super) leaf: Leaf,
}

impl<'a, A: TableAccess> Mapper<'a, A> {
    /// Edits the tree under `root`, a PGD.
    pub fn new(root: TableAddr, access: &'a mut A) -> Self {
        Self { root, access }
    }

    /// A new, empty table that walkers may see once this returns: a PGD for
    /// [`Mapper::new`].
    ///
    /// # Errors
    /// [`MapError::NoMemory`].
    pub fn new_table(access: &mut A) -> Result<TableAddr, MapError> {
        let table = access.alloc().ok_or(MapError::NoMemory)?;
        access.with(table, |t| t.clear_all());
        mmu::dsb_ishst();
        Ok(table)
    }

    /// Where `va` leads, as the tables say.
    #[must_use]
    pub fn translate(&self, va: VirtAddr) -> Option<Translation> {
        let (level, _, entry) = self.lookup(va);
        let Entry::Leaf(Leaf { pa, attrs, contiguous }) = entry else {
            return None;
        };
        let offset = va.get() & (level.size() - 1);
        Some(Translation { pa: pa + offset as u64, attrs, level, contiguous })
    }

    /// Maps `va` to the memory that starts at `pa`, in the largest pieces that the
    /// addresses and `flags` allow. All or nothing.
    ///
    /// # Errors
    /// Any [`MapError`] but `BreakBeforeMake`.
    pub fn map(
        &mut self,
        va: VirtRange,
        pa: PhysAddr,
        attrs: KernelAttrs,
        flags: MapFlags,
    ) -> Result<(), MapError> {
        check(va)?;
        if !pa.is_aligned(PAGE_SIZE as u64) {
            return Err(MapError::Misaligned);
        }
        match pa.checked_add(va.len() as u64) {
            Some(end) if end.get() <= 1 << VA_BITS => {}
            _ => return Err(MapError::OutOfRange),
        }
        let mut at = va.start();
        while at < va.end() {
            let here = pa + (at - va.start()) as u64;
            match self.map_run(VirtRange::new(at, va.end()), here, attrs, flags) {
                Ok(bytes) => at = at + bytes,
                Err(e) => return Err(self.undo(VirtRange::new(va.start(), at), at, e)),
            }
        }
        publish();
        Ok(())
    }

    /// Maps the page frames that `pages` yields one after the other from `va` on, page
    /// by page. All or nothing.
    ///
    /// # Errors
    /// Any [`MapError`] but `BreakBeforeMake`.
    pub fn map_pages(
        &mut self,
        va: VirtAddr,
        pages: impl Iterator<Item = PhysAddr>,
        attrs: KernelAttrs,
    ) -> Result<(), MapError> {
        let mut pages = pages.peekable();
        let mut at = va;
        let result = loop {
            if pages.peek().is_none() {
                break Ok(());
            }
            if let Err(e) = check(VirtRange::from_size(at, PAGE_SIZE)) {
                break Err(e);
            }
            let table = match self.table_for(at, Level::Pte) {
                Ok(table) => table,
                Err(e) => break Err(e),
            };
            let first = Level::Pte.index(at);
            let mut index = first;
            let filled = self.access.with(table, |t| {
                while index < PTRS_PER_TABLE {
                    let Some(&pa) = pages.peek() else { break };
                    if t.descriptor(index).is_valid() {
                        return Err(MapError::AlreadyMapped);
                    }
                    check_page(pa)?;
                    t.set_leaf(Level::Pte, index, Leaf { pa, attrs, contiguous: false });
                    pages.next();
                    index += 1;
                }
                Ok(())
            });
            at = at + (index - first) * PAGE_SIZE;
            if filled.is_err() {
                break filled;
            }
        };
        match result {
            Ok(()) => {
                publish();
                Ok(())
            }
            Err(e) => Err(self.undo(VirtRange::new(va, at), at, e)),
        }
    }

    /// Takes away whatever is mapped in `va`. Tables stay, empty or not; see
    /// [`Mapper::prune`]. A contiguous set that the range cuts is unfolded.
    ///
    /// # Errors
    /// `Misaligned`, `OutOfRange`; `BreakBeforeMake` where the range cuts a block, which
    /// has to be [split](Mapper::split) first, or a contiguous set that can't be broken.
    pub fn unmap(&mut self, va: VirtRange) -> Result<FlushOwed, MapError> {
        check(va)?;
        self.free_ends(va)?;
        let mut owed = FlushOwed::NONE;
        self.unmap_in(self.root, Level::Pgd, va, &mut owed);
        Ok(owed)
    }

    /// Gives everything that is mapped in `va` these attributes: in place if only
    /// permissions change, else by break-before-make. Holes stay holes.
    ///
    /// # Errors
    /// As for [`Mapper::unmap`]; also `BreakBeforeMake` where memory types differ and
    /// the range can't be broken.
    pub fn protect(&mut self, va: VirtRange, attrs: KernelAttrs) -> Result<FlushOwed, MapError> {
        check(va)?;
        let in_place = self.all_leaves(self.root, Level::Pgd, va, &|old| old.same_memory(attrs));
        if !(in_place || self.access.may_break(va) && self.windows_lie_outside(va)) {
            return Err(MapError::BreakBeforeMake);
        }
        self.free_ends(va)?;
        let mut owed = FlushOwed::NONE;
        if in_place {
            self.protect_in(self.root, Level::Pgd, va, attrs, &mut owed);
        } else {
            self.protect_by_break(self.root, Level::Pgd, va, attrs);
            publish();
        }
        Ok(owed)
    }

    /// Links a table that exists already into the PGD, for the 512 GiB around `va`: for
    /// the fixmap, whose tables serve the first and the final tree alike.
    ///
    /// # Errors
    /// `AlreadyMapped`.
    pub fn graft(&mut self, va: VirtAddr, table: TableAddr) -> Result<(), MapError> {
        let index = Level::Pgd.index(va);
        let linked = self.access.with(self.root, |t| {
            let free = !t.descriptor(index).is_valid();
            if free {
                t.set_table(index, table);
            }
            free
        });
        mmu::dsb_ishst();
        if linked { Ok(()) } else { Err(MapError::AlreadyMapped) }
    }

    /// Takes empty tables that translate any of `va` out of the tree. Their pages are
    /// freed when the flush is settled.
    pub fn prune(&mut self, va: VirtRange) -> FlushOwed {
        let mut owed = FlushOwed::NONE;
        if check(va).is_ok() {
            self.prune_in(self.root, Level::Pgd, va, &mut owed);
        }
        owed
    }

    /// The entry that decides about `va`: where it is and what it says.
    pub(super) fn lookup(&self, va: VirtAddr) -> (Level, TableAddr, Entry) {
        let (mut table, mut level) = (self.root, Level::Pgd);
        loop {
            let entry = self.access.with(table, |t| t.entry(level, level.index(va)));
            match (entry, level.down()) {
                (Entry::Table(next), Some(down)) => (table, level) = (next, down),
                _ => return (level, table, entry),
            }
        }
    }

    /// The leaf or contiguous set that spans `at` and starts before it.
    pub(super) fn straddling(&self, at: VirtAddr) -> Option<Straddling> {
        let (level, table, entry) = self.lookup(at);
        let Entry::Leaf(leaf) = entry else {
            return None;
        };
        let size = if leaf.contiguous { level.cont_size() } else { level.size() };
        if at.is_aligned(size) {
            return None;
        }
        Some(Straddling { table, level, va: VirtRange::from_size(at.align_down(size), size), leaf })
    }

    /// Sees to it that no contiguous set spans an end of `va`; an error if a block does.
    fn free_ends(&mut self, va: VirtRange) -> Result<(), MapError> {
        let ends = [va.start(), va.end()];
        let cut = ends.map(|at| self.straddling(at));
        for s in cut.iter().flatten() {
            if !s.leaf.contiguous || !self.can_unfold(s) || self.cuts_member(s, ends) {
                return Err(MapError::BreakBeforeMake);
            }
        }
        for at in ends {
            // Looked up again: both ends may lie in the same set.
            if let Some(s) = self.straddling(at) {
                self.unfold(&s);
                publish();
            }
        }
        Ok(())
    }

    fn cuts_member(&self, s: &Straddling, ends: [VirtAddr; 2]) -> bool {
        ends.iter().any(|&at| s.va.contains(at) && !at.is_aligned(s.level.size()))
    }

    pub(super) fn can_unfold(&self, s: &Straddling) -> bool {
        self.access.may_break(s.va) && !s.va.contains(self.access.window(s.table))
    }

    /// Takes the contiguous bit away from a set, by break-before-make. [`publish`] is to
    /// follow.
    pub(super) fn unfold(&mut self, s: &Straddling) {
        let first = s.level.index(s.va.start());
        self.rewrite(s.table, s.level, first, s.va, |leaf| Leaf { contiguous: false, ..leaf });
    }

    /// Breaks the leaves of a contiguous set or a single one, invalidates, and makes
    /// them anew as `change` says. [`publish`] is to follow.
    fn rewrite(
        &mut self,
        table: TableAddr,
        level: Level,
        first: usize,
        va: VirtRange,
        change: impl Fn(Leaf) -> Leaf,
    ) {
        let mut old = [Entry::Invalid; CONT_ENTRIES];
        let count = va.len() >> level.shift();
        self.access.with(table, |t| {
            for (i, slot) in old.iter_mut().enumerate().take(count) {
                *slot = t.entry(level, first + i);
                t.clear(first + i);
            }
        });
        let mut owed = FlushOwed::NONE;
        owed.add_leaves(va, level);
        owed.settle_before_make(self.access);
        self.access.with(table, |t| {
            for (i, entry) in old.into_iter().enumerate().take(count) {
                if let Entry::Leaf(leaf) = entry {
                    t.set_leaf(level, first + i, change(leaf));
                }
            }
        });
    }

    /// The table of `level` that translates `va`, made if it isn't there.
    fn table_for(&mut self, va: VirtAddr, level: Level) -> Result<TableAddr, MapError> {
        let (mut table, mut at) = (self.root, Level::Pgd);
        while at != level {
            let index = at.index(va);
            table = match self.access.with(table, |t| t.entry(at, index)) {
                Entry::Table(next) => next,
                Entry::Leaf(_) => return Err(MapError::AlreadyMapped),
                Entry::Invalid => {
                    let new = Self::new_table(self.access)?;
                    self.access.with(table, |t| t.set_table(index, new));
                    new
                }
            };
            let Some(down) = at.down() else { break };
            at = down;
        }
        Ok(table)
    }

    /// Maps the start of `va` in pieces of one size within one table; the bytes mapped.
    fn map_run(
        &mut self,
        va: VirtRange,
        pa: PhysAddr,
        attrs: KernelAttrs,
        mut flags: MapFlags,
    ) -> Result<usize, MapError> {
        loop {
            let piece = Piece::choose(va, pa, flags);
            let table = self.table_for(va.start(), piece.level)?;
            let (bytes, stop) = self.access.with(table, |t| {
                let mut done = 0;
                loop {
                    let at = va.start() + done;
                    let left = VirtRange::new(at, va.end());
                    let here = pa + done as u64;
                    // The table ends where its index starts over.
                    let over = done > 0 && piece.level.index(at) == 0;
                    if over || left.is_empty() || Piece::choose(left, here, flags) != piece {
                        return (done, Entry::Invalid);
                    }
                    let first = piece.level.index(at);
                    for i in first..first + piece.entries() {
                        let entry = t.entry(piece.level, i);
                        if entry != Entry::Invalid {
                            return (done, entry);
                        }
                    }
                    for i in 0..piece.entries() {
                        let pa = here + (i << piece.level.shift()) as u64;
                        let leaf = Leaf { pa, attrs, contiguous: piece.contiguous };
                        t.set_leaf(piece.level, first + i, leaf);
                    }
                    done += piece.size();
                }
            });
            match stop {
                _ if bytes > 0 => return Ok(bytes),
                Entry::Invalid => unreachable!("a piece was chosen for this very address"),
                Entry::Leaf(_) => return Err(MapError::AlreadyMapped),
                Entry::Table(_) => {
                    // An empty table left from earlier makes room for a block; another
                    // one means smaller pieces.
                    let owed = self.prune(VirtRange::from_size(va.start(), piece.size()));
                    if owed.is_none() {
                        flags |= if piece.contiguous { MapFlags::NO_CONT } else { piece.smaller() };
                    }
                    owed.settle_before_make(self.access);
                }
            }
        }
    }

    /// Takes back what a failed call has mapped, and the tables on the way to `at`.
    #[cold]
    fn undo(&mut self, va: VirtRange, at: VirtAddr, error: MapError) -> MapError {
        let mut owed = FlushOwed::NONE;
        if !va.is_empty() {
            self.unmap_in(self.root, Level::Pgd, va, &mut owed);
        }
        // Tables for `at` itself may have been made, unless it was refused unseen.
        let next = VirtRange::from_size(at, PAGE_SIZE);
        let made = if check(next).is_ok() { next.end() } else { at };
        let tables = self.prune(VirtRange::new(va.start(), made));
        owed.merge(tables, self.access).settle(self.access);
        error
    }

    fn unmap_in(&mut self, table: TableAddr, level: Level, va: VirtRange, owed: &mut FlushOwed) {
        let Some(down) = level.down() else {
            let first = level.index(va.start());
            let mut cleared: Option<(usize, usize)> = None;
            self.access.with(table, |t| {
                for i in first..first + va.len() / PAGE_SIZE {
                    if t.descriptor(i).is_valid() {
                        t.clear(i);
                        cleared = Some((cleared.map_or(i, |c| c.0), i));
                    }
                }
            });
            if let Some((low, high)) = cleared {
                let start = va.start() + (low - first) * PAGE_SIZE;
                let bytes = (high + 1 - low) * PAGE_SIZE;
                owed.add_leaves(VirtRange::from_size(start, bytes), level);
            }
            return;
        };
        for (index, part) in parts(va, level) {
            match self.access.with(table, |t| t.entry(level, index)) {
                Entry::Invalid => {}
                Entry::Table(next) => self.unmap_in(next, down, part, owed),
                Entry::Leaf(_) => {
                    debug_assert_eq!(part.len(), level.size(), "free_ends saw to it");
                    self.access.with(table, |t| t.clear(index));
                    owed.add_leaves(part, level);
                }
            }
        }
    }

    fn all_leaves(
        &self,
        table: TableAddr,
        level: Level,
        va: VirtRange,
        holds: &impl Fn(KernelAttrs) -> bool,
    ) -> bool {
        parts(va, level).all(|(index, part)| {
            match (self.access.with(table, |t| t.entry(level, index)), level.down()) {
                (Entry::Table(next), Some(down)) => self.all_leaves(next, down, part, holds),
                (Entry::Leaf(leaf), _) => holds(leaf.attrs),
                _ => true,
            }
        })
    }

    /// Whether no table that translates `va` is itself reached through `va`.
    fn windows_lie_outside(&self, va: VirtRange) -> bool {
        self.windows_lie_outside_in(self.root, Level::Pgd, va, va)
    }

    fn windows_lie_outside_in(
        &self,
        table: TableAddr,
        level: Level,
        part: VirtRange,
        va: VirtRange,
    ) -> bool {
        !va.contains(self.access.window(table))
            && parts(part, level).all(|(index, part)| {
                let entry = self.access.with(table, |t| t.entry(level, index));
                let (Entry::Table(next), Some(down)) = (entry, level.down()) else {
                    return true;
                };
                self.windows_lie_outside_in(next, down, part, va)
            })
    }

    fn protect_in(
        &mut self,
        table: TableAddr,
        level: Level,
        va: VirtRange,
        attrs: KernelAttrs,
        owed: &mut FlushOwed,
    ) {
        for (index, part) in parts(va, level) {
            match (self.access.with(table, |t| t.entry(level, index)), level.down()) {
                (Entry::Table(next), Some(down)) => {
                    self.protect_in(next, down, part, attrs, owed);
                }
                (Entry::Leaf(leaf), _) if leaf.attrs != attrs => {
                    self.access.with(table, |t| t.set_leaf(level, index, Leaf { attrs, ..leaf }));
                    owed.add_leaves(part, level);
                }
                _ => {}
            }
        }
    }

    fn protect_by_break(
        &mut self,
        table: TableAddr,
        level: Level,
        va: VirtRange,
        attrs: KernelAttrs,
    ) {
        let mut done = va.start();
        for (index, part) in parts(va, level) {
            if part.start() < done {
                continue;
            }
            match (self.access.with(table, |t| t.entry(level, index)), level.down()) {
                (Entry::Table(next), Some(down)) => {
                    self.protect_by_break(next, down, part, attrs);
                }
                (Entry::Leaf(leaf), _) if leaf.attrs != attrs => {
                    let size = if leaf.contiguous { level.cont_size() } else { level.size() };
                    let whole = VirtRange::from_size(part.start().align_down(size), size);
                    let first = level.index(whole.start());
                    self.rewrite(table, level, first, whole, |leaf| Leaf { attrs, ..leaf });
                    done = whole.end();
                }
                _ => {}
            }
        }
    }

    fn prune_in(&mut self, table: TableAddr, level: Level, va: VirtRange, owed: &mut FlushOwed) {
        let Some(down) = level.down() else { return };
        for (index, part) in parts(va, level) {
            let Entry::Table(next) = self.access.with(table, |t| t.entry(level, index)) else {
                continue;
            };
            self.prune_in(next, down, part, owed);
            if self.access.with(next, |t| t.is_empty()) {
                self.access.with(table, |t| t.clear(index));
                owed.add_table(part.start(), level, next, self.access);
            }
        }
    }
}

/// A size in which a run is mapped.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Piece {
    level: Level,
    contiguous: bool,
}

impl Piece {
    /// The largest that `va` and `pa` can start with.
    fn choose(va: VirtRange, pa: PhysAddr, flags: MapFlags) -> Self {
        let at = va.start().get() | pa.get() as usize;
        let fits = |size: usize| at & (size - 1) == 0 && va.len() >= size;
        let block = !flags.contains(MapFlags::NO_BLOCK);
        let cont = !flags.contains(MapFlags::NO_CONT);
        let (level, contiguous) = match () {
            () if block && !flags.intersects(NO_PUD) && fits(Level::Pud.size()) => {
                (Level::Pud, false)
            }
            () if block && cont && fits(Level::Pmd.cont_size()) => (Level::Pmd, true),
            () if block && fits(Level::Pmd.size()) => (Level::Pmd, false),
            () if cont && fits(Level::Pte.cont_size()) => (Level::Pte, true),
            () => (Level::Pte, false),
        };
        Self { level, contiguous }
    }
    fn entries(self) -> usize {
        if self.contiguous { CONT_ENTRIES } else { 1 }
    }
    fn size(self) -> usize {
        self.entries() << self.level.shift()
    }
    /// What makes the next choice one of a lower level.
    fn smaller(self) -> MapFlags {
        if self.level == Level::Pud { NO_PUD } else { MapFlags::NO_BLOCK }
    }
}

/// Set within [`Mapper::map_run`] alone: no blocks of 1 GiB here.
const NO_PUD: MapFlags = MapFlags::from_bits_retain(1 << 31);

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
pub(super) fn publish() {
    mmu::dsb_ishst();
    mmu::isb();
}

/// Whole pages, within one half of the address space.
pub(super) fn check(va: VirtRange) -> Result<(), MapError> {
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

fn check_page(pa: PhysAddr) -> Result<(), MapError> {
    if !pa.is_aligned(PAGE_SIZE as u64) {
        Err(MapError::Misaligned)
    } else if pa.get() >> VA_BITS != 0 {
        Err(MapError::OutOfRange)
    } else {
        Ok(())
    }
}
