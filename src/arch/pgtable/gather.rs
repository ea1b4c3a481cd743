//! Pages on their way out of an address space (Linux: mm/mmu_gather.c).
#![deny(unsafe_code)]

use super::descriptor::{CONT_ENTRIES, Level};
use super::flush::FlushOwed;
use super::mapper::{AddrOf, MapError, Mapper, RangeOf};
use super::regime::{Regime, User};
use super::table::{Leaf, TableAccess};
use super::zap::PteOf;
use crate::addr::VirtRange;
use core::ops::ControlFlow::{Break, Continue};

/// Number of pages that are gathered at the most before one flush for all of them.
const BATCH: usize = 64;
/// Number from which on there may be no room for one more contiguous set.
const FULL: usize = BATCH - CONT_ENTRIES + 1;

/// A page or block that was mapped, and that no TLB translates to any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Gathered<R: Regime = User> {
    /// The address that it was mapped at.
    pub va: R::Addr,
    /// The level of the page or block.
    pub level: Level,
    /// The mapping, with its access flag and dirty state as they were last.
    pub leaf: Leaf<R>,
}

/// Owner of what is taken out of a tree, until the invalidation that covers it is done: pages are
/// handed to `release`, and tables are freed, after it and not before (Linux: struct mmu_gather).
/// A gather that is dropped has its pages flushed and released, and leaves tables in the tree.
pub struct MmuGather<'g, 'm, A: TableAccess, F: FnMut(Gathered<A::Regime>)> {
    mapper: &'g mut Mapper<'m, A>,
    owed: FlushOwed<A::Regime>,
    pages: [Option<Gathered<A::Regime>>; BATCH],
    count: usize,
    release: F,
}

impl<'g, 'm, A: TableAccess, F: FnMut(Gathered<A::Regime>)> MmuGather<'g, 'm, A, F> {
    /// Gathers from the tree of `mapper`; `release` gets the pages.
    pub fn new(mapper: &'g mut Mapper<'m, A>, release: F) -> Self {
        Self { mapper, owed: FlushOwed::NONE, pages: [None; BATCH], count: 0, release }
    }

    /// Takes away whatever is in `va`, as [`Mapper::zap`] does. Pages are gathered; `other` is
    /// called with each entry that is none: swap and migration entries, and markers.
    ///
    /// # Errors
    /// As for [`Mapper::zap`]; nothing is taken away then.
    pub fn zap(
        &mut self,
        va: RangeOf<A>,
        mut other: impl FnMut(AddrOf<A>, PteOf<A>),
    ) -> Result<(), MapError> {
        let mut rest = A::Regime::input_range(va);
        self.mapper.free_ends_of(rest)?;
        loop {
            let Self { mapper, pages, count, owed, .. } = self;
            let stopped = mapper.zap_until(rest, owed, &mut |va, level, pte| {
                match A::Regime::leaf(pte) {
                    Some(leaf) => {
                        pages[*count] = Some(Gathered { va, level, leaf });
                        *count += 1;
                    }
                    None => other(va, pte),
                }
                if *count >= FULL { Break(()) } else { Continue(()) }
            });
            if self.count >= FULL {
                self.flush();
            }
            match stopped {
                Break(at) if at < rest.end() => rest = VirtRange::new(at, rest.end()),
                _ => return Ok(()),
            }
        }
    }

    /// Flushes what has been taken away, and releases the pages.
    pub fn flush(&mut self) {
        let owed = core::mem::replace(&mut self.owed, FlushOwed::NONE);
        if !owed.is_none() {
            owed.settle(|| self.mapper.access.tag());
        }
        self.release_all();
    }

    /// Flushes what has been taken away, frees the tables that translate any of `va` and are
    /// empty, and releases the pages. Returns the number of tables freed (Linux: free_pgtables,
    /// tlb_finish_mmu).
    pub fn finish(mut self, va: RangeOf<A>) -> usize {
        let owed = core::mem::replace(&mut self.owed, FlushOwed::NONE);
        let freed = self.mapper.prune(va, owed);
        self.release_all();
        freed
    }

    fn release_all(&mut self) {
        for page in &mut self.pages[..core::mem::take(&mut self.count)] {
            page.take().into_iter().for_each(&mut self.release);
        }
    }
}

impl<A: TableAccess, F: FnMut(Gathered<A::Regime>)> Drop for MmuGather<'_, '_, A, F> {
    fn drop(&mut self) {
        self.flush();
    }
}
