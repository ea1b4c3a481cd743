//! Changing the size in which live memory is mapped: always by break-before-make.
#![deny(unsafe_code)]

use super::descriptor::{CONT_ENTRIES, Level, PTRS_PER_TABLE};
use super::flush::{FlushOwed, Reach};
use super::mapper::{AttrsOf, MapError, Mapper, RangeOf, Straddling, publish};
use super::regime::{Attributes, Regime};
use super::table::{Entry, Leaf, Table, TableAccess, TableAddr};
use crate::addr::{PAGE_SIZE, PhysAddr, VirtAddr, VirtRange};

impl<A: TableAccess> Mapper<'_, A> {
    /// Splits blocks and contiguous sets so that none spans an end of `va`, and the range can be
    /// changed by itself. The mapping stays as it is, also on errors.
    ///
    /// # Errors
    /// `Misaligned`, `OutOfRange`, `NoMemory`; `BreakBeforeMake` where a block can't be
    /// unmapped for the moment that this takes.
    pub fn split(&mut self, va: RangeOf<A>) -> Result<(), MapError> {
        let va = A::Regime::input_range(va);
        self.check(va)?;
        for at in [va.start(), va.end()] {
            while let Some(s) = self.straddling(at) {
                if !self.can_unfold(&s) {
                    return Err(MapError::BreakBeforeMake);
                }
                if s.leaf.contiguous {
                    self.unfold(&s);
                } else {
                    // The set that is cut would have to be unfolded at once.
                    self.split_block(&s, |set| set.start() == at || !set.contains(at))?;
                }
            }
        }
        Ok(())
    }

    /// Splits all that is mapped in `va` into single pages, no two of one contiguous set,
    /// so that each can be changed by itself (Linux: linear_map_split_to_ptes).
    ///
    /// # Errors
    /// As for [`Mapper::split`]. What is split by then stays so.
    pub fn split_to_pages(&mut self, va: RangeOf<A>) -> Result<(), MapError> {
        let va = A::Regime::input_range(va);
        self.check(va)?;
        let mut at = va.start();
        while at < va.end() {
            let (level, table, entry) = self.lookup(at);
            let Entry::Leaf(leaf) = entry else {
                at = at.align_down(level.size()).saturating_add(level.size());
                continue;
            };
            let size = if leaf.contiguous { level.cont_size() } else { level.size() };
            let whole = VirtRange::from_size(at.align_down(size), size);
            let s = Straddling { table, level, va: whole, leaf };
            if size == PAGE_SIZE {
                at = at + PAGE_SIZE;
            } else if !self.can_unfold(&s) {
                return Err(MapError::BreakBeforeMake);
            } else if leaf.contiguous {
                self.unfold(&s);
            } else {
                // What lies outside is not asked for, and may stay in larger pieces.
                self.split_block(&s, |set| !set.overlaps(va))?;
            }
        }
        Ok(())
    }

    /// Replaces a block by a table that maps the same in the next smaller size, in the
    /// contiguous sets that `folds` says yes to.
    fn split_block(
        &mut self,
        s: &Straddling<A::Regime>,
        folds: impl Fn(VirtRange) -> bool,
    ) -> Result<(), MapError> {
        let down = s.level.down().expect("a page spans no multiple of its size but its start");
        let new = self.access.alloc().ok_or(MapError::NoMemory)?;
        let fill = |t: &Table<A::Regime>, block: Leaf<A::Regime>| {
            for i in 0..PTRS_PER_TABLE {
                let offset = i << down.shift();
                let set = (s.va.start() + offset).align_down(down.cont_size());
                let set = VirtRange::from_size(set, down.cont_size());
                let contiguous = folds(set);
                t.set_leaf(down, i, Leaf { pa: block.pa + offset as u64, contiguous, ..block });
            }
        };
        self.access.with(new, |t| {
            t.clear_all();
            fill(t, s.leaf);
        });
        let index = s.level.index(s.va.start());
        self.access.begin_bbm(s.va);
        let last = self.access.with(s.table, |t| t.take_entry(s.level, index));
        if let Entry::Leaf(last) = last
            && last != s.leaf
        {
            // Hardware has made it young or dirty meanwhile.
            self.access.with(new, |t| fill(t, last));
        }
        let mut owed = FlushOwed::<A::Regime>::NONE;
        owed.add(s.va, s.level.size());
        owed.flush_before_make(Reach::LastLevel, || self.access.tag());
        self.access.with(s.table, |t| t.set_table(index, new, 0));
        publish::<A::Regime>();
        self.access.end_bbm();
        Ok(())
    }

    /// Maps `va`, one block of 2 MiB or 1 GiB that is mapped in the next smaller size,
    /// by a single descriptor, and frees the table. The block is young if a part of it is, and dirty
    /// if a part of it is.
    ///
    /// # Errors
    /// `Misaligned` where `va` is no such block; `BreakBeforeMake` where what it maps is
    /// not one piece of memory with the same attributes but for that state, or the range can't be
    /// broken.
    pub fn collapse(&mut self, va: RangeOf<A>) -> Result<(), MapError> {
        let va = A::Regime::input_range(va);
        self.check(va)?;
        let level = match va.len() {
            len if len == Level::Pud.size() => Level::Pud,
            len if len == Level::Pmd.size() => Level::Pmd,
            _ => return Err(MapError::Misaligned),
        };
        if !va.start().is_aligned(level.size()) {
            return Err(MapError::Misaligned);
        }
        let Some(([parent, table], down)) = self.table_under(va.start(), level) else {
            return Err(MapError::BreakBeforeMake);
        };
        let (pa, attrs) = self.as_one(table, down).ok_or(MapError::BreakBeforeMake)?;
        let breakable = self.access.may_break(va) && !va.contains(self.access.window(parent, va));
        if !breakable || !pa.is_aligned(level.size() as u64) {
            return Err(MapError::BreakBeforeMake);
        }
        let index = level.index(va.start());
        self.access.begin_bbm(va);
        self.access.with(parent, |t| t.clear(index));
        let mut owed = FlushOwed::<A::Regime>::NONE;
        owed.add(va, down.size());
        owed.flush_before_make(Reach::AllLevels, || self.access.tag());
        // No walker reaches the table any more, and its state is the last.
        let attrs = self.as_one(table, down).map_or(attrs, |(_, attrs)| attrs);
        let leaf = Leaf { pa, attrs, contiguous: false, valid: true };
        self.access.with(parent, |t| t.set_leaf(level, index, leaf));
        publish::<A::Regime>();
        self.access.end_bbm();
        self.access.free(table);
        Ok(())
    }

    /// The table of `level` for `va`, the one below it that it links there, and that
    /// one's level.
    fn table_under(
        &self,
        va: VirtAddr,
        level: Level,
    ) -> Option<([TableAddr<A::Regime>; 2], Level)> {
        let (mut table, mut at) = A::Regime::top(self.root, va);
        loop {
            let entry = self.access.with(table, |t| t.entry(at, at.index(va)));
            let (Entry::Table(next), Some(down)) = (entry, at.down()) else {
                return None;
            };
            if at == level {
                return Some(([table, next], down));
            }
            (table, at) = (next, down);
        }
    }

    /// Returns the memory and attributes that a table of `level` maps, if it maps one contiguous
    /// piece with one kind of attributes; young and dirty if any part is.
    fn as_one(&self, table: TableAddr<A::Regime>, level: Level) -> Option<(PhysAddr, AttrsOf<A>)> {
        self.access.with(table, |t| {
            let Entry::Leaf(first @ Leaf { valid: true, .. }) = t.entry(level, 0) else {
                return None;
            };
            let attrs = (1..PTRS_PER_TABLE).try_fold(first.attrs, |attrs, i| {
                let expected = first.pa + (i << level.shift()) as u64;
                let Entry::Leaf(leaf) = t.entry(level, i) else { return None };
                let both = attrs.with_state_of(leaf.attrs);
                let alike = both == leaf.attrs.with_state_of(attrs);
                (leaf.valid && leaf.pa == expected && alike).then_some(both)
            })?;
            Some((first.pa, attrs))
        })
    }

    /// The leaf or contiguous set that spans `at` and starts before it.
    fn straddling(&self, at: VirtAddr) -> Option<Straddling<A::Regime>> {
        if !A::Regime::reaches(self.root, at) {
            // The end of what is translated.
            return None;
        }
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
    pub(super) fn free_ends(&mut self, va: VirtRange) -> Result<(), MapError> {
        let ends = [va.start(), va.end()];
        // The usual case, without moving anything about.
        if ends.iter().all(|&at| self.straddling(at).is_none()) {
            return Ok(());
        }
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
            }
        }
        Ok(())
    }

    fn cuts_member(&self, s: &Straddling<A::Regime>, ends: [VirtAddr; 2]) -> bool {
        ends.iter().any(|&at| s.va.contains(at) && !at.is_aligned(s.level.size()))
    }

    fn can_unfold(&self, s: &Straddling<A::Regime>) -> bool {
        self.access.may_break(s.va) && !s.va.contains(self.access.window(s.table, s.va))
    }

    /// Takes the contiguous bit away from a set, by break-before-make.
    fn unfold(&mut self, s: &Straddling<A::Regime>) {
        let first = s.level.index(s.va.start());
        self.access.begin_bbm(s.va);
        self.rewrite(s.table, s.level, first, s.va, |leaf| Leaf { contiguous: false, ..leaf });
        publish::<A::Regime>();
        self.access.end_bbm();
    }

    /// Breaks the leaves of a contiguous set or a single one, invalidates, and makes
    /// them anew as `change` says, young and dirty if one of them is: between [`TableAccess::begin_bbm`] and [`publish`].
    pub(super) fn rewrite(
        &mut self,
        table: TableAddr<A::Regime>,
        level: Level,
        first: usize,
        va: VirtRange,
        change: impl Fn(Leaf<A::Regime>) -> Leaf<A::Regime>,
    ) {
        let mut old = [Entry::Invalid; CONT_ENTRIES];
        let count = va.len() >> level.shift();
        self.access.with(table, |t| {
            for (i, slot) in old.iter_mut().enumerate().take(count) {
                *slot = t.take_entry(level, first + i);
            }
        });
        let mut owed = FlushOwed::<A::Regime>::NONE;
        owed.add(va, level.size());
        owed.flush_before_make(Reach::LastLevel, || self.access.tag());
        let leaves = old.iter().filter_map(|entry| match entry {
            Entry::Leaf(leaf) => Some(leaf.attrs),
            _ => None,
        });
        let Some(state) = leaves.reduce(Attributes::with_state_of) else { return };
        self.access.with(table, |t| {
            for (i, entry) in old.into_iter().enumerate().take(count) {
                if let Entry::Leaf(leaf) = entry {
                    let attrs = leaf.attrs.with_state_of(state);
                    t.set_leaf(level, first + i, change(Leaf { attrs, ..leaf }));
                }
            }
        });
    }
}
