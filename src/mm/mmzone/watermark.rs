//! Watermarks: how much of a zone is kept back, and for whom
//! (Linux: setup_per_zone_wmarks, setup_per_zone_lowmem_reserve, zone_watermark_ok).

use super::sysctl::{lowmem_reserve_ratio, watermark_scale_factor};
use super::{Migratetype, NodeId, Zone, ZoneId, ZoneType};
use crate::addr::{Order, PAGE_SHIFT, PAGE_SIZE};
use bitflags::bitflags;
use core::sync::atomic::Ordering::Relaxed;

/// The marks of a zone's free pages, from the lowest up.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(usize)]
pub enum Wmark {
    /// Below it only those who may use reserves get pages.
    Min,
    /// Below it background reclaim starts.
    Low,
    /// Above it background reclaim rests.
    High,
    /// Above it pages may be promoted to this node.
    Promo,
}

bitflags! {
    /// Depth to which an allocation may use a zone's reserves (Linux: ALLOC_*, mm/internal.h).
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct WmarkFlags: u8 {
        /// No watermark applies.
        const NO_WATERMARKS = 1 << 0;
        /// Half of the min mark: `__GFP_HIGH` (Linux: ALLOC_MIN_RESERVE).
        const MIN_RESERVE = 1 << 1;
        /// A quarter more: it can't wait (Linux: ALLOC_NON_BLOCK).
        const NON_BLOCK = 1 << 2;
        /// The pageblocks of `HighAtomic` are open to it.
        const HIGHATOMIC = 1 << 3;
        /// CMA's pages are open to it.
        const CMA = 1 << 4;
    }
}

impl WmarkFlags {
    const RESERVES: Self = Self::MIN_RESERVE.union(Self::NON_BLOCK).union(Self::HIGHATOMIC);
}

impl Zone {
    /// The mark, in pages.
    #[must_use]
    pub fn watermark(&self, mark: Wmark) -> u32 {
        self.watermark[mark as usize].load(Relaxed)
    }
    /// Pages of this zone that an allocation whose widest zone is `kind` leaves for
    /// those that can't go elsewhere.
    #[must_use]
    pub fn lowmem_reserve(&self, kind: ZoneType) -> u32 {
        self.lowmem_reserve[kind.index()].load(Relaxed)
    }

    /// Returns whether a block of `order` may be taken without falling below `mark`, and whether
    /// there is one, as far as can be seen without the lock.
    pub(in crate::mm) fn watermark_ok(
        &self,
        order: Order,
        mark: u32,
        highest: ZoneType,
        flags: WmarkFlags,
    ) -> bool {
        let mut min = mark;
        let mut unusable = order.pages() - 1;
        if flags.intersects(WmarkFlags::RESERVES) {
            if flags.contains(WmarkFlags::MIN_RESERVE) {
                min -= min / 2;
                if flags.contains(WmarkFlags::NON_BLOCK) {
                    min -= min / 4;
                }
            }
        } else {
            unusable += self.free_highatomic.load(Relaxed);
        }
        if !flags.contains(WmarkFlags::CMA) {
            unusable += self.free_cma.load(Relaxed);
        }
        let free = self.free().saturating_sub(unusable);
        if free <= min + self.lowmem_reserve(highest) {
            return false;
        }
        order == Order::ZERO
            || self.deferred.load(Relaxed) != 0
            || Migratetype::ALL.iter().any(|&mt| {
                let open = match mt {
                    Migratetype::Cma => flags.contains(WmarkFlags::CMA),
                    Migratetype::HighAtomic => flags.contains(WmarkFlags::HIGHATOMIC),
                    Migratetype::Isolate => false,
                    _ => true,
                };
                open && self.orders[mt.index()].load(Relaxed) >> order.get() != 0
            })
    }
}

/// Bounds of what `min_free_kbytes` is computed as, in KiB.
const MIN_FREE_KBYTES: core::ops::RangeInclusive<u64> = 128..=262_144;
/// Pages that reclaim takes at a time.
const SWAP_CLUSTER_MAX: u64 = 32;

/// The KiB to keep free of `lowmem_kbytes` (Linux: calculate_min_free_kbytes).
pub(in crate::mm) fn min_free_kbytes(lowmem_kbytes: u64) -> u64 {
    (lowmem_kbytes * 16).isqrt().clamp(*MIN_FREE_KBYTES.start(), *MIN_FREE_KBYTES.end())
}

/// The number of pages by which a CPU's lists of a zone grow and shrink
/// (Linux: zone_batchsize).
pub(in crate::mm) fn zone_batchsize(managed: u32) -> u32 {
    let batch = (managed >> 10).min(((1 << 20) / PAGE_SIZE) as u32) / 4;
    let batch = batch.max(1);
    (1 << (batch + batch / 2).ilog2()) - 1
}

/// Computes watermarks, lowmem reserves and the sizes of per-CPU lists from what the zones
/// manage now, and from `min_free`, the KiB to keep free, where that is given. The CPUs near
/// a node, as many as `cpus` says, share its zones' low watermarks as the sizes of their
/// lists (Linux: zone_highsize).
pub(in crate::mm) fn setup_per_zone_wmarks(cpus: impl Fn(NodeId) -> u32, min_free: Option<u64>) {
    let zones = || ZoneId::all().map(ZoneId::zone).filter(|zone| zone.is_populated());
    let lowmem: u64 = zones()
        .filter(|zone| zone.id().kind() != ZoneType::Movable)
        .map(|zone| u64::from(zone.managed()))
        .sum();
    let kbytes = min_free.unwrap_or_else(|| min_free_kbytes(lowmem << (PAGE_SHIFT - 10)));
    let scale = u64::from(watermark_scale_factor());
    let pages_min = (kbytes >> (PAGE_SHIFT - 10)).min(lowmem);
    for zone in zones() {
        let managed = u64::from(zone.managed());
        let share = (pages_min * managed).checked_div(lowmem).unwrap_or(0);
        let min = if zone.id().kind() == ZoneType::Movable {
            (managed / 1024).clamp(SWAP_CLUSTER_MAX, 128)
        } else {
            share
        };
        let gap = (share / 4).max(managed * scale / 10_000);
        for (n, mark) in (0..).zip(&zone.watermark) {
            mark.store((min + n * gap) as u32, Relaxed);
        }
        zone.watermark_boost.store(0, Relaxed);
        let batch = zone_batchsize(zone.managed()).max(1);
        zone.pcp_batch.store(batch, Relaxed);
        let high = (zone.watermark(Wmark::Low) / cpus(zone.id().node()).max(1)).max(batch * 4);
        zone.pcp_high.store(high, Relaxed);
    }
    for node in NodeId::all() {
        for kind in ZoneType::ALL {
            let zone = ZoneId::new(node, kind).zone();
            let ratio = lowmem_reserve_ratio()[kind.index()];
            let mut wider = 0;
            for other in ZoneType::ALL {
                if other > kind {
                    wider += ZoneId::new(node, other).zone().managed();
                }
                let reserve = if other <= kind { 0 } else { wider.checked_div(ratio).unwrap_or(0) };
                zone.lowmem_reserve[other.index()].store(reserve, Relaxed);
            }
        }
    }
}
