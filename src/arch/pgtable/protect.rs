//! Changing the attributes of what is mapped.
#![deny(unsafe_code)]

use super::descriptor::{KernelAttrs, Level};
use super::flush::FlushOwed;
use super::mapper::{MapError, Mapper, check, parts, publish};
use super::table::{Entry, Leaf, TableAccess, TableAddr};
use crate::addr::VirtRange;

impl<A: TableAccess> Mapper<'_, A> {
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
                    owed.add(part, level.size());
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
}
