//! A zone: its figures, which anyone may read, and its free lists under its lock.

use super::{Migratetype, ZoneId};
use crate::addr::{Order, Pfn, PfnRange};
use crate::arch::IrqMasked;
use crate::mm::page::FreeList;
use crate::sync::{Rank, SpinGuard, SpinLock};
use core::sync::atomic::{AtomicBool, AtomicU16, AtomicU32, Ordering::Relaxed};

/// A part of a node's memory (Linux: struct zone). Figures are in pages; those that
/// change do so under the zone's lock, and are read without.
pub struct Zone {
    id: ZoneId,
    pub(in crate::mm) area: SpinLock<FreeArea>,
    /// Bit mask for each migratetype: the orders that have a free block.
    pub(in crate::mm) orders: [AtomicU16; Migratetype::COUNT],
    pub(in crate::mm) free: AtomicU32,
    pub(in crate::mm) free_cma: AtomicU32,
    pub(in crate::mm) free_highatomic: AtomicU32,
    pub(in crate::mm) isolated: AtomicU32,
    /// Pages of pageblocks of `HighAtomic`, free or not.
    pub(in crate::mm) reserved_highatomic: AtomicU32,
    /// Free pages whose descriptors are not up yet.
    pub(in crate::mm) deferred: AtomicU32,
    pub(in crate::mm) start: AtomicU32,
    pub(in crate::mm) end: AtomicU32,
    pub(in crate::mm) present: AtomicU32,
    /// RAM of sections that are offline, which is not present.
    pub(in crate::mm) offline: AtomicU32,
    /// Written through [`LockedZone::add_managed`] alone, under the zone's lock.
    managed: AtomicU32,
    pub(in crate::mm) cma: AtomicU32,
    pub(in crate::mm) watermark: [AtomicU32; 4],
    /// Pages by which the watermarks except min are raised, since a pageblock was claimed by
    /// another migratetype.
    pub(in crate::mm) watermark_boost: AtomicU32,
    /// True if background reclaim has to be woken for the boost (Linux: ZONE_BOOSTED_WATERMARK).
    pub(in crate::mm) boosted: AtomicBool,
    pub(in crate::mm) lowmem_reserve: [AtomicU32; super::MAX_NR_ZONES],
    pub(in crate::mm) pcp_batch: AtomicU32,
    pub(in crate::mm) pcp_high: AtomicU32,
}

impl Zone {
    pub(super) const fn new(id: ZoneId) -> Self {
        Self {
            id,
            area: SpinLock::new(Rank::Zone, FreeArea::new()),
            orders: [const { AtomicU16::new(0) }; Migratetype::COUNT],
            free: AtomicU32::new(0),
            free_cma: AtomicU32::new(0),
            free_highatomic: AtomicU32::new(0),
            isolated: AtomicU32::new(0),
            reserved_highatomic: AtomicU32::new(0),
            deferred: AtomicU32::new(0),
            start: AtomicU32::new(0),
            end: AtomicU32::new(0),
            present: AtomicU32::new(0),
            offline: AtomicU32::new(0),
            managed: AtomicU32::new(0),
            cma: AtomicU32::new(0),
            watermark: [const { AtomicU32::new(0) }; 4],
            watermark_boost: AtomicU32::new(0),
            boosted: AtomicBool::new(false),
            lowmem_reserve: [const { AtomicU32::new(0) }; super::MAX_NR_ZONES],
            pcp_batch: AtomicU32::new(1),
            pcp_high: AtomicU32::new(4),
        }
    }

    /// Number of the zone.
    #[must_use]
    pub fn id(&self) -> ZoneId {
        self.id
    }
    /// Range from its first to its last frame, holes and other zones' frames included.
    #[must_use]
    pub fn spanned(&self) -> PfnRange {
        PfnRange::new(Pfn::new(self.start.load(Relaxed)), Pfn::new(self.end.load(Relaxed)))
    }
    /// Pages of RAM in it that are online.
    #[must_use]
    pub fn present(&self) -> u32 {
        self.present.load(Relaxed)
    }
    /// Pages that the allocator was given; the rest of the present ones are reserved.
    #[must_use]
    pub fn managed(&self) -> u32 {
        self.managed.load(Relaxed)
    }
    /// Pages of CMA areas in it.
    #[must_use]
    pub fn cma(&self) -> u32 {
        self.cma.load(Relaxed)
    }
    /// Pages in free blocks, isolated ones apart, and those whose section is not up yet.
    #[must_use]
    pub fn free(&self) -> u32 {
        self.free.load(Relaxed) + self.deferred.load(Relaxed)
    }
    /// Returns true if the zone has memory to allocate.
    #[must_use]
    pub fn is_populated(&self) -> bool {
        self.managed() != 0
    }

    /// Takes the zone's lock.
    pub(in crate::mm) fn lock<'a>(&'a self, irq: &'a IrqMasked) -> LockedZone<'a> {
        LockedZone { zone: self, area: self.area.lock(irq) }
    }
}

/// A zone's free blocks, by order and migratetype (Linux: struct free_area).
pub(in crate::mm) struct FreeArea {
    lists: [[FreeList; Migratetype::COUNT]; Order::COUNT],
}

impl FreeArea {
    const fn new() -> Self {
        let lists = [const { [const { FreeList::new() }; Migratetype::COUNT] }; Order::COUNT];
        Self { lists }
    }
}

/// A zone whose lock this CPU holds. The operations on free blocks are in
/// `page_alloc::buddy` and `page_alloc::fallback`.
pub(in crate::mm) struct LockedZone<'a> {
    pub(in crate::mm) zone: &'a Zone,
    area: SpinGuard<'a, FreeArea>,
}

impl LockedZone<'_> {
    /// Counts `pages` as the allocator's.
    pub(in crate::mm) fn add_managed(&mut self, pages: u32) {
        self.zone.managed.store(self.zone.managed() + pages, Relaxed);
    }
    /// Counts `pages` as the allocator's no longer.
    pub(in crate::mm) fn sub_managed(&mut self, pages: u32) {
        self.zone.managed.store(self.zone.managed() - pages, Relaxed);
    }
    /// The list of free blocks of `order` and `mt`.
    pub(in crate::mm) fn list(&self, order: Order, mt: Migratetype) -> &FreeList {
        &self.area.lists[order.index()][mt.index()]
    }
    pub(in crate::mm) fn list_mut(&mut self, order: Order, mt: Migratetype) -> &mut FreeList {
        &mut self.area.lists[order.index()][mt.index()]
    }
}
