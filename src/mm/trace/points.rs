//! What the rest of `mm` calls where something happens. Each asks first whether its event is
//! on; where the path is a fast one, its caller has asked a static key before.

use super::event::Value::{N, S};
use super::events::Id;
use super::{emit, emit_at, is_on};
use crate::addr::{Order, Pfn, VirtAddr, VirtRange};
use crate::arch::layout;
use crate::mm::compaction::CompactResult;
use crate::mm::gfp::Gfp;
use crate::mm::mmzone::{Migratetype, NodeId, ZoneType};
use crate::mm::page::Frame;
use core::panic::Location;

/// The caller of an allocation.
type Site = &'static Location<'static>;

fn pfn(frame: Option<Frame>) -> u64 {
    frame.map_or(u64::MAX, |frame| frame.pfn().get().into())
}

/// The address of a frame's descriptor.
fn page(frame: Option<Frame>) -> u64 {
    frame.map_or(0, |frame| core::ptr::from_ref(frame.page()).addr() as u64)
}

fn address(at: Option<VirtAddr>) -> u64 {
    at.map_or(0, |at| at.get() as u64)
}

/// Pages were allocated, or could not be.
pub(in crate::mm) fn mm_page_alloc(frame: Option<Frame>, order: Order, gfp: Gfp) {
    if is_on(Id::MmPageAlloc) {
        let mt = gfp.migratetype().index();
        let gfp = N(gfp.bits().into());
        emit(Id::MmPageAlloc, &[N(pfn(frame)), N(order.get().into()), gfp, N(mt as u64)]);
    }
}

/// Pages are about to be freed.
pub(in crate::mm) fn mm_page_free(frame: Frame, order: Order) {
    if is_on(Id::MmPageFree) {
        emit(Id::MmPageFree, &[N(pfn(Some(frame))), N(order.get().into())]);
    }
}

/// A block of another migratetype is taken for `alloc`, and `owns` its pageblock with it.
pub(in crate::mm) fn mm_page_alloc_extfrag(
    frame: Frame,
    order: Order,
    current: Order,
    alloc: Migratetype,
    fallback: Migratetype,
    owns: bool,
) {
    if is_on(Id::MmPageAllocExtfrag) {
        let orders = [order, current].map(|order| N(order.get().into()));
        let types = [alloc, fallback].map(|mt| N(mt.index() as u64));
        let [order, current] = orders;
        let [alloc, fallback] = types;
        let values = [N(pfn(Some(frame))), order, current, alloc, fallback, N(owns.into())];
        emit(Id::MmPageAllocExtfrag, &values);
    }
}

/// kmalloc gave `at`, of `room` bytes, for `size`; `None` where memory was short.
pub(in crate::mm) fn kmalloc(
    site: Site,
    at: Option<VirtAddr>,
    size: usize,
    room: usize,
    gfp: Gfp,
    node: Option<NodeId>,
) {
    if is_on(Id::Kmalloc) {
        let gfp = N(gfp.bits().into());
        let values = [N(0), N(address(at)), N(size as u64), N(room as u64), gfp, N(number(node))];
        emit_at(Id::Kmalloc, site, values);
    }
}

/// A cache of objects of `size` bytes, which take up `room`, gave `at`.
pub(in crate::mm) fn kmem_cache_alloc(
    site: Site,
    at: Option<VirtAddr>,
    size: usize,
    room: usize,
    gfp: Gfp,
    node: Option<NodeId>,
) {
    if is_on(Id::KmemCacheAlloc) {
        let accounted = gfp.contains(Gfp::__GFP_ACCOUNT);
        let gfp = N(gfp.bits().into());
        let (size, room) = (N(size as u64), N(room as u64));
        let values = [N(0), N(address(at)), size, room, gfp, N(number(node)), N(accounted.into())];
        emit_at(Id::KmemCacheAlloc, site, values);
    }
}

