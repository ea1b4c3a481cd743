//! Unmapping, and the release of tables that map nothing any more.
#![deny(unsafe_code)]

use super::cached::unmap_cached;
use super::descriptor::Level;
use super::flush::{FlushOwed, Reach};
use super::mapper::{MapError, Mapper, RangeOf, parts, tops};
use super::regime::{Kernel, Regime};
use super::table::{Entry, TableAccess, TableAddr};
use crate::addr::{PAGE_SIZE, VirtRange};

impl<A: TableAccess<Regime = Kernel>> Mapper<'_, A> {
    /// Takes away whatever is mapped in `va`. Tables stay, empty or not; see
    /// [`Mapper::prune`]. A contiguous set that the range cuts is unfolded. Other regimes have
    /// [`Mapper::zap`], which loses no access flag or dirty state.
    ///
    /// # Errors
    /// `Misaligned`, `OutOfRange`; `BreakBeforeMake` where the range cuts a block, which
    /// has to be [split](Mapper::split) first, or a contiguous set that can't be broken.
    pub fn unmap(&mut self, va: RangeOf<A>) -> Result<FlushOwed<A::Regime>, MapError> {
        let va = A::Regime::input_range(va);
        self.check(va)?;
        let in_one_table = !va.is_empty()
            && va.start().align_down(Level::Pmd.size())
                == (va.end() - 1).align_down(Level::Pmd.size());
        let mut owed = FlushOwed::NONE;
        if in_one_table
            && self.pte_table(va.start()).is_some()
            && unmap_cached(self.access, va.start(), va.len() / PAGE_SIZE, &mut owed)
        {
            return Ok(owed);
        }
        self.free_ends(va)?;
        for (table, level, part) in tops::<A::Regime>(self.root, va) {
            self.unmap_in(table, level, part, &mut owed);
        }
        Ok(owed)
    }
}

impl<A: TableAccess> Mapper<'_, A> {
    pub(super) fn unmap_in(
        &mut self,
        table: TableAddr<A::Regime>,
        level: Level,
        va: VirtRange,
        owed: &mut FlushOwed<A::Regime>,
    ) {
        let Some(down) = level.down() else {
            let (first, pages) = (level.index(va.start()), va.len() / PAGE_SIZE);
            let cleared = self.access.with(table, |t| t.clear_range(first, pages));
            let before = core::mem::replace(owed, FlushOwed::NONE);
            *owed = before.merge(owed_for_pages(va, cleared));
            return;
        };
        for (index, part) in parts(va, level) {
            match self.access.with(table, |t| t.entry(level, index)) {
                Entry::Invalid => {}
                Entry::Table(next) => self.unmap_in(next, down, part, owed),
                Entry::Leaf(_) => {
                    debug_assert_eq!(part.len(), level.size(), "free_ends saw to it");
                    self.access.with(table, |t| t.clear(index));
                    owed.add(part, level.size());
                }
            }
        }
    }

    /// Takes empty tables that translate any of `va` out of the tree, does that flush and `owed`
    /// as one, and frees the tables. Returns their number.
    ///
    /// It can't be put off: until walkers have forgotten an empty table, they would miss
    /// what is mapped by a new one in its place.
    pub fn prune(&mut self, va: RangeOf<A>, owed: FlushOwed<A::Regime>) -> usize {
        self.prune_in_use(A::Regime::input_range(va), owed)
    }

    pub(super) fn prune_in_use(&mut self, va: VirtRange, owed: FlushOwed<A::Regime>) -> usize {
        let any = !owed.is_none();
        let freed = self.prune_before_make(va, owed);
        // Nothing changes by the tables alone; what is mapped anew brings its own barrier.
        if any {
            A::Regime::synchronize();
        }
        freed
    }

    /// Like [`Mapper::prune`] but for the last barrier.
    pub(super) fn prune_before_make(
        &mut self,
        va: VirtRange,
        mut owed: FlushOwed<A::Regime>,
    ) -> usize {
        let mut dead = None;
        if self.check(va).is_ok() {
            for (table, level, part) in tops::<A::Regime>(self.root, va) {
                self.prune_in(table, level, part, &mut dead, &mut owed);
            }
        }
        let reach = if dead.is_some() { Reach::AllLevels } else { Reach::LastLevel };
        owed.flush_before_make(reach, || self.access.tag());
        let mut freed = 0;
        while let Some(table) = dead {
            dead = self.access.with(table, |t| t.dead_link());
            self.access.free(table);
            freed += 1;
        }
        freed
    }

    fn prune_in(
        &mut self,
        table: TableAddr<A::Regime>,
        level: Level,
        va: VirtRange,
        dead: &mut Option<TableAddr<A::Regime>>,
        owed: &mut FlushOwed<A::Regime>,
    ) {
        let Some(down) = level.down() else { return };
        for (index, part) in parts(va, level) {
            let Entry::Table(next) = self.access.with(table, |t| t.entry(level, index)) else {
                continue;
            };
            self.prune_in(next, down, part, dead, owed);
            if self.access.with(next, |t| t.is_empty()) {
                self.access.with(table, |t| t.clear(index));
                let spanned = part.start().align_down(level.size());
                owed.add(VirtRange::from_size(spanned, level.size()), level.size());
                self.access.with(next, |t| t.set_dead_link(dead.replace(next)));
            }
        }
    }
}

/// Returns the flush owed for the pages from the first to the last index of `cleared`, in the
/// table that translates `va`.
fn owed_for_pages<R: Regime>(va: VirtRange, cleared: Option<(usize, usize)>) -> FlushOwed<R> {
    let mut owed = FlushOwed::NONE;
    if let Some((low, high)) = cleared {
        let start = va.start() + (low - Level::Pte.index(va.start())) * PAGE_SIZE;
        owed.add(VirtRange::from_size(start, (high + 1 - low) * PAGE_SIZE), PAGE_SIZE);
    }
    owed
}
