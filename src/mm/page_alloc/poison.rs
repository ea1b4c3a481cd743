//! Bad memory, kept out for good (Linux: take_page_off_buddy, break_down_buddy_pages).
//!
//! A bad frame is `HWPOISON`, is on no list and has no references. One that is in use when
//! it turns out to be bad is marked, and so is the head of its block (`HAS_HWPOISONED`): the
//! look at the flags that every free takes finds it, and frees the rest of the block alone.
#![deny(unsafe_code)]

use super::OwnedPage;
use super::buddy::pageblock_migratetype;
use super::check::{State, state_of};
use crate::addr::{Order, PfnRange};
use crate::arch::irq::with_masked;
use crate::machine_local;
use crate::mm::mmzone::LockedZone;
use crate::mm::page::{Frame, PageFlags, PageType};
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

machine_local! {
    static POISONED: AtomicU32 = AtomicU32::new(0);
}

/// Frames that are known to be bad, free or still in use (Linux: num_poisoned_pages).
#[must_use]
pub fn num_poisoned_pages() -> u32 {
    POISONED.load(Relaxed)
}

/// Result of marking a frame as bad.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::mm) enum Marked {
    /// The frame was free, and is taken out.
    Out,
    /// The frame is in use, and is taken out when it is freed.
    InUse,
    /// The frame is being allocated or freed, or is reserved.
    Neither,
}

impl LockedZone<'_> {
    /// Takes a frame out of the free block of `order` at `head`.
    fn take_page_off_buddy(&mut self, frame: Frame, head: Frame, order: Order) {
        let mt = pageblock_migratetype(head);
        self.del_from_free_list(head, order, mt);
        self.account_sub(mt, order.pages());
        frame.page().set_flags(PageFlags::HWPOISON);
        self.free_good_part(head, order);
    }

    /// Frees a block that nobody uses any more, except for its bad frames.
    pub(super) fn free_good_part(&mut self, head: Frame, order: Order) {
        let end = head.pfn() + order.pages();
        let mut free_from = head.pfn();
        for frame in head.block(order) {
            let page = frame.page();
            if page.flags().contains(PageFlags::HWPOISON) {
                page.set_flags(PageFlags::HWPOISON);
                page.set_order(Order::ZERO);
                page.set_private(0);
                page.set_owner(0);
                self.free_run(PfnRange::new(free_from, frame.pfn()));
                free_from = frame.pfn() + 1;
            } else {
                page.set_type(PageType::None);
            }
        }
        self.free_run(PfnRange::new(free_from, end));
    }

    fn free_run(&mut self, range: PfnRange) {
        for (pfn, order) in range.blocks(Order::PAGEBLOCK) {
            if let Some(frame) = Frame::new(pfn) {
                let mt = pageblock_migratetype(frame);
                self.free_one(frame, order, mt);
            }
        }
    }
}

/// Frees a block without references, except for its bad frames.
pub(super) fn free_good_part(head: Frame, order: Order) {
    with_masked(|irq| {
        let mut zone = head.zone().zone().lock(irq);
        head.page().set_refcount(0);
        zone.free_good_part(head, order);
    });
}

/// Marks a frame as bad. It is counted by [`count_poisoned`] alone.
pub(in crate::mm) fn mark_poisoned(frame: Frame) -> Marked {
    with_masked(|irq| {
        let mut zone = frame.zone().zone().lock(irq);
        match state_of(frame) {
            State::Free { head, order } => {
                zone.take_page_off_buddy(frame, head, order);
                Marked::Out
            }
            State::Allocated { head, order, .. } => {
                frame.page().add_flags(PageFlags::HWPOISON);
                if order > Order::ZERO {
                    head.page().add_flags(PageFlags::HAS_HWPOISONED);
                }
                Marked::InUse
            }
            State::Poisoned => Marked::Out,
            _ => Marked::Neither,
        }
    })
}

/// Returns true if a marked frame is in use and has its mark, so that its free will take it out.
/// If the mark was set while a free was under way, it may be lost, and the frame neither in use
/// nor out.
pub(in crate::mm) fn is_mark_kept(frame: Frame) -> bool {
    with_masked(|irq| {
        let _zone = frame.zone().zone().lock(irq);
        let State::Allocated { head, order, .. } = state_of(frame) else { return false };
        let told = order == Order::ZERO || head.page().flags().contains(PageFlags::HAS_HWPOISONED);
        told && frame.page().flags().contains(PageFlags::HWPOISON)
    })
}

/// Clears the mark of a frame that is not taken out, and is not to be.
pub(in crate::mm) fn give_up_mark(frame: Frame) {
    with_masked(|irq| {
        let _zone = frame.zone().zone().lock(irq);
        if state_of(frame) != State::Poisoned {
            frame.page().remove_flags(PageFlags::HWPOISON);
        }
    });
}

/// Marks an owner's page as bad and takes it out instead of freeing it (Linux:
/// page_handle_poison).
pub(in crate::mm) fn page_handle_poison(page: OwnedPage) {
    let frame = page.into_raw();
    frame.page().add_flags(PageFlags::HWPOISON);
    free_good_part(frame, Order::ZERO);
}

/// Clears the mark of a bad frame, and frees the frame if it was taken out and its section is
/// online. Returns true if it was marked (Linux: put_page_back_buddy).
pub(in crate::mm) fn put_page_back_buddy(frame: Frame) -> bool {
    with_masked(|irq| {
        let mut zone = frame.zone().zone().lock(irq);
        let page = frame.page();
        let bad = page.flags().contains(PageFlags::HWPOISON);
        let free = state_of(frame) == State::Poisoned && !page.is_type(PageType::Offline);
        page.remove_flags(PageFlags::HWPOISON);
        if bad && free {
            let mt = pageblock_migratetype(frame);
            zone.free_one(frame, Order::ZERO, mt);
        }
        bad
    })
}

/// Counts a frame as bad.
pub(in crate::mm) fn count_poisoned() {
    POISONED.fetch_add(1, Relaxed);
}

/// Counts one less.
pub(in crate::mm) fn uncount_poisoned() {
    POISONED.fetch_sub(1, Relaxed);
}
