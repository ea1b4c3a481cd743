//! Changing the attributes of what is mapped.
#![deny(unsafe_code)]

use super::descriptor::Level;
use super::flush::FlushOwed;
use super::mapper::{AddrOf, AttrsOf, MapError, Mapper, RangeOf, parts, publish, tops};
use super::regime::{Attributes, Regime};
use super::table::{Entry, Leaf, TableAccess, TableAddr};
use crate::addr::{PAGE_SIZE, VirtRange};

impl<A: TableAccess> Mapper<'_, A> {
    /// Gives everything that is mapped in `va` these attributes: in place if only
    /// permissions change, else by break-before-make. Holes stay holes, and
    /// present-invalid entries stay so.
    ///
    /// # Errors
    /// As for [`Mapper::unmap`]; also `BreakBeforeMake` where memory types differ and
    /// the range can't be broken.
    pub fn protect(
        &mut self,
        va: RangeOf<A>,
        attrs: AttrsOf<A>,
    ) -> Result<FlushOwed<A::Regime>, MapError> {
        self.change(va, &|_| Some(attrs))
    }

    /// Gives everything that is mapped in `va` the attributes that `new` makes of its old
    /// ones. All or nothing. (Linux: change_memory_common.)
    ///
    /// # Errors
    /// As for [`Mapper::protect`]; `Refused` where `new` says `None`.
    pub fn change(
        &mut self,
        va: RangeOf<A>,
        new: &impl Fn(AttrsOf<A>) -> Option<AttrsOf<A>>,
    ) -> Result<FlushOwed<A::Regime>, MapError> {
        let va = A::Regime::input_range(va);
        self.check(va)?;
        if !self.each_leaf(va, &|old| new(old).is_some()) {
            return Err(MapError::Refused);
        }
        let stays = |old: AttrsOf<A>| new(old).is_some_and(|new| old.same_memory(new));
        let in_place = self.each_leaf(va, &stays);
        if !(in_place || self.access.may_break(va) && self.windows_lie_outside(va)) {
            return Err(MapError::BreakBeforeMake);
        }
        self.free_ends(va)?;
        let mut owed = FlushOwed::NONE;
        if in_place {
            for (table, level, part) in tops::<A::Regime>(self.root, va) {
                self.protect_in(table, level, part, new, &mut owed);
            }
        } else {
            self.access.begin_bbm(va);
            for (table, level, part) in tops::<A::Regime>(self.root, va) {
                self.protect_by_break(table, level, part, new);
            }
            publish::<A::Regime>();
            self.access.end_bbm();
        }
        Ok(owed)
    }

    fn each_leaf(&self, va: VirtRange, holds: &impl Fn(AttrsOf<A>) -> bool) -> bool {
        tops::<A::Regime>(self.root, va)
            .all(|(table, level, part)| self.all_leaves(table, level, part, holds))
    }

    fn all_leaves(
        &self,
        table: TableAddr<A::Regime>,
        level: Level,
        va: VirtRange,
        holds: &impl Fn(AttrsOf<A>) -> bool,
    ) -> bool {
        parts(va, level).all(|(index, part)| {
            match (self.access.with(table, |t| t.entry(level, index)), level.down()) {
                (Entry::Table(next), Some(down)) => self.all_leaves(next, down, part, holds),
                (Entry::Leaf(leaf), _) => holds(leaf.attrs),
                _ => true,
            }
        })
    }

    /// Returns whether no table that translates `va` is itself reached through `va`.
    fn windows_lie_outside(&self, va: VirtRange) -> bool {
        tops::<A::Regime>(self.root, va)
            .all(|(table, level, part)| self.windows_lie_outside_in(table, level, part, va))
    }

    fn windows_lie_outside_in(
        &self,
        table: TableAddr<A::Regime>,
        level: Level,
        part: VirtRange,
        va: VirtRange,
    ) -> bool {
        !va.contains(self.access.window(table, va))
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
        table: TableAddr<A::Regime>,
        level: Level,
        va: VirtRange,
        new: &impl Fn(AttrsOf<A>) -> Option<AttrsOf<A>>,
        owed: &mut FlushOwed<A::Regime>,
    ) {
        for (index, part) in parts(va, level) {
            match (self.access.with(table, |t| t.entry(level, index)), level.down()) {
                (Entry::Table(next), Some(down)) => {
                    self.protect_in(next, down, part, new, owed);
                }
                (Entry::Leaf(leaf), _) => {
                    let attrs = new(leaf.attrs).unwrap_or(leaf.attrs);
                    if attrs == leaf.attrs {
                        continue;
                    }
                    self.access.with(table, |t| {
                        t.update_leaf(level, index, leaf, |leaf| {
                            let attrs = new(leaf.attrs).unwrap_or(leaf.attrs);
                            Leaf { attrs, ..leaf }
                        });
                    });
                    owed.add(part, level.size());
                }
                _ => {}
            }
        }
    }

    fn protect_by_break(
        &mut self,
        table: TableAddr<A::Regime>,
        level: Level,
        va: VirtRange,
        new: &impl Fn(AttrsOf<A>) -> Option<AttrsOf<A>>,
    ) {
        let mut done = va.start();
        for (index, part) in parts(va, level) {
            if part.start() < done {
                continue;
            }
            match (self.access.with(table, |t| t.entry(level, index)), level.down()) {
                (Entry::Table(next), Some(down)) => {
                    self.protect_by_break(next, down, part, new);
                }
                (Entry::Leaf(leaf), _) => {
                    let attrs = new(leaf.attrs).unwrap_or(leaf.attrs);
                    if attrs == leaf.attrs {
                        continue;
                    }
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

    /// Makes all entries of `va` present-invalid, or valid again. A present-invalid entry can still
    /// be protected, split and unmapped (Linux: set_memory_valid).
    ///
    /// # Errors
    /// As for [`Mapper::unmap`].
    pub fn set_valid(
        &mut self,
        va: RangeOf<A>,
        valid: bool,
    ) -> Result<FlushOwed<A::Regime>, MapError> {
        let va = A::Regime::input_range(va);
        self.check(va)?;
        self.free_ends(va)?;
        let mut owed = FlushOwed::NONE;
        for (table, level, part) in tops::<A::Regime>(self.root, va) {
            self.set_valid_in(table, level, part, valid, &mut owed);
        }
        if valid {
            publish::<A::Regime>();
        }
        Ok(owed)
    }

    /// Variant of [`Mapper::set_valid`] for the one page at `va`, without excluding other
    /// editors: only the user of the page calls this, and nobody else changes it meanwhile. The
    /// tables on the way to it must never be freed. `None`, with nothing changed, if it is no
    /// page, or one of a contiguous set (see [`Mapper::split_to_pages`]).
    pub(crate) fn set_page_valid(
        &self,
        va: AddrOf<A>,
        valid: bool,
    ) -> Option<FlushOwed<A::Regime>> {
        let va = A::Regime::input(va);
        let mut owed = FlushOwed::NONE;
        let (Level::Pte, table, _) = self.lookup(va) else { return None };
        let index = Level::Pte.index(va);
        let changed = self.access.with(table, |t| t.exchange_valid(index, valid))?;
        if changed && valid {
            publish::<A::Regime>();
        } else if changed {
            owed.add(VirtRange::from_size(va, PAGE_SIZE), PAGE_SIZE);
        }
        Some(owed)
    }

    fn set_valid_in(
        &mut self,
        table: TableAddr<A::Regime>,
        level: Level,
        va: VirtRange,
        valid: bool,
        owed: &mut FlushOwed<A::Regime>,
    ) {
        for (index, part) in parts(va, level) {
            match (self.access.with(table, |t| t.entry(level, index)), level.down()) {
                (Entry::Table(next), Some(down)) => {
                    self.set_valid_in(next, down, part, valid, owed);
                }
                (Entry::Leaf(leaf), _) if leaf.valid != valid => {
                    self.access.with(table, |t| {
                        t.update_leaf(level, index, leaf, |leaf| Leaf { valid, ..leaf });
                    });
                    if !valid {
                        owed.add(part, level.size());
                    }
                }
                _ => {}
            }
        }
    }
}
