//! Given ranges of frames, allocated as a whole (Linux: alloc_contig_range,
//! free_contig_range), and the memory of CMA areas.
#![deny(unsafe_code)]

use super::buddy::{add, pageblock_migratetype};
use super::isolation::{ContigError, free_block_around, mark_allocated, pageblocks, single_zone};
use super::{are_watched, check, deferred, free_block};
use crate::addr::{Order, Pfn, PfnRange};
use crate::arch::IrqMasked;
use crate::arch::irq::with_masked;
use crate::mm::hooks::prepare_to_take;
use crate::mm::mmzone::{LockedZone, Migratetype};
use crate::mm::page::{Frame, Page, PageFlags, PageType};

/// Pageblocks in which free blocks may be taken.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::mm) enum TakeFrom {
    /// Pageblocks of any type, but for isolated ones.
    NotIsolated,
    /// Pageblocks that the caller isolated.
    Isolated,
}

impl LockedZone<'_> {
    /// Takes the free blocks of `range` off their lists. Nothing is taken unless all of it
    /// is free, in pageblocks as `from` says (Linux: test_pages_isolated,
    /// isolate_freepages_range).
    pub(in crate::mm) fn take_range(
        &mut self,
        range: PfnRange,
        from: TakeFrom,
    ) -> Result<(), ContigError> {
        let mut at = range.start();
        while at < range.end() {
            let (head, order) = free_block_around(at).ok_or(ContigError::Busy(at))?;
            let isolated = pageblock_migratetype(head) == Migratetype::Isolate;
            if isolated != (from == TakeFrom::Isolated) {
                return Err(ContigError::Busy(at));
            }
            at = head.pfn() + order.pages();
        }
        let mut at = range.start();
        while let Some((head, order)) = (at < range.end()).then(|| free_block_around(at)).flatten()
        {
            at = head.pfn() + order.pages();
            self.take_part(head, order, range);
        }
        Ok(())
    }

    /// Takes what the free block at `head` has in common with `range`; the rest stays free.
    fn take_part(&mut self, head: Frame, order: Order, range: PfnRange) {
        let mt = pageblock_migratetype(head);
        let block = PfnRange::new(head.pfn(), head.pfn() + order.pages());
        let part = block.intersect(range);
        self.del_from_free_list(head, order, mt);
        self.account_sub(mt, part.len());
        mark_allocated(part);
        self.free_around(head, order, part, mt);
    }

    /// Puts the parts of the block at `head`, which is on no list, that lie outside of `part` on
    /// their lists: halves as long as one half holds all of `part`, then the ends of that one.
    fn free_around(&mut self, mut head: Frame, mut order: Order, part: PfnRange, mt: Migratetype) {
        while let Some(half) = order.down() {
            let upper = head.buddy(half);
            let (rest, with_part) = if part.end() <= upper.pfn() {
                (upper, head)
            } else if part.start() >= upper.pfn() {
                (head, upper)
            } else {
                break;
            };
            self.add_to_free_list(rest, half, mt, false);
            (head, order) = (with_part, half);
        }
        // No two of these are buddies, nor is a buddy of one outside of the block free.
        let below = PfnRange::new(head.pfn(), part.start()).blocks(Order::MAX);
        let above = PfnRange::new(part.end(), head.pfn() + order.pages()).blocks(Order::MAX);
        for (pfn, rest) in below.chain(above) {
            let first = head.within(order, pfn - head.pfn());
            self.add_to_free_list(first, rest, mt, false);
        }
    }
}

/// Allocates what the tools need to record the new owner of the pages. Called before the zone is
/// locked, since under its lock nothing can be allocated.
#[cold]
#[inline(never)]
pub(in crate::mm) fn prepare(range: PfnRange) {
    pageblocks(range).for_each(prepare_to_take);
}

