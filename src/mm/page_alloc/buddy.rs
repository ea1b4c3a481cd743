//! The buddy system: free blocks of 2^order frames, split on allocation and merged on
//! free (Linux: __rmqueue_smallest, expand, __free_one_page).
//!
//! A block is on the list of its order and of the migratetype of its pageblocks; its head
//! alone says so (`BUDDY`, `private` is the order), the frames inside are untouched.
//! Two free buddies of the same order exist only where their pageblocks may not merge.
#![deny(unsafe_code)]

use crate::addr::Order;
use crate::mm::mmzone::{LockedZone, Migratetype, Zone};
use crate::mm::page::{Frame, PageType};
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// The migratetype of the pageblock that `frame` lies in. It changes under the zone's lock.
#[inline]
pub(in crate::mm) fn pageblock_migratetype(frame: Frame) -> Migratetype {
    frame.align_down(Order::PAGEBLOCK).page().block_migratetype()
}

/// The order of the free block that starts at `frame`, if one does. Exact under the lock
/// of the frame's zone.
pub(in crate::mm) fn buddy_order(frame: Frame) -> Option<Order> {
    let page = frame.page();
    if page.is_type(PageType::Buddy) { Order::new(page.private() as u8) } else { None }
}

/// Adds to a figure that is written under the zone's lock alone.
pub(in crate::mm) fn add(figure: &AtomicU32, pages: u32) {
    figure.store(figure.load(Relaxed) + pages, Relaxed);
}

/// Takes from a figure that is written under the zone's lock alone.
pub(in crate::mm) fn sub(figure: &AtomicU32, pages: u32) {
    figure.store(figure.load(Relaxed) - pages, Relaxed);
}

impl Zone {
    fn free_figures(&self, mt: Migratetype) -> (&AtomicU32, Option<&AtomicU32>) {
        match mt {
            Migratetype::Isolate => (&self.isolated, None),
            Migratetype::Cma => (&self.free, Some(&self.free_cma)),
            Migratetype::HighAtomic => (&self.free, Some(&self.free_highatomic)),
            _ => (&self.free, None),
        }
    }
}

impl LockedZone<'_> {
    /// Counts `pages` of a list of `mt` as free.
    pub(in crate::mm) fn account_add(&self, mt: Migratetype, pages: u32) {
        let (all, kind) = self.zone.free_figures(mt);
        add(all, pages);
        if let Some(kind) = kind {
            add(kind, pages);
        }
    }

    /// Counts `pages` of a list of `mt` as no longer free.
    pub(in crate::mm) fn account_sub(&self, mt: Migratetype, pages: u32) {
        let (all, kind) = self.zone.free_figures(mt);
        sub(all, pages);
        if let Some(kind) = kind {
            sub(kind, pages);
        }
    }

    /// Puts a block on its list; the caller accounts for it.
    pub(in crate::mm) fn add_to_free_list(
        &mut self,
        frame: Frame,
        order: Order,
        mt: Migratetype,
        last: bool,
    ) {
        let page = frame.page();
        page.set_type(PageType::Buddy);
        page.set_private(u32::from(order.get()));
        page.set_order(order);
        if self.list_mut(order, mt).add(frame, last) {
            let orders = &self.zone.orders[mt.index()];
            orders.store(orders.load(Relaxed) | 1 << order.get(), Relaxed);
        }
    }

    /// Takes a block off its list; the caller accounts for it.
    #[inline]
    pub(in crate::mm) fn del_from_free_list(
        &mut self,
        frame: Frame,
        order: Order,
        mt: Migratetype,
    ) {
        let Some(is_empty) = self.list_mut(order, mt).del(frame) else {
            super::check::corrupted_list(frame, order, mt)
        };
        if is_empty {
            let orders = &self.zone.orders[mt.index()];
            orders.store(orders.load(Relaxed) & !(1 << order.get()), Relaxed);
        }
        let page = frame.page();
        page.set_type(PageType::None);
        page.set_private(0);
    }

    /// Cuts the block of `high` at `frame`, which is on no list, down to `low`; the upper
    /// halves go to the lists of `mt`.
    pub(in crate::mm) fn expand(&mut self, frame: Frame, low: Order, high: Order, mt: Migratetype) {
        let mut order = high;
        while order > low
            && let Some(half) = order.down()
        {
            order = half;
            self.add_to_free_list(frame.buddy(half), half, mt, false);
        }
    }

    /// Takes a block of `order` of the smallest free block of `mt` that holds one.
    pub(in crate::mm) fn rmqueue_smallest(
        &mut self,
        order: Order,
        mt: Migratetype,
    ) -> Option<Frame> {
        self.rmqueue_smallest_run(order, order, mt).map(|(frame, _)| frame)
    }

    /// Takes the smallest free block of `mt` that holds one of `order`, or as much of it as
    /// `most`; how much that is comes with it.
    pub(in crate::mm) fn rmqueue_smallest_run(
        &mut self,
        order: Order,
        most: Order,
        mt: Migratetype,
    ) -> Option<(Frame, Order)> {
        let fitting = self.zone.orders[mt.index()].load(Relaxed) >> order.get();
        if fitting == 0 {
            return None;
        }
        let current = Order::new(order.get() + fitting.trailing_zeros() as u8)?;
        let frame = self.list(current, mt).head()?;
        let taken = current.min(most);
        self.take(frame, taken, current, mt);
        Some((frame, taken))
    }

    /// Takes the block of `order` at the start of the free block of `current` at `frame`.
    pub(in crate::mm) fn take(
        &mut self,
        frame: Frame,
        order: Order,
        current: Order,
        mt: Migratetype,
    ) {
        self.del_from_free_list(frame, current, mt);
        self.expand(frame, order, current, mt);
        self.account_sub(mt, order.pages());
        frame.page().set_order(order);
    }

    /// Frees the block of `order` at `frame`, whose first pageblock is of `mt`, and merges it
    /// with its buddies as far as they are free.
    pub(in crate::mm) fn free_one(&mut self, frame: Frame, order: Order, mt: Migratetype) {
        // While a block was in use its pageblocks may have become of different types: one
        // that is being emptied above all (Linux: split_large_buddy).
        if let Some(half) = order.down()
            && half >= Order::PAGEBLOCK
            && let upper = frame.buddy(half)
            && let upper_mt = pageblock_migratetype(upper)
            && upper_mt != mt
        {
            self.free_one(frame, half, mt);
            return self.free_one(upper, half, upper_mt);
        }
        self.account_add(mt, order.pages());
        let (mut frame, mut order) = (frame, order);
        while let Some(up) = order.up() {
            let buddy = frame.buddy(order);
            if buddy_order(buddy) != Some(order) {
                break;
            }
            let mut buddy_mt = mt;
            if order >= Order::PAGEBLOCK {
                buddy_mt = pageblock_migratetype(buddy);
                if buddy_mt != mt && !(mt.is_mergeable() && buddy_mt.is_mergeable()) {
                    break;
                }
            }
            self.del_from_free_list(buddy, order, buddy_mt);
            if buddy_mt != mt {
                // What is cut off the merged block later goes to the lists of one type.
                buddy.set_block_migratetype(mt);
            }
            frame = frame.align_down(up);
            order = up;
        }
        // A block whose buddy's parent could merge soon is better used last.
        let last = order < Order::PAGEBLOCK
            && order.up().is_some_and(|up| buddy_order(frame.align_down(up).buddy(up)) == Some(up));
        self.add_to_free_list(frame, order, mt, last);
    }
}
