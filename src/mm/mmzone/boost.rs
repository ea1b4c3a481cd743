//! Watermark boost: a zone in which pageblocks change hands gets background reclaim to work
//! earlier, so that next time there is room for each kind (Linux: boost_watermark).
//!
//! The boost raises the marks low, high and promo, by which background reclaim begins and
//! ends. It leaves min alone, and with it what an allocation can get: Linux boosts that too,
//! and excepts single pages of `__GFP_HIGH`. Written under the zone's lock.

use super::{LockedZone, Wmark, Zone};
use crate::addr::Order;
use core::sync::atomic::Ordering::Relaxed;

impl Zone {
    /// Returns the number of pages by which the zone's marks are boosted.
    #[must_use]
    pub fn boost(&self) -> u32 {
        self.watermark_boost.load(Relaxed)
    }
    /// The mark with the boost, in pages (Linux: wmark_pages).
    #[must_use]
    pub fn wmark_pages(&self, mark: Wmark) -> u32 {
        match mark {
            Wmark::Min => self.watermark(mark),
            _ => self.watermark(mark) + self.boost(),
        }
    }
    /// Returns whether the marks were boosted, and nobody has been told of it; it is told once.
    pub(in crate::mm) fn take_boosted(&self) -> bool {
        self.boosted.load(Relaxed) && self.boosted.swap(false, Relaxed)
    }
}

impl LockedZone<'_> {
    /// A pageblock changes hands in part: boosts the marks by a pageblock, at most to
    /// `watermark_boost_factor` 10000ths of high. A zone of few pageblocks is left alone,
    /// where there is nothing to be had for it.
    pub(in crate::mm) fn boost_watermark(&mut self) {
        let factor = u64::from(super::watermark_boost_factor());
        let block = Order::PAGEBLOCK.pages();
        let most = u64::from(self.zone.watermark(Wmark::High)) * factor / 10_000;
        if most == 0 || block * 4 > self.zone.managed() {
            return;
        }
        let boost = (self.zone.boost() + block).min(block.max(most as u32));
        self.zone.watermark_boost.store(boost, Relaxed);
        self.zone.boosted.store(true, Relaxed);
    }

    /// Takes `pages` of the boost back, which was worked off.
    pub(in crate::mm) fn end_boost(&mut self, pages: u32) {
        self.zone.watermark_boost.store(self.zone.boost().saturating_sub(pages), Relaxed);
    }
}
