//! Reading a whole tree: what it maps, and whether it is as it should be.
#![deny(unsafe_code)]

use super::descriptor::{CONT_ENTRIES, Descriptor, Level, PTRS_PER_TABLE, TableLimits};
use super::mapper::{AddrOf, Mapper, RangeOf, Translation, tops};
use super::regime::{Attributes, Regime};
use super::table::{Entry, Leaf, Table, TableAccess, TableAddr};
use crate::addr::{VirtAddr, VirtRange};
use core::fmt;
use core::ops::ControlFlow;

/// Defect of a tree; see [`Mapper::validate`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BadTree {
    /// The first address that the entry decides about.
    pub va: VirtAddr,
    /// The level of its table.
    pub level: Level,
    /// Description of the defect.
    pub what: &'static str,
}

impl fmt::Display for BadTree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} entry for {}: {}", self.level, self.va, self.what)
    }
}

impl core::error::Error for BadTree {}

/// Contents of a tree.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct TreeStats {
    /// Table pages, the root's included.
    pub tables: usize,
    /// Leaves by level: blocks of 1 GiB, blocks of 2 MiB, pages.
    pub leaves: [usize; 3],
    /// Leaves that are in contiguous sets.
    pub contiguous: usize,
}

impl<A: TableAccess> Mapper<'_, A> {
    /// Calls `f` with each leaf that maps some of `va`, rising: its first address and
    /// its translation, with the rights that the tables above it leave, until `f` breaks off. A contiguous set counts sixteen times.
    /// Present-invalid entries count too.
    pub fn for_each_leaf(
        &self,
        va: RangeOf<A>,
        mut f: impl FnMut(AddrOf<A>, Translation<A::Regime>) -> ControlFlow<()>,
    ) {
        let va = A::Regime::input_range(va);
        let _ = tops::<A::Regime>(self.root, va).try_for_each(|(table, level, part)| {
            self.leaves_in(table, level, part, TableLimits::NONE, &mut f)
        });
    }

    fn leaves_in(
        &self,
        table: TableAddr<A::Regime>,
        level: Level,
        va: VirtRange,
        limits: TableLimits,
        f: &mut impl FnMut(AddrOf<A>, Translation<A::Regime>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        if va.is_empty() {
            return ControlFlow::Continue(());
        }
        let base = va.start().align_down(level.size() * PTRS_PER_TABLE);
        let (mut at, last) = (level.index(va.start()), level.index(va.end() - 1));
        // Tables are empty for the most part: the next entry that says something is looked for
        // by its word alone.
        let next = |t: &Table<A::Regime>, at: usize| {
            let index = (at..=last).find(|&index| t.descriptor(index) != Descriptor::INVALID)?;
            Some((index, t.descriptor(index)))
        };
        while let Some((index, word)) = self.access.with(table, |t| next(t, at)) {
            let entry = Table::<A::Regime>::decode(level, word);
            at = index + 1;
            let start = base + (index << level.shift());
            let whole = VirtRange::new(start, start.saturating_add(level.size()));
            let part = whole.intersect(va);
            match (entry, level.down()) {
                (Entry::Table(next), Some(down)) => {
                    self.leaves_in(next, down, part, limits.and(word), f)?;
                }
                (Entry::Leaf(Leaf { pa, attrs, contiguous, valid }), _) => {
                    let attrs = attrs.limited(limits);
                    f(
                        A::Regime::output(start),
                        Translation { pa, attrs, level, contiguous, valid },
                    )?;
                }
                _ => {}
            }
        }
        ControlFlow::Continue(())
    }

    /// Walks the whole tree, which translates from `base` on, and checks every
    /// invariant: no leaf has what none of the regime may, memory is aligned to the size in
    /// which it is mapped, and contiguous sets are alike and complete.
    ///
    /// # Errors
    /// The first entry found that is wrong.
    pub fn validate(&self, base: AddrOf<A>) -> Result<TreeStats, BadTree> {
        let mut stats = TreeStats::default();
        let base = A::Regime::input(base);
        let all = VirtRange::from_size(base, A::Regime::span(self.root));
        for (table, level, part) in tops::<A::Regime>(self.root, all) {
            self.validate_in(table, level, part.start(), TableLimits::NONE, &mut stats)?;
        }
        Ok(stats)
    }

    fn validate_in(
        &self,
        table: TableAddr<A::Regime>,
        level: Level,
        base: VirtAddr,
        limits: TableLimits,
        stats: &mut TreeStats,
    ) -> Result<(), BadTree> {
        stats.tables += 1;
        for index in 0..PTRS_PER_TABLE {
            let va = base + (index << level.shift());
            let (entry, descriptor) =
                self.access.with(table, |t| (t.entry(level, index), t.descriptor(index)));
            let bad = |what| Err(BadTree { va, level, what });
            match (entry, level.down()) {
                (Entry::Invalid, _) if descriptor.is_valid() => {
                    return bad("a block where none can be");
                }
                (Entry::Invalid, _)
                    if descriptor != Descriptor::INVALID
                        && !A::Regime::is_software_entry(descriptor, level) =>
                {
                    return bad("bits that say nothing");
                }
                (Entry::Invalid, _) => {}
                (Entry::Table(next), Some(down)) => {
                    self.validate_in(next, down, va, limits.and(descriptor), stats)?;
                }
                (Entry::Table(_), None) => return bad("a table below the last level"),
                (Entry::Leaf(leaf), _) => {
                    let descriptor = A::Regime::show(descriptor).unwrap_or(descriptor);
                    if let Some(defect) = A::Regime::defect(descriptor, limits) {
                        return bad(defect);
                    }
                    stats.leaves[level as usize - 1] += 1;
                    if leaf.contiguous {
                        stats.contiguous += 1;
                        if !self.is_in_set(table, level, index, leaf) {
                            return bad("unlike the rest of its contiguous set");
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Returns whether a contiguous leaf's set maps contiguous, aligned memory alike.
    fn is_in_set(
        &self,
        table: TableAddr<A::Regime>,
        level: Level,
        index: usize,
        leaf: Leaf<A::Regime>,
    ) -> bool {
        let offset = index % CONT_ENTRIES;
        let Some(start) = leaf.pa.get().checked_sub((offset << level.shift()) as u64) else {
            return false;
        };
        start.is_multiple_of(level.cont_size() as u64)
            && (0..CONT_ENTRIES).all(|i| {
                let pa = crate::addr::PhysAddr::new(start + (i << level.shift()) as u64);
                let entry = self.access.with(table, |t| t.entry(level, index - offset + i));
                entry == Entry::Leaf(Leaf { pa, ..leaf })
            })
    }
}
