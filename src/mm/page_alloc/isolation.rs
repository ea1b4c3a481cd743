//! Pageblocks that are being emptied, and ranges taken out of them
//! (Linux: mm/page_isolation.c, alloc_contig_range).
//!
//! While a pageblock is of type `Isolate`, nothing is allocated from it and what is freed
//! in it goes straight to its own lists. A range is allocated by isolating its pageblocks,
//! emptying the per-CPU lists, letting their owners move the pages in use out of it, and
//! taking its free blocks off the lists; if a page of it is in use even then, the
//! pageblocks are what they were, and what has been moved stays where it is.
#![deny(unsafe_code)]

use super::buddy::{add, buddy_order, pageblock_migratetype, sub};
use super::{check, deferred, pcp};
use crate::addr::{Order, Pfn, PfnRange};
use crate::arch::IrqMasked;
use crate::arch::irq::with_masked;
use crate::mm::debug::{free_hook, taken_off_list};
use crate::mm::gfp::Gfp;
use crate::mm::migrate::{Isolated, MigrateMode, migrate_pages};
use crate::mm::mmzone::{LockedZone, Migratetype, Wmark, WmarkFlags, ZoneId, ZoneType};
use crate::mm::page::Frame;
use crate::mm::page_alloc::{OwnedPage, OwnedPages};
use core::fmt;

/// Why a range could not be allocated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ContigError {
    /// This frame is in use, or its pageblock is being emptied by another.
    Busy(Pfn),
    /// The range is empty, not all of it has descriptors, or it crosses zones.
    Invalid,
}

impl fmt::Display for ContigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy(pfn) => write!(f, "frame {:#x} is in use", pfn.get()),
            Self::Invalid => f.write_str("no range of one zone's memory"),
        }
    }
}

impl LockedZone<'_> {
    /// Splits a free block that is larger than the pageblock of `first`, the pageblock's
    /// first frame, so that none of its free blocks reaches beyond it.
    pub(super) fn split_to_pageblock(&mut self, first: Frame) {
        let head = first.align_down(Order::MAX);
        if buddy_order(head) != Some(Order::MAX) {
            return;
        }
        let mt = pageblock_migratetype(head);
        self.del_from_free_list(head, Order::MAX, mt);
        self.add_to_free_list(head.buddy(Order::PAGEBLOCK), Order::PAGEBLOCK, mt, false);
        self.add_to_free_list(head, Order::PAGEBLOCK, mt, false);
    }

    /// Isolates the pageblock that starts at `first` (Linux: set_migratetype_isolate).
    fn isolate(&mut self, first: Frame) -> Result<(), ContigError> {
        let mt = pageblock_migratetype(first);
        if mt == Migratetype::Isolate {
            return Err(ContigError::Busy(first.pfn()));
        }
        self.split_to_pageblock(first);
        self.move_freepages_block(first, mt, Migratetype::Isolate);
        if mt == Migratetype::HighAtomic {
            sub(&self.zone.reserved_highatomic, Order::PAGEBLOCK.pages());
        }
        Ok(())
    }

    /// Ends the isolation of the pageblock at `first`, which is of type `mt` again
    /// (Linux: unset_migratetype_isolate).
    fn unisolate(&mut self, first: Frame, mt: Migratetype) {
        self.split_to_pageblock(first);
        self.move_freepages_block(first, Migratetype::Isolate, mt);
        self.merge_pageblock(first, mt);
    }

    /// Merges the pageblock at `first` with its buddy, if both are free and may.
    pub(super) fn merge_pageblock(&mut self, first: Frame, mt: Migratetype) {
        if buddy_order(first) == Some(Order::PAGEBLOCK) {
            self.del_from_free_list(first, Order::PAGEBLOCK, mt);
            self.account_sub(mt, Order::PAGEBLOCK.pages());
            self.free_one(first, Order::PAGEBLOCK, mt);
        }
    }

    /// Takes the free blocks of `range`, whose pageblocks are isolated, off their lists.
    /// Nothing is taken unless all of it is free (Linux: test_pages_isolated,
    /// isolate_freepages_range).
    fn take_isolated(&mut self, range: PfnRange) -> Result<(), ContigError> {
        let mut at = range.start();
        while at < range.end() {
            let (head, order) = free_block_around(at).ok_or(ContigError::Busy(at))?;
            at = head.pfn() + order.pages();
        }
        let mut at = range.start();
        while let Some((head, order)) = (at < range.end()).then(|| free_block_around(at)).flatten()
        {
            let block = PfnRange::new(head.pfn(), head.pfn() + order.pages());
            self.del_from_free_list(head, order, Migratetype::Isolate);
            self.account_sub(Migratetype::Isolate, order.pages());
            let (below, above) = (
                PfnRange::new(block.start(), block.start().max(range.start())),
                PfnRange::new(block.end().min(range.end()), block.end()),
            );
            mark_allocated(block.intersect(range), self.zone.id());
            for (pfn, order) in below.blocks(Order::MAX).chain(above.blocks(Order::MAX)) {
                if let Some(frame) = Frame::new(pfn) {
                    self.free_one(frame, order, Migratetype::Isolate);
                }
            }
            at = block.end();
        }
        Ok(())
    }
}

