//! Pages on their way out of an address space: they are freed when no TLB has them any more (Linux:
//! struct mmu_gather, page_remove_rmap).
#![deny(unsafe_code)]

use super::counters::MmCounter;
use super::pte_page::frame_of;
use super::release::{put_chain, put_page};
use super::tables::UserTables;
use crate::addr::UserRange;
use crate::arch::pgtable::{FlushOwed, PteWord, User};
use crate::mm::page::{Frame, MappingKind};
use crate::mm::vmstat::{NodeStat, mod_node_page_state};

/// Number of mappings of shared pages that are gathered before a flush.
const SHARED: usize = 64;
/// Number of pages of an address space's own that are, at least: as many as make one invalidation of
/// the whole ASID cheaper than those of single pages.
const OWN: u32 = 2048;

/// Owner of what was taken out of tables, until the flush that it owes is done. A gather that is
/// dropped flushes and frees.
pub(super) struct Gather<'a> {
    tables: &'a UserTables,
    pub owed: FlushOwed<User>,
    /// Exclusive pages, linked through their descriptors' `next`.
    own: Option<Frame>,
    count: u32,
    /// Mappings of other pages, in what order ever.
    shared: [Option<Frame>; SHARED],
    nr_shared: usize,
    pub anon: isize,
    pub file: isize,
    pub shmem: isize,
}

impl<'a> Gather<'a> {
    #[inline(always)]
    pub const fn new(tables: &'a UserTables) -> Self {
        Self {
            tables,
            owed: FlushOwed::NONE,
            own: None,
            count: 0,
            shared: [None; SHARED],
            nr_shared: 0,
            anon: 0,
            file: 0,
            shmem: 0,
        }
    }

    /// Returns true if it should be flushed before more is gathered than one table can give.
    pub fn is_full(&self) -> bool {
        self.count >= OWN
    }

    /// Returns true if there is room for no more mappings of shared pages.
    #[inline(always)]
    pub fn has_no_room(&self) -> bool {
        self.nr_shared == SHARED
    }

    /// Owes the flush of `range`.
    #[inline(always)]
    pub fn owe(&mut self, range: UserRange) {
        self.owed.owe(range);
    }

    /// The exclusive pages so far, linked through their descriptors' `next`, to add to.
    #[inline(always)]
    pub fn take_own(&mut self) -> Option<Frame> {
        self.own.take()
    }

    /// Takes exclusive pages, which no entry maps any more: `count` more than there were, the last
    /// of them first.
    #[inline(always)]
    pub fn put_own(&mut self, first: Option<Frame>, count: u32) {
        self.own = first;
        self.count += count;
        self.anon -= count as isize;
    }

    /// Takes the mapping of a page that was in an entry, which must not be special. There is room.
    pub fn was_mapped(&mut self, pte: PteWord) {
        let frame = frame_of(pte);
        if pte.attrs().is_exclusive() {
            mod_node_page_state(frame, NodeStat::AnonMapped, -1);
            frame.page().set_owner(0);
            frame.page().set_next(self.own.take());
            return self.put_own(Some(frame), 1);
        }
        self.was_mapped_elsewhere(pte);
    }

    /// [`was_mapped`](Self::was_mapped) of a page that is not exclusive.
    pub fn was_mapped_elsewhere(&mut self, pte: PteWord) {
        let frame = frame_of(pte);
        if is_anon(frame) {
            self.anon -= 1;
        } else if pte.attrs().is_shmem() {
            self.shmem -= 1;
        } else {
            self.file -= 1;
        }
        self.shared[self.nr_shared] = Some(frame);
        self.nr_shared += 1;
    }

    /// Flushes what is owed, and gives the pages back.
    pub fn flush(&mut self) {
        core::mem::replace(&mut self.owed, FlushOwed::NONE).flush(self.tables.mm().context());
        if let Some(first) = self.own.take() {
            put_chain(first, core::mem::take(&mut self.count));
        }
        for frame in &mut self.shared[..core::mem::take(&mut self.nr_shared)] {
            if let Some(frame) = frame.take() {
                remove_mapping(frame);
            }
        }
    }

    fn count(&mut self) {
        let rss = &self.tables.rss;
        for (counter, pages) in [
            (MmCounter::Anon, &mut self.anon),
            (MmCounter::File, &mut self.file),
            (MmCounter::Shmem, &mut self.shmem),
        ] {
            if *pages != 0 {
                rss.add(counter, core::mem::take(pages));
            }
        }
    }
}

impl Drop for Gather<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        self.flush();
        self.count();
    }
}

/// Takes one mapping off a page that is not exclusive. The last one gives back the reference that all
/// had.
fn remove_mapping(frame: Frame) {
    let anon = is_anon(frame);
    let was = frame.page().mapcount_sub();
    // Of an anonymous page further mappings are counted.
    if was.is_some_and(|was| anon || was > 1) {
        return;
    }
    let item = if anon { NodeStat::AnonMapped } else { NodeStat::FileMapped };
    mod_node_page_state(frame, item, -1);
    if anon {
        frame.page().set_owner(0);
    }
    put_page(frame);
}

fn is_anon(frame: Frame) -> bool {
    frame.page().mapping().is_some_and(|mapping| mapping.kind() == MappingKind::Anon)
}
