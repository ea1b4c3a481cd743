//! Mapping: new entries, and the tables on the way to them.
#![deny(unsafe_code)]

use super::cached::{map_cached, map_sets};
use super::descriptor::{CONT_ENTRIES, Level, VA_BITS};
use super::flush::FlushOwed;
use super::mapper::{AddrOf, AttrsOf, MapError, MapFlags, Mapper, RangeOf, publish, tops};
use super::regime::Regime;
use super::table::{Entry, Leaf, TableAccess, TableAddr};
use crate::addr::{PAGE_SIZE, PhysAddr, VirtAddr, VirtRange};
use crate::arch::mmu;
use core::iter::once;

impl<A: TableAccess> Mapper<'_, A> {
    /// Maps `va` to the memory that starts at `pa`, in the largest pieces that the
    /// addresses and `flags` allow. All or nothing.
    ///
    /// # Errors
    /// Any [`MapError`] but `BreakBeforeMake`.
    pub fn map(
        &mut self,
        va: RangeOf<A>,
        pa: PhysAddr,
        attrs: AttrsOf<A>,
        flags: MapFlags,
    ) -> Result<(), MapError> {
        let va = A::Regime::input_range(va);
        self.check(va)?;
        if !pa.is_aligned(PAGE_SIZE as u64) {
            return Err(MapError::Misaligned);
        }
        match pa.checked_add(va.len() as u64) {
            Some(end) if end.get() <= 1 << VA_BITS => {}
            _ => return Err(MapError::OutOfRange),
        }
        if !flags.contains(MapFlags::NO_CONT) && map_sets(self.access, va, pa, attrs) {
            return Ok(());
        }
        let mut at = va.start();
        while at < va.end() {
            let here = pa + (at - va.start()) as u64;
            match self.map_run(VirtRange::new(at, va.end()), here, attrs, flags) {
                Ok(bytes) => at = at + bytes,
                Err(e) => return Err(self.undo(VirtRange::new(va.start(), at), at, e)),
            }
        }
        publish::<A::Regime>();
        Ok(())
    }

    /// Maps the page frames that `pages` yields one after the other from `va` on, page
    /// by page. All or nothing.
    ///
    /// # Errors
    /// Any [`MapError`] but `BreakBeforeMake`.
    pub fn map_pages(
        &mut self,
        va: AddrOf<A>,
        pages: impl Iterator<Item = PhysAddr>,
        attrs: AttrsOf<A>,
    ) -> Result<(), MapError> {
        let va = A::Regime::input(va);
        let mut pages = pages;
        let mut next = pages.next();
        let (mapped, result) = map_cached(self.access, va, &mut next, &mut pages, attrs);
        let at = va + mapped * PAGE_SIZE;
        match (result, next) {
            (Ok(()), None) => Ok(()),
            (Ok(()), Some(page)) => {
                self.map_rest_in(VirtRange::new(va, at), once(page).chain(pages), attrs)
            }
            (Err(e), _) => Err(self.undo(VirtRange::new(va, at), at, e)),
        }
    }

    /// [`Mapper::map_pages`] from the end of `done` on: what is mapped there already has been
    /// mapped by [`map_cached`], and goes too where the rest can't be mapped.
    ///
    /// # Errors
    /// As for `map_pages`.
    pub fn map_rest(
        &mut self,
        done: RangeOf<A>,
        pages: impl Iterator<Item = PhysAddr>,
        attrs: AttrsOf<A>,
    ) -> Result<(), MapError> {
        self.map_rest_in(A::Regime::input_range(done), pages, attrs)
    }

    #[inline]
    fn map_rest_in(
        &mut self,
        done: VirtRange,
        pages: impl Iterator<Item = PhysAddr>,
        attrs: AttrsOf<A>,
    ) -> Result<(), MapError> {
        let mut pages = pages;
        let mut next = pages.next();
        let mut at = done.end();
        while next.is_some() {
            let table = match self.check(VirtRange::from_size(at, PAGE_SIZE)) {
                Ok(()) => self.table_for(at, Level::Pte),
                Err(e) => Err(e),
            };
            let (mapped, result) = match table {
                Ok(table) => self.access.with(table, |t| {
                    t.set_pages(Level::Pte.index(at), attrs, &mut next, &mut pages)
                }),
                Err(e) => (0, Err(e)),
            };
            at = at + mapped * PAGE_SIZE;
            if let Err(e) = result {
                return Err(self.undo(VirtRange::new(done.start(), at), at, e));
            }
        }
        publish::<A::Regime>();
        Ok(())
    }

    /// Links a table that exists already into the PGD, for the 512 GiB around `va`: for
    /// the fixmap, whose tables serve the first and the final tree alike.
    ///
    /// # Errors
    /// `AlreadyMapped`.
    pub fn link_table(
        &mut self,
        va: AddrOf<A>,
        table: TableAddr<A::Regime>,
    ) -> Result<(), MapError> {
        let va = A::Regime::input(va);
        let (top, level) = A::Regime::top(self.root, va);
        let index = level.index(va);
        let linked = self.access.with(top, |t| {
            let free = !t.descriptor(index).is_valid();
            if free {
                t.set_table(index, table, 0);
            }
            free
        });
        mmu::dsb_ishst();
        if linked { Ok(()) } else { Err(MapError::AlreadyMapped) }
    }

    /// The table of `level` that translates `va`, made if it isn't there.
    pub(super) fn table_for(
        &mut self,
        va: VirtAddr,
        level: Level,
    ) -> Result<TableAddr<A::Regime>, MapError> {
        let there = if level == Level::Pte { self.pte_table(va) } else { None };
        there.map_or_else(|| self.make_table_for(va, level), Ok)
    }

    fn make_table_for(
        &mut self,
        va: VirtAddr,
        level: Level,
    ) -> Result<TableAddr<A::Regime>, MapError> {
        let (mut table, mut at) = A::Regime::top(self.root, va);
        while at != level {
            let index = at.index(va);
            table = match self.access.with(table, |t| t.entry(at, index)) {
                Entry::Table(next) => next,
                Entry::Leaf(_) => return Err(MapError::AlreadyMapped),
                Entry::Invalid => {
                    let new = Self::new_table(self.access)?;
                    self.access.with(table, |t| t.set_table(index, new, 0));
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
        attrs: AttrsOf<A>,
        mut flags: MapFlags,
    ) -> Result<usize, MapError> {
        // No level above the top has blocks.
        if A::Regime::top(self.root, va.start()).1 > Level::Pud {
            flags |= NO_PUD;
        }
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
                        return (done, None);
                    }
                    let first = piece.level.index(at);
                    if let Some(used) = t.first_used(first, piece.entries()) {
                        return (done, Some(t.entry(piece.level, used)));
                    }
                    let leaf = Leaf { pa: here, attrs, contiguous: piece.contiguous, valid: true };
                    t.set_leaves(piece.level, first, piece.entries(), leaf);
                    done += piece.size();
                }
            });
            match stop {
                _ if bytes > 0 => return Ok(bytes),
                None => unreachable!("a piece was chosen for this very address"),
                Some(Entry::Leaf(_) | Entry::Invalid) => return Err(MapError::AlreadyMapped),
                Some(Entry::Table(_)) => {
                    // An empty table left from earlier makes room for a block; another
                    // one means smaller pieces.
                    let whole = VirtRange::from_size(va.start(), piece.size());
                    if self.prune_before_make(whole, FlushOwed::NONE) == 0 {
                        flags |= if piece.contiguous { MapFlags::NO_CONT } else { piece.smaller() };
                    }
                }
            }
        }
    }

    /// Takes back what a failed call has mapped, and the tables on the way to `at`.
    #[cold]
    fn undo(&mut self, va: VirtRange, at: VirtAddr, error: MapError) -> MapError {
        let mut owed = FlushOwed::NONE;
        if !va.is_empty() {
            tops::<A::Regime>(self.root, va)
                .for_each(|(table, level, part)| self.unmap_in(table, level, part, &mut owed));
        }
        // Tables for `at` itself may have been made, unless it was refused unseen.
        let next = VirtRange::from_size(at, PAGE_SIZE);
        let made = if self.check(next).is_ok() { next.end() } else { at };
        self.prune_in_use(VirtRange::new(va.start(), made), owed);
        error
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
    /// Removes the flags that allowed the size just tried, so that the next choice is smaller.
    fn smaller(self) -> MapFlags {
        if self.level == Level::Pud { NO_PUD } else { MapFlags::NO_BLOCK }
    }
}

/// Set within [`Mapper::map_run`] alone: no blocks of 1 GiB here.
const NO_PUD: MapFlags = MapFlags::from_bits_retain(1 << 31);