/// A node by its number; -1 for any (Linux: NUMA_NO_NODE).
fn number(node: Option<NodeId>) -> u64 {
    node.map_or(u64::MAX, |node| node.index() as u64)
}

/// kfree was called.
pub(in crate::mm) fn kfree(site: Site, at: VirtAddr) {
    if is_on(Id::Kfree) {
        emit_at(Id::Kfree, site, [N(0), N(at.get() as u64)]);
    }
}

/// An object goes back to the cache `name`.
pub(in crate::mm) fn kmem_cache_free(site: Site, at: VirtAddr, name: &str) {
    if is_on(Id::KmemCacheFree) {
        emit_at(Id::KmemCacheFree, site, [N(0), N(at.get() as u64), S(name)]);
    }
}

/// Addresses were found for an area, or not: `size` bytes, its guard page included.
pub(in crate::mm) fn alloc_vmap_area(at: Option<VirtAddr>, size: usize, align: usize) {
    if is_on(Id::AllocVmapArea) {
        let within = layout::VMALLOC;
        // Where there are none, the end of what was searched, as in Linux.
        let start = at.unwrap_or(within.end());
        let [start, from, to] = [start, within.start(), within.end()].map(|at| N(at.get() as u64));
        let values = [start, N(size as u64), N(align as u64), from, to, N(at.is_none().into())];
        emit(Id::AllocVmapArea, &values);
    }
}

/// The area at `at` waits for a flush, with which `lazy` pages of addresses do.
pub(in crate::mm) fn free_vmap_area_noflush(at: VirtAddr, lazy: usize, lazy_max: usize) {
    if is_on(Id::FreeVmapAreaNoflush) {
        let values = [N(at.get() as u64), N(lazy as u64), N(lazy_max as u64)];
        emit(Id::FreeVmapAreaNoflush, &values);
    }
}

/// What waits is flushed: `what` tells from where to where areas lie, and how many there are.
pub(in crate::mm) fn purge_vmap_area_lazy(what: impl FnOnce() -> (VirtRange, usize)) {
    if is_on(Id::PurgeVmapAreaLazy) {
        let (range, purged) = what();
        let [start, end] = [range.start(), range.end()].map(|at| N(at.get() as u64));
        emit(Id::PurgeVmapAreaLazy, &[start, end, N(purged as u64)]);
    }
}

/// Contiguous pages are asked for.
pub(in crate::mm) fn cma_alloc_start(name: &str, count: u32, align: Order) {
    if is_on(Id::CmaAllocStart) {
        emit(Id::CmaAllocStart, &[S(name), N(count.into()), N(align.get().into())]);
    }
}

/// They were had, or not.
pub(in crate::mm) fn cma_alloc_finish(name: &str, frame: Option<Frame>, count: u32, align: Order) {
    /// Linux: -ENOMEM.
    const ENOMEM: u64 = -12i64 as u64;
    if is_on(Id::CmaAllocFinish) {
        let errno = if frame.is_some() { 0 } else { ENOMEM };
        let place = frame.map_or(0, |frame| frame.pfn().get().into());
        let (count, align) = (N(count.into()), N(align.get().into()));
        emit(Id::CmaAllocFinish, &[S(name), N(place), N(page(frame)), count, align, N(errno)]);
    }
}

/// Contiguous pages are given back.
pub(in crate::mm) fn cma_release(name: &str, frame: Frame, count: u32) {
    if is_on(Id::CmaRelease) {
        let place = [N(pfn(Some(frame))), N(page(Some(frame)))];
        emit(Id::CmaRelease, &[S(name), place[0], place[1], N(count.into())]);
    }
}

/// Where compaction of a zone is: the zone's start and end, and the two scanners.
#[derive(Clone, Copy)]
pub(in crate::mm) struct Scan {
    pub start: Pfn,
    pub migrate: Pfn,
    pub free: Pfn,
    pub end: Pfn,
    /// Whether it waits for what takes time.
    pub sync: bool,
}

