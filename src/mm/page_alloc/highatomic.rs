//! The reserve of large blocks for those who can't wait (Linux: MIGRATE_HIGHATOMIC,
//! reserve_highatomic_pageblock, unreserve_highatomic_pageblock).
//!
//! A pageblock from which an urgent allocation of several pages was served is kept for
//! such allocations, up to one percent of a zone; under pressure it is given back.
#![deny(unsafe_code)]

use super::buddy::{add, pageblock_migratetype, sub};
use crate::addr::Order;
use crate::mm::mmzone::{LockedZone, Migratetype};
use crate::mm::page::Frame;
use core::sync::atomic::Ordering::Relaxed;

impl LockedZone<'_> {
    /// Keeps the pageblock of `frame`, which was just allocated, for urgent allocations, if
    /// the zone has not enough of them.
    pub(in crate::mm) fn reserve_highatomic(&mut self, frame: Frame) {
        let percent = self.zone.managed() / 100;
        let block = Order::PAGEBLOCK.pages();
        let most = if percent < block { 0 } else { percent.next_multiple_of(block) };
        let mt = pageblock_migratetype(frame);
        if self.zone.reserved_highatomic.load(Relaxed) >= most || !mt.is_mergeable() {
            return;
        }
        self.move_freepages_block(frame, mt, Migratetype::HighAtomic);
        add(&self.zone.reserved_highatomic, block);
    }

    /// Moves one pageblock of the reserve that has free memory to `mt`. Returns false if there
    /// was none.
    pub(in crate::mm) fn unreserve_highatomic(&mut self, mt: Migratetype) -> bool {
        let reserve = Migratetype::HighAtomic;
        let lists = Order::ZERO.and_up().map(|order| self.list(order, reserve).head());
        let Some(frame) = lists.into_iter().find_map(|head| head) else { return false };
        let first = frame.align_down(Order::PAGEBLOCK);
        self.split_to_pageblock(first);
        self.move_freepages_block(first, reserve, mt);
        sub(&self.zone.reserved_highatomic, Order::PAGEBLOCK.pages());
        self.merge_pageblock(first, mt);
        true
    }
}