impl LockedZone<'_> {
    /// Takes the free blocks that lie in `range`, a pageblock of type `mt`, off their lists
    /// as single pages, as far as the zone's min watermark allows (Linux:
    /// isolate_freepages_block, __isolate_free_page).
    pub(in crate::mm) fn take_free_blocks(
        &mut self,
        range: PfnRange,
        mt: Migratetype,
        pages: &mut OwnedPages,
    ) {
        let mut at = range.start();
        while at < range.end() {
            let Some(frame) = Frame::new(at) else { return };
            let Some(order) = buddy_order(frame) else {
                at = at + 1;
                continue;
            };
            let mark = self.zone.watermark(Wmark::Min) + order.pages();
            if !self.zone.watermark_ok(Order::ZERO, mark, ZoneType::Dma, WmarkFlags::CMA) {
                return;
            }
            self.del_from_free_list(frame, order, mt);
            self.account_sub(mt, order.pages());
            at = at + order.pages();
            mark_allocated(PfnRange::new(frame.pfn(), at), self.zone.id());
            pages.push_isolated(frame, order);
        }
    }
}

/// The free block that the frame numbered `pfn` lies in.
fn free_block_around(pfn: Pfn) -> Option<(Frame, Order)> {
    let frame = Frame::new(pfn)?;
    Order::ZERO.and_up().find_map(|around| {
        let head = frame.align_down(around);
        let order = buddy_order(head)?;
        (order >= around).then_some((head, order))
    })
}

/// Makes single allocated pages of frames that were just taken off the lists.
fn mark_allocated(range: PfnRange, zone: ZoneId) {
    for frame in range.iter().filter_map(Frame::new) {
        let page = frame.page();
        page.set_place(zone, Order::ZERO);
        page.set_refcount(1);
        taken_off_list(frame, Order::ZERO);
    }
}

/// The first frames of the pageblocks that `range` touches.
fn pageblocks(range: PfnRange) -> impl DoubleEndedIterator<Item = Frame> {
    let size = Order::PAGEBLOCK.pages();
    let first = range.start().get() / size;
    let end = range.end().get().div_ceil(size);
    (first..end).filter_map(move |n| Frame::new(Pfn::new(n * size)))
}

/// Checks that all frames of `range` have descriptors and are of one zone, which is returned.
fn single_zone(range: PfnRange) -> Result<ZoneId, ContigError> {
    let zone = |pfn| Some(Frame::new(pfn)?.align_down(Order::MAX).page().zone());
    let first = zone(range.start()).ok_or(ContigError::Invalid)?;
    let size = Order::MAX.pages();
    let blocks = range.start().get() / size..range.end().get().div_ceil(size);
    let all = blocks.map(|n| zone(Pfn::new(n * size)));
    if range.is_empty() || all.into_iter().any(|zone| zone != Some(first)) {
        return Err(ContigError::Invalid);
    }
    Ok(first)
}

/// Isolates the pageblocks that `range` touches, all or none.
fn start_isolate(zone: ZoneId, range: PfnRange) -> Result<(), ContigError> {
    for first in pageblocks(range) {
        let mt = pageblock_migratetype(first);
        let done = with_masked(|irq| zone.zone().lock(irq).isolate(first));
        if let Err(error) = done {
            let before = PfnRange::new(range.start(), first.pfn().max(range.start()));
            undo_isolate(zone, before, mt);
            return Err(error);
        }
    }
    Ok(())
}

/// Gives the pageblocks that `range` touches the type `mt` back.
fn undo_isolate(zone: ZoneId, range: PfnRange, mt: Migratetype) {
    for first in pageblocks(range) {
        with_masked(|irq| zone.zone().lock(irq).unisolate(first, mt));
    }
}

/// Passes over a range whose pages in use could not all be moved the first time.
const MIGRATE_PASSES: u32 = 5;