impl Scan {
    fn values(self) -> [super::event::Value<'static>; 5] {
        let [a, b, c, d] = [self.start, self.migrate, self.free, self.end];
        let [a, b, c, d] = [a, b, c, d].map(|pfn| N(pfn.get().into()));
        [a, b, c, d, N(self.sync.into())]
    }
}

/// Compaction of a zone begins.
pub(in crate::mm) fn mm_compaction_begin(scan: Scan) {
    if is_on(Id::MmCompactionBegin) {
        emit(Id::MmCompactionBegin, &scan.values());
    }
}

/// It is over.
pub(in crate::mm) fn mm_compaction_end(scan: Scan, result: CompactResult) {
    if is_on(Id::MmCompactionEnd) {
        // By Linux's numbers of enum compact_result.
        let status = match result {
            CompactResult::Skipped => 1,
            CompactResult::Deferred => 2,
            CompactResult::Complete => 5,
            CompactResult::Success => 8,
        };
        let [a, b, c, d, sync] = scan.values();
        emit(Id::MmCompactionEnd, &[a, b, c, d, sync, N(status)]);
    }
}

/// Frames from `start` to `end` were gone through for pages to move.
pub(in crate::mm) fn isolate_migratepages(start: Pfn, end: Pfn, scanned: u32, taken: usize) {
    if is_on(Id::MmCompactionIsolateMigratepages) {
        let values = isolated(start, end, scanned, taken);
        emit(Id::MmCompactionIsolateMigratepages, &values);
    }
}

/// Frames from `start` to `end` were gone through for free pages.
pub(in crate::mm) fn isolate_freepages(start: Pfn, end: Pfn, scanned: u32, taken: usize) {
    if is_on(Id::MmCompactionIsolateFreepages) {
        let values = isolated(start, end, scanned, taken);
        emit(Id::MmCompactionIsolateFreepages, &values);
    }
}

fn isolated(start: Pfn, end: Pfn, scanned: u32, taken: usize) -> [super::event::Value<'static>; 4] {
    let [start, end] = [start, end].map(|pfn| N(pfn.get().into()));
    [start, end, N(scanned.into()), N(taken as u64)]
}

/// Of the pages that were isolated so many were moved, and so many stay where they are.
pub(in crate::mm) fn mm_compaction_migratepages(migrated: u32, failed: u32) {
    if is_on(Id::MmCompactionMigratepages) {
        emit(Id::MmCompactionMigratepages, &[N(migrated.into()), N(failed.into())]);
    }
}

/// kswapd begins to work.
pub(in crate::mm) fn mm_vmscan_kswapd_wake(node: NodeId, highest: ZoneType, order: Order) {
    if is_on(Id::MmVmscanKswapdWake) {
        let [nid, zid] = [node.index(), highest as usize].map(|n| N(n as u64));
        emit(Id::MmVmscanKswapdWake, &[nid, zid, N(order.get().into())]);
    }
}

/// Somebody wakes kswapd.
pub(in crate::mm) fn mm_vmscan_wakeup_kswapd(
    node: NodeId,
    highest: ZoneType,
    order: Order,
    gfp: Gfp,
) {
    if is_on(Id::MmVmscanWakeupKswapd) {
        let [nid, zid] = [node.index(), highest as usize].map(|n| N(n as u64));
        emit(Id::MmVmscanWakeupKswapd, &[nid, zid, N(order.get().into()), N(gfp.bits().into())]);
    }
}

/// The kernel's access to `address` faulted, at `ip`; `esr` is what the CPU says of it. From
/// the exception's handler.
pub fn page_fault_kernel(address: VirtAddr, ip: u64, esr: u64) {
    if is_on(Id::PageFaultKernel) {
        emit(Id::PageFaultKernel, &[N(address.get() as u64), N(ip), N(esr)]);
    }
}
