//! Pageblocks that are being emptied (Linux: mm/page_isolation.c).
//!
//! While a pageblock is of type `Isolate`, nothing is allocated from it and what is freed
//! in it goes straight to its own lists. It remembers the type that it had, and has it
//! back afterwards. A range is emptied by isolating its pageblocks, draining the per-CPU
//! lists, letting their owners move the pages in use out of it, and taking its free blocks
//! off the lists; if a page of it is in use even then, the pageblocks are what they were,
//! and what has been moved stays where it is.
#![deny(unsafe_code)]

use super::are_watched;
use super::buddy::{buddy_order, pageblock_migratetype};
use super::check::{State, state_of};
use crate::addr::{Order, Pfn, PfnRange};
use crate::arch::cpu;
use crate::arch::irq::with_masked;
use crate::mm::hooks::taken_off_list;
use crate::mm::mmzone::{LockedZone, Migratetype, Wmark, WmarkFlags, ZoneId, ZoneType};
use crate::mm::page::{Frame, PageType};
use crate::mm::page_alloc::{OwnedPage, PageList};
use core::fmt;

/// Reason why a range could not be emptied.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ContigError {
    /// The frame is in use or reserved, or its pageblock is being emptied by another.
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

impl core::error::Error for ContigError {}

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

    /// Isolates the pageblock that starts at `first`; one of the reserve of large blocks
    /// stays part of it (Linux: set_migratetype_isolate).
    fn isolate(&mut self, first: Frame) -> Result<(), ContigError> {
        let mt = pageblock_migratetype(first);
        if mt == Migratetype::Isolate {
            return Err(ContigError::Busy(first.pfn()));
        }
        self.split_to_pageblock(first);
        self.move_freepages_block(first, mt, Migratetype::Isolate);
        Ok(())
    }

    /// Ends the isolation of the pageblock at `first`, which has its type again
    /// (Linux: unset_migratetype_isolate).
    fn unisolate(&mut self, first: Frame) {
        let mt = first.page().block_kept_migratetype();
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

    /// Takes the free blocks that lie in `range`, a pageblock of type `mt`, off their lists
    /// as single pages, as far as the zone's min watermark allows (Linux:
    /// isolate_freepages_block, __isolate_free_page).
    pub(in crate::mm) fn take_free_blocks(
        &mut self,
        range: PfnRange,
        mt: Migratetype,
        pages: &mut PageList<OwnedPage>,
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
            mark_allocated(PfnRange::new(frame.pfn(), at));
            pages.push_isolated(frame, order);
        }
    }
}

/// The free block that the frame numbered `pfn` lies in.
pub(in crate::mm) fn free_block_around(pfn: Pfn) -> Option<(Frame, Order)> {
    let frame = Frame::new(pfn)?;
    Order::ZERO.and_up().find_map(|around| {
        let head = frame.align_down(around);
        let order = buddy_order(head)?;
        (order >= around).then_some((head, order))
    })
}

/// Makes single allocated pages of frames that were just taken off the lists.
pub(super) fn mark_allocated(range: PfnRange) {
    for (pfn, order) in range.blocks(Order::MAX) {
        let Some(frame) = Frame::new(pfn) else { continue };
        for page in frame.pages(order) {
            page.set_order(Order::ZERO);
            page.set_refcount(1);
        }
        if are_watched() {
            frame.block(order).for_each(|single| taken_off_list(single, Order::ZERO));
        }
    }
}

/// The first frames of the pageblocks that `range` touches.
pub(in crate::mm) fn pageblocks(range: PfnRange) -> impl DoubleEndedIterator<Item = Frame> {
    let size = Order::PAGEBLOCK.pages();
    let first = range.start().get() / size;
    let end = if range.is_empty() { first } else { range.end().get().div_ceil(size) };
    (first..end).filter_map(move |n| Frame::new(Pfn::new(n * size)))
}

/// Checks that all frames of `range` have descriptors and are of one zone, which is returned.
pub(in crate::mm) fn single_zone(range: PfnRange) -> Result<ZoneId, ContigError> {
    let zone = |pfn| Some(Frame::new(pfn)?.zone());
    let first = zone(range.start()).ok_or(ContigError::Invalid)?;
    let size = Order::MAX.pages();
    let blocks = range.start().get() / size..range.end().get().div_ceil(size);
    let all = blocks.map(|n| zone(Pfn::new(n * size)));
    if range.is_empty() || all.into_iter().any(|zone| zone != Some(first)) {
        return Err(ContigError::Invalid);
    }
    Ok(first)
}

/// Isolates the pageblocks that `range` touches, all or none (Linux:
/// start_isolate_page_range).
pub(in crate::mm) fn start_isolate(zone: ZoneId, range: PfnRange) -> Result<(), ContigError> {
    for (n, first) in pageblocks(range).enumerate() {
        let done = with_masked(|irq| zone.zone().lock(irq).isolate(first));
        if let Err(error) = done {
            for done in pageblocks(range).take(n) {
                with_masked(|irq| zone.zone().lock(irq).unisolate(done));
            }
            return Err(error);
        }
    }
    Ok(())
}

/// Gives the pageblocks that `range` touches their types back (Linux:
/// undo_isolate_page_range).
pub(in crate::mm) fn undo_isolate(zone: ZoneId, range: PfnRange) {
    for first in pageblocks(range) {
        with_masked(|irq| zone.zone().lock(irq).unisolate(first));
    }
}

/// Returns true if pages of this type are never moved.
const fn is_unmovable(page_type: PageType) -> bool {
    matches!(page_type, PageType::Slab | PageType::Table | PageType::Vmalloc)
}
/// Looks after which a frame that seems reserved is: one that is just being allocated or
/// freed looks like it for a moment.
const RESERVED_LOOKS: u32 = 100;

/// The first frame of `range` that can't be emptied, as far as can be seen from its marks;
/// where `stays` is true it need not be. Every page of CMA's can (Linux: has_unmovable_pages).
pub(in crate::mm) fn unmovable_page(range: PfnRange, stays: impl Fn(Frame) -> bool) -> Option<Pfn> {
    let mut at = range.start();
    while at < range.end() {
        let Some(frame) = Frame::new(at) else { return Some(at) };
        let pageblock = frame.align_down(Order::PAGEBLOCK);
        if pageblock.page().block_kept_migratetype() == Migratetype::Cma {
            at = pageblock.pfn() + Order::PAGEBLOCK.pages();
            continue;
        }
        let reserved = |_| {
            cpu::relax();
            state_of(frame) == State::Reserved
        };
        at = match state_of(frame) {
            State::Free { head, order } | State::PerCpu { head, order } => {
                head.pfn() + order.pages()
            }
            State::Allocated { head, order, .. } if !is_unmovable(head.page().page_type()) => {
                head.pfn() + order.pages()
            }
            State::Reserved if !stays(frame) && !(0..RESERVED_LOOKS).all(reserved) => at + 1,
            _ if stays(frame) => at + 1,
            _ => return Some(at),
        };
    }
    None
}