/// Lets the owners of the pages in use in `range` move them elsewhere; returns how many
/// were (Linux: __alloc_contig_migrate_range).
fn migrate_range(range: PfnRange) -> usize {
    const TARGET: Gfp = Gfp::GFP_USER
        .union(Gfp::__GFP_MOVABLE)
        .union(Gfp::__GFP_RETRY_MAYFAIL)
        .union(Gfp::__GFP_NOWARN);
    let mut moved = 0;
    let mut at = range.start();
    while at < range.end() {
        let mut isolated = Isolated::new();
        while at < range.end() && !isolated.is_full() {
            // What is free can be skipped; a block that changes meanwhile is met again.
            match free_block_around(at) {
                Some((head, order)) => at = head.pfn() + order.pages(),
                None => {
                    let _ = Frame::new(at).is_some_and(|frame| isolated.isolate(frame));
                    at = at + 1;
                }
            }
        }
        moved += migrate_pages(
            &mut isolated,
            MigrateMode::Sync,
            &mut || OwnedPage::alloc(TARGET),
            &mut drop,
        );
    }
    moved
}

/// Allocates exactly the frames of `range`, whose pageblocks are of type `mt`, as single
/// pages with one reference each; all or none. Movable pages in use are moved elsewhere.
/// To be given back with [`free_contig_range`]. May take time in proportion to the range;
/// for threads with interrupts on (Linux: alloc_contig_range).
///
/// # Errors
/// [`ContigError`]; nothing is allocated then.
pub fn alloc_contig_range(range: PfnRange, mt: Migratetype) -> Result<(), ContigError> {
    let zone = single_zone(range)?;
    start_isolate(zone, range)?;
    let take = || with_masked(|irq| zone.zone().lock(irq).take_isolated(range));
    pcp::drain_all_pages();
    let mut taken = take();
    for _ in 0..MIGRATE_PASSES {
        if taken.is_ok() || migrate_range(range) == 0 {
            break;
        }
        pcp::drain_all_pages();
        taken = take();
    }
    undo_isolate(zone, range, mt);
    taken
}

/// Gives single pages back that [`alloc_contig_range`] allocated; any part of what it did.
/// Any context (Linux: free_contig_range).
///
/// # Panics
/// Where one of them is not an allocated page that nobody else holds.
#[track_caller]
pub fn free_contig_range(range: PfnRange) {
    for pfn in range.iter() {
        let Some(frame) = Frame::new(pfn) else {
            check::bad_range(pfn, "contiguous memory can't be freed")
        };
        let page = frame.page();
        if page.refcount() != 1 || !page.flags().is_empty() || page.order() != 0 {
            check::bad_free(frame, Order::ZERO);
        }
        free_hook(frame, Order::ZERO);
        page.set_refcount(0);
    }
    for (pfn, order) in range.blocks(Order::PAGEBLOCK) {
        let Some(frame) = Frame::new(pfn) else { continue };
        with_masked(|irq| {
            let mut zone = frame.page().zone().zone().lock(irq);
            let mt = pageblock_migratetype(frame);
            zone.free_one(frame, order, mt);
        });
    }
}

/// Turns reserved memory, whole pageblocks of one zone, into CMA's and lends it out
/// (Linux: init_cma_reserved_pageblock). Its first frame of each pageblock stands for all.
///
/// # Errors
/// [`ContigError`] where it has no descriptors, crosses zones, or is not reserved.
pub(in crate::mm) fn init_cma_reserved(
    irq: &IrqMasked,
    range: PfnRange,
) -> Result<(), ContigError> {
    let invalid = |_| ContigError::Invalid;
    deferred::online_range(irq, range).map_err(invalid)?;
    let id = single_zone(range)?;
    if !range.start().is_aligned(Order::PAGEBLOCK) || !range.end().is_aligned(Order::PAGEBLOCK) {
        return Err(ContigError::Invalid);
    }
    let free = |frame: &Frame| check::state_of(*frame) != check::State::Reserved;
    if let Some(frame) = pageblocks(range).find(free) {
        return Err(ContigError::Busy(frame.pfn()));
    }
    let mut zone = id.zone().lock(irq);
    for first in pageblocks(range) {
        first.page().set_block_migratetype(Migratetype::Cma);
    }
    for (pfn, order) in range.blocks(Order::MAX) {
        if let Some(frame) = Frame::new(pfn) {
            zone.free_one(frame, order, Migratetype::Cma);
        }
    }
    add(&zone.zone.managed, range.len());
    add(&zone.zone.cma, range.len());
    Ok(())
}
