//! Taking entries away, with what they said last.
//!
//! Hardware may make an entry young or dirty until it is taken. So may it any entry of a contiguous
//! set, whichever page is accessed: those are taken together, and each has the state of all
//! (Linux: contpte_ptep_get).
#![deny(unsafe_code)]

use super::descriptor::{CONT_ENTRIES, Level};
use super::flush::FlushOwed;
use super::mapper::{AddrOf, MapError, Mapper, RangeOf, parts, tops};
use super::regime::{Attributes, Regime};
use super::table::{Entry, Leaf, TableAccess, TableAddr};
use crate::addr::{VirtAddr, VirtRange};
use core::ops::ControlFlow::{self, Break, Continue};

/// Contents of entries of the tables of a [`Mapper`].
pub(super) type PteOf<A> = <<A as TableAccess>::Regime as Regime>::Pte;

impl<A: TableAccess> Mapper<'_, A> {
    /// Takes away whatever is in `va`, and calls `f` with the address, the level, and the last
    /// contents of each entry, rising. Tables stay; see [`Mapper::prune`]. A contiguous set that
    /// the range cuts is unfolded. (Linux: zap_page_range_single.)
    ///
    /// Until the flush is done any CPU may use the pages, so neither the addresses nor the frames
    /// may be used anew; [`MmuGather`](super::MmuGather) keeps them till then.
    ///
    /// # Errors
    /// `Misaligned`, `OutOfRange`; `BreakBeforeMake` where the range cuts a block, or a contiguous
    /// set that can't be broken.
    pub fn zap(
        &mut self,
        va: RangeOf<A>,
        mut f: impl FnMut(AddrOf<A>, Level, PteOf<A>),
    ) -> Result<FlushOwed<A::Regime>, MapError> {
        let va = A::Regime::input_range(va);
        self.free_ends_of(va)?;
        let mut owed = FlushOwed::NONE;
        let _ = self.zap_until(va, &mut owed, &mut |va, level, pte| {
            f(va, level, pte);
            Continue(())
        });
        Ok(owed)
    }

    /// Sees to it that neither a block nor a contiguous set spans an end of `va`.
    pub(super) fn free_ends_of(&mut self, va: VirtRange) -> Result<(), MapError> {
        self.check(va)?;
        self.free_ends(va)
    }

    /// [`Mapper::zap`] after [`Mapper::free_ends_of`], until `f` breaks off; then the address to
    /// go on from. A contiguous set that has begun is gone through to its end.
    pub(super) fn zap_until(
        &mut self,
        va: VirtRange,
        owed: &mut FlushOwed<A::Regime>,
        f: &mut impl FnMut(AddrOf<A>, Level, PteOf<A>) -> ControlFlow<()>,
    ) -> ControlFlow<VirtAddr> {
        for (table, level, part) in tops::<A::Regime>(self.root, va) {
            self.zap_in(table, level, part, owed, f)?;
        }
        Continue(())
    }

    fn zap_in(
        &mut self,
        table: TableAddr<A::Regime>,
        level: Level,
        va: VirtRange,
        owed: &mut FlushOwed<A::Regime>,
        f: &mut impl FnMut(AddrOf<A>, Level, PteOf<A>) -> ControlFlow<()>,
    ) -> ControlFlow<VirtAddr> {
        let mut done = va.start();
        for (index, part) in parts(va, level) {
            if part.start() < done {
                continue;
            }
            let entry = self.access.with(table, |t| t.entry(level, index));
            if let (Entry::Table(next), Some(down)) = (entry, level.down()) {
                self.zap_in(next, down, part, owed, f)?;
                continue;
            }
            let is_set = matches!(entry, Entry::Leaf(leaf) if leaf.contiguous);
            let count = if is_set { CONT_ENTRIES } else { 1 };
            done = part.start() + (count << level.shift());
            let taken = self.take(table, level, index, count);
            if taken.into_iter().flatten().any(is_valid::<A::Regime>) {
                owed.add(VirtRange::new(part.start(), done), level.size());
            }
            let mut stopped = Continue(());
            for (n, pte) in taken.into_iter().enumerate() {
                let at = part.start() + (n << level.shift());
                if let Some(pte) = pte
                    && f(A::Regime::output(at), level, pte).is_break()
                {
                    stopped = Break(done);
                }
            }
            stopped?;
        }
        Continue(())
    }

    /// Invalidates an entry that is no table, or those of a contiguous set, which all get the state
    /// of each.
    fn take(
        &mut self,
        table: TableAddr<A::Regime>,
        level: Level,
        first: usize,
        count: usize,
    ) -> [Option<PteOf<A>>; CONT_ENTRIES] {
        let mut taken = [None; CONT_ENTRIES];
        self.access.with(table, |t| {
            for (n, pte) in taken.iter_mut().enumerate().take(count) {
                *pte = A::Regime::pte(level, t.take(first + n));
            }
        });
        if count > 1 {
            let leaves = || taken.iter().flatten().filter_map(|&pte| A::Regime::leaf(pte));
            let state = leaves().map(|leaf| leaf.attrs).reduce(Attributes::with_state_of);
            for pte in taken.iter_mut().flatten() {
                if let (Some(leaf), Some(state)) = (A::Regime::leaf(*pte), state) {
                    let attrs = leaf.attrs.with_state_of(state);
                    *pte = PteOf::<A>::from(Leaf { attrs, ..leaf });
                }
            }
        }
        taken
    }
}

fn is_valid<R: Regime>(pte: R::Pte) -> bool {
    R::leaf(pte).is_some_and(|leaf| leaf.valid)
}
