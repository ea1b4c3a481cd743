//! Trace points: functions that the rest of `mm` calls.

use super::event::Value::{N, S};
use super::events::Id;
use super::{emit, emit_at, is_on};
use crate::addr::{Order, PAGE_SHIFT, Pfn, VirtAddr, VirtRange};
use crate::arch::layout;
use crate::mm::cma::Cma;
use crate::mm::compaction::CompactResult;
use crate::mm::debug::are_rare_events_on;
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

/// A node by its number; -1 for any (Linux: NUMA_NO_NODE).
fn number(node: Option<NodeId>) -> u64 {
    node.map_or(u64::MAX, |node| node.index() as u64)
}

/// State of a compaction run: the zone's start and end, and the two scanners.
#[derive(Clone, Copy)]
pub(in crate::mm) struct Scan {
    pub start: Pfn,
    pub migrate: Pfn,
    pub free: Pfn,
    pub end: Pfn,
    /// True if it waits for what takes time.
    pub sync: bool,
}

impl Scan {
    fn values(self) -> [super::event::Value<'static>; 5] {
        let [a, b, c, d] = [self.start, self.migrate, self.free, self.end];
        let [a, b, c, d] = [a, b, c, d].map(|pfn| N(pfn.get().into()));
        [a, b, c, d, N(self.sync.into())]
    }
}

fn isolated(start: Pfn, end: Pfn, scanned: u32, taken: usize) -> [super::event::Value<'static>; 4] {
    let [start, end] = [start, end].map(|pfn| N(pfn.get().into()));
    [start, end, N(scanned.into()), N(taken as u64)]
}