/// Gives single pages back that [`alloc_contig_range`](crate::mm::contig::alloc_contig_range) allocated: what
/// [`free_contig_range`](super::free_contig_range) does.
#[track_caller]
pub(super) fn free_contig_range(range: PfnRange) {
    if are_watched() {
        return free_one_by_one(range);
    }
    let mut shared = 0;
    for (pfn, order) in range.blocks(Order::PAGEBLOCK) {
        let frame = single_pages_at(pfn);
        with_masked(|irq| {
            // Bad memory is marked under this lock, so the flags are looked at under it.
            let mut zone = frame.zone().zone().lock(irq);
            let let_go = |page: &Page| {
                let is_plain = page.is_plain(Order::ZERO);
                if is_plain {
                    page.set_refcount(0);
                }
                is_plain
            };
            if let Some(unusual) = frame.pages(order).iter().position(|page| !let_go(page)) {
                shared += free_unusual_block(&mut zone, frame, order, unusual as u32);
                return;
            }
            zone.free_one(frame, order, pageblock_migratetype(frame));
        });
    }
    if shared > 0 {
        warn_of_shared(range, shared);
    }
}

#[track_caller]
fn single_pages_at(pfn: Pfn) -> Frame {
    match Frame::new(pfn) {
        Some(frame) => frame,
        None => check::bad_range(pfn, "contiguous memory can't be freed"),
    }
}

/// Frees a block of single pages of which the first that is not plain is the one numbered `unusual`;
/// those before it have no reference any more. A page that others hold too loses its owner's
/// reference, and the last who holds it frees it; bad memory stays out. Returns how many pages are
/// held.
#[cold]
#[inline(never)]
#[track_caller]
fn free_unusual_block(zone: &mut LockedZone<'_>, head: Frame, order: Order, unusual: u32) -> u32 {
    let mt = pageblock_migratetype(head);
    let mut shared = 0;
    for (n, frame) in (0..).zip(head.block(order)) {
        let page = frame.page();
        if n >= unusual {
            let is_plain = page.is_type(PageType::None) && page.order() == 0;
            let is_odd = !is_plain || !(page.flags() - PageFlags::HWPOISON).is_empty();
            if page.refcount() == 0 || is_odd {
                check::bad_free(frame, Order::ZERO);
            }
            // Decided once, by the reference that is dropped here: the other holder may drop his at
            // any moment, without the zone's lock, and the last of the two frees the page.
            if page.refcount() > 1 && page.refcount_sub() > 1 {
                shared += 1;
                continue;
            }
            page.set_refcount(0);
        }
        if page.flags().contains(PageFlags::HWPOISON) {
            zone.free_good_part(frame, Order::ZERO);
        } else {
            zone.free_one(frame, Order::ZERO, mt);
        }
    }
    shared
}

/// Frees the pages of a range by themselves, as the tools want to be told of each.
#[cold]
#[inline(never)]
#[track_caller]
fn free_one_by_one(range: PfnRange) {
    let mut shared = 0;
    for pfn in range.iter() {
        let frame = single_pages_at(pfn);
        shared += u32::from(frame.page().refcount() > 1);
        free_block(frame, Order::ZERO);
    }
    if shared > 0 {
        warn_of_shared(range, shared);
    }
}

/// Says that pages of contiguous memory stay in use when their owner frees them: they can't be
/// had as part of a range until then (Linux: the warning of free_contig_range).
#[cold]
#[inline(never)]
fn warn_of_shared(range: PfnRange, pages: u32) {
    log::warn!(
        "page allocator: {pages} pages of {range:?} are freed by their owner and still in use"
    );
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
    deferred::online_reserved(irq, range).map_err(invalid)?;
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
        first.set_block_migratetype(Migratetype::Cma);
    }
    for (pfn, order) in range.blocks(Order::MAX) {
        if let Some(frame) = Frame::new(pfn) {
            zone.free_one(frame, order, Migratetype::Cma);
        }
    }
    zone.add_managed(range.len());
    add(&zone.zone.cma, range.len());
    Ok(())
}
