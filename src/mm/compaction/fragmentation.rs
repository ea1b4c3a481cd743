//! Fragmentation of a zone's free memory (Linux: mm/vmstat.c, fragmentation_index,
//! unusable_free_index, extfrag_for_order).

use crate::addr::Order;
use crate::arch::irq::with_masked;
use crate::mm::mmzone::{Migratetype, ZoneId};
use core::sync::atomic::Ordering::Relaxed;

/// A zone's free memory, as a request of one order sees it (Linux: struct contig_page_info).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ContigPageInfo {
    /// Free pages.
    pub free_pages: u64,
    /// Free blocks, of any size.
    pub blocks: u64,
    /// Number of blocks of the order that the free blocks hold.
    pub suitable: u64,
    order: Order,
}

impl ContigPageInfo {
    /// Counts the free blocks of `zone` that a request of `order` can use. Memory that is not up
    /// yet is in one piece; pages on per-CPU lists are left out.
    #[must_use]
    pub fn of(zone: ZoneId, order: Order) -> Self {
        let mut info = Self { free_pages: 0, blocks: 0, suitable: 0, order };
        with_masked(|irq| {
            let locked = zone.zone().lock(irq);
            for size in Order::ZERO.and_up() {
                let blocks: u32 = Migratetype::ALL
                    .iter()
                    .filter(|&&mt| mt != Migratetype::Isolate)
                    .map(|&mt| locked.list(size, mt).nr_free())
                    .sum();
                info.add(size, u64::from(blocks));
            }
            let deferred = u64::from(zone.zone().deferred.load(Relaxed));
            info.add(Order::MAX, deferred >> Order::MAX.get());
        });
        info
    }

    fn add(&mut self, size: Order, blocks: u64) {
        self.blocks += blocks;
        self.free_pages += blocks << size.get();
        if let Some(times) = size.get().checked_sub(self.order.get()) {
            self.suitable += blocks << times;
        }
    }

    /// Returns the reason why a request fails, in thousandths: towards 0 for want of memory,
    /// towards 1000 because of fragmentation; `None` if it does not fail.
    #[must_use]
    pub fn fragmentation_index(&self) -> Option<u64> {
        if self.suitable > 0 {
            return None;
        }
        let wanted = self.free_pages * 1000 / u64::from(self.order.pages());
        let small = (1000 + wanted).checked_div(self.blocks).unwrap_or(1000);
        Some(1000_u64.saturating_sub(small))
    }

    /// The share of the free memory that such requests can't use, in thousandths; all of it
    /// where none is free.
    #[must_use]
    pub fn unusable_free_index(&self) -> u64 {
        let usable = self.suitable << self.order.get();
        ((self.free_pages - usable) * 1000).checked_div(self.free_pages).unwrap_or(1000)
    }

    /// The share that compaction could win back, in percent (Linux: extfrag_for_order).
    #[must_use]
    pub fn extfrag(&self) -> u64 {
        let usable = self.suitable << self.order.get();
        ((self.free_pages - usable) * 100).checked_div(self.free_pages).unwrap_or(0)
    }
}