/// Declares points. One that is `watched` is called where a static key of its own was asked, by
/// a tool that watches pages or objects; a `rare` one asks the key of all the others. On, either
/// asks whether its event is on.
macro_rules! points {
    ($($(#[$doc:meta])* $kind:ident $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?)
        for $id:ident $body:block)*) => {$(
        $(#[$doc])*
        #[inline(always)]
        $vis fn $name($($arg: $ty),*) {
            /// Out of line: it takes no room where nothing is recorded.
            #[cold]
            #[inline(never)]
            fn on($($arg: $ty),*) {
                if is_on(Id::$id) $body
            }
            if points!(@ $kind) {
                on($($arg),*);
            }
        }
    )*};
    (@ watched) => { true };
    (@ rare) => { are_rare_events_on() };
}

points! {
    /// Pages were allocated, or could not be.
    watched pub(in crate::mm) fn mm_page_alloc(frame: Option<Frame>, order: Order, gfp: Gfp) for MmPageAlloc {
        let mt = gfp.migratetype().index();
        let gfp = N(gfp.bits().into());
        emit(Id::MmPageAlloc, &[N(pfn(frame)), N(order.get().into()), gfp, N(mt as u64)]);
    }

    /// Pages are about to be freed.
    watched pub(in crate::mm) fn mm_page_free(frame: Frame, order: Order) for MmPageFree {
        emit(Id::MmPageFree, &[N(pfn(Some(frame))), N(order.get().into())]);
    }

    /// A block of another migratetype is taken for `alloc`, and `owns` its pageblock with it.
    rare pub(in crate::mm) fn mm_page_alloc_extfrag(frame: Frame,
    order: Order,
    current: Order,
    alloc: Migratetype,
    fallback: Migratetype,
    owns: bool,) for MmPageAllocExtfrag {
        let orders = [order, current].map(|order| N(order.get().into()));
        let types = [alloc, fallback].map(|mt| N(mt.index() as u64));
        let [order, current] = orders;
        let [alloc, fallback] = types;
        let values = [N(pfn(Some(frame))), order, current, alloc, fallback, N(owns.into())];
        emit(Id::MmPageAllocExtfrag, &values);
    }

    /// kmalloc gave `at`, of `room` bytes, for `size`; `None` where memory was short.
    watched pub(in crate::mm) fn kmalloc(site: Site,
    at: Option<VirtAddr>,
    size: usize,
    room: usize,
    gfp: Gfp,
    node: Option<NodeId>,) for Kmalloc {
        let gfp = N(gfp.bits().into());
        let values = [N(0), N(address(at)), N(size as u64), N(room as u64), gfp, N(number(node))];
        emit_at(Id::Kmalloc, site, values);
    }

    /// A cache of objects of `size` bytes, which take up `room`, gave `at`.
    watched pub(in crate::mm) fn kmem_cache_alloc(site: Site,
    at: Option<VirtAddr>,
    size: usize,
    room: usize,
    gfp: Gfp,
    node: Option<NodeId>,) for KmemCacheAlloc {
        let accounted = gfp.contains(Gfp::__GFP_ACCOUNT);
        let gfp = N(gfp.bits().into());
        let (size, room) = (N(size as u64), N(room as u64));
        let values = [N(0), N(address(at)), size, room, gfp, N(number(node)), N(accounted.into())];
        emit_at(Id::KmemCacheAlloc, site, values);
    }

    /// kfree was called.
    watched pub(in crate::mm) fn kfree(site: Site, at: VirtAddr) for Kfree {
        emit_at(Id::Kfree, site, [N(0), N(at.get() as u64)]);
    }

    /// An object goes back to the cache `name`.
    watched pub(in crate::mm) fn kmem_cache_free(site: Site, at: VirtAddr, name: &str) for KmemCacheFree {
        emit_at(Id::KmemCacheFree, site, [N(0), N(at.get() as u64), S(name)]);
    }

    /// Addresses were found for an area of `pages` pages and a guard page, or not.
    rare pub(in crate::mm) fn alloc_vmap_area(at: Option<VirtAddr>, pages: u32, align: usize) for AllocVmapArea {
        let (within, size) = (layout::VMALLOC, (pages as usize + 1) << PAGE_SHIFT);
        // Where there are none, the end of what was searched, as in Linux.
        let start = at.unwrap_or(within.end());
        let [start, from, to] = [start, within.start(), within.end()].map(|at| N(at.get() as u64));
        let values = [start, N(size as u64), N(align as u64), from, to, N(at.is_none().into())];
        emit(Id::AllocVmapArea, &values);
    }

    /// The area at `at` waits for a flush, with which `lazy` pages of addresses do.
    rare pub(in crate::mm) fn free_vmap_area_noflush(at: VirtAddr, lazy: usize, lazy_max: usize) for FreeVmapAreaNoflush {
        let values = [N(at.get() as u64), N(lazy as u64), N(lazy_max as u64)];
        emit(Id::FreeVmapAreaNoflush, &values);
    }

    /// Lazily freed areas are flushed: `what` gives the range and the number of areas.
    rare pub(in crate::mm) fn purge_vmap_area_lazy(what: impl FnOnce() -> (VirtRange, usize)) for PurgeVmapAreaLazy {
        let (range, purged) = what();
        let [start, end] = [range.start(), range.end()].map(|at| N(at.get() as u64));
        emit(Id::PurgeVmapAreaLazy, &[start, end, N(purged as u64)]);
    }

    /// Contiguous pages are asked for.
    rare pub(in crate::mm) fn cma_alloc_start(area: &Cma, count: u32, align: Order) for CmaAllocStart {
        emit(Id::CmaAllocStart, &[S(area.name()), N(count.into()), N(align.get().into())]);
    }

    /// An allocation ended, with pages or without.
    rare pub(in crate::mm) fn cma_alloc_finish(area: &Cma, frame: Option<Frame>, count: u32, align: Order) for CmaAllocFinish {
        /// Linux: -ENOMEM.
        const ENOMEM: u64 = -12i64 as u64;
        let errno = if frame.is_some() { 0 } else { ENOMEM };
        let place = frame.map_or(0, |frame| frame.pfn().get().into());
        let (count, align) = (N(count.into()), N(align.get().into()));
        emit(
            Id::CmaAllocFinish,
            &[S(area.name()), N(place), N(page(frame)), count, align, N(errno)],
        );
    }

    /// Contiguous pages are given back.
    rare pub(in crate::mm) fn cma_release(area: &Cma, frame: Frame, count: u32) for CmaRelease {
        let place = [N(pfn(Some(frame))), N(page(Some(frame)))];
        emit(Id::CmaRelease, &[S(area.name()), place[0], place[1], N(count.into())]);
    }

    /// Compaction of a zone begins.
    rare pub(in crate::mm) fn mm_compaction_begin(scan: Scan) for MmCompactionBegin {
        emit(Id::MmCompactionBegin, &scan.values());
    }

    /// A compaction run ended.
    rare pub(in crate::mm) fn mm_compaction_end(scan: Scan, result: CompactResult) for MmCompactionEnd {
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

    /// Frames from `start` to `end` were gone through for pages to move.
    rare pub(in crate::mm) fn isolate_migratepages(start: Pfn, end: Pfn, scanned: u32, taken: usize) for MmCompactionIsolateMigratepages {
        let values = isolated(start, end, scanned, taken);
        emit(Id::MmCompactionIsolateMigratepages, &values);
    }

    /// Frames from `start` to `end` were gone through for free pages.
    rare pub(in crate::mm) fn isolate_freepages(start: Pfn, end: Pfn, scanned: u32, taken: usize) for MmCompactionIsolateFreepages {
        let values = isolated(start, end, scanned, taken);
        emit(Id::MmCompactionIsolateFreepages, &values);
    }

    /// A number of the isolated pages were moved, and a number stay where they are.
    rare pub(in crate::mm) fn mm_compaction_migratepages(migrated: u32, failed: u32) for MmCompactionMigratepages {
        emit(Id::MmCompactionMigratepages, &[N(migrated.into()), N(failed.into())]);
    }

    /// kswapd begins to work.
    rare pub(in crate::mm) fn mm_vmscan_kswapd_wake(node: NodeId, highest: ZoneType, order: Order) for MmVmscanKswapdWake {
        let [nid, zid] = [node.index(), highest as usize].map(|n| N(n as u64));
        emit(Id::MmVmscanKswapdWake, &[nid, zid, N(order.get().into())]);
    }

    /// Somebody wakes kswapd.
    rare pub(in crate::mm) fn mm_vmscan_wakeup_kswapd(node: NodeId,
    highest: ZoneType,
    order: Order,
    gfp: Gfp,) for MmVmscanWakeupKswapd {
        let [nid, zid] = [node.index(), highest as usize].map(|n| N(n as u64));
        emit(Id::MmVmscanWakeupKswapd, &[nid, zid, N(order.get().into()), N(gfp.bits().into())]);
    }

    /// The kernel's access to `address` faulted, at `ip`; `esr` is what the CPU says of it. From
    /// the exception's handler.
    rare pub fn page_fault_kernel(address: VirtAddr, ip: u64, esr: u64) for PageFaultKernel {
        emit(Id::PageFaultKernel, &[N(address.get() as u64), N(ip), N(esr)]);
    }
}
