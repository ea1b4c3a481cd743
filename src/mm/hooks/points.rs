//! Trace points: functions that the rest of `mm` calls. [`crate::trace`] records the events.

use super::are_rare_events_on;
use crate::addr::{Order, Pfn, VirtAddr, VirtRange};
use crate::machine_local;
use crate::mm::gfp::Gfp;
use crate::mm::ids::{Migratetype, NodeId, ZoneType};
use crate::mm::page::Frame;
use crate::sync::Once;
use core::panic::Location;

/// The caller of an allocation.
type Site = &'static Location<'static>;

/// Function that records events.
pub(crate) type Sink = fn(&Event<'_>);

machine_local! {
    static SINK: Once<Sink> = Once::new();
}

/// Lets `sink` record the events. The first one counts.
pub(crate) fn set_sink(sink: Sink) {
    SINK.call_once(|| sink);
}

fn emit(event: &Event<'_>) {
    if let Some(sink) = SINK.get() {
        sink(event);
    }
}

/// State of a compaction run: the zone's start and end, and the two scanners.
#[derive(Clone, Copy)]
pub(crate) struct Scan {
    pub start: Pfn,
    pub migrate: Pfn,
    pub free: Pfn,
    pub end: Pfn,
    /// True if it waits for what takes time.
    pub sync: bool,
}

/// Declares points and their events. A `watched` one is called where a static key of its own was
/// asked, by a tool that watches pages or objects; a `rare` one asks the key of all the others.
macro_rules! points {
    ($($(#[$doc:meta])* $kind:ident $name:ident $(<$life:lifetime>)? = $id:ident {
        $($arg:ident: $ty:ty),*
    })*) => {
        /// Event of a trace point, with plain values.
        pub(crate) enum Event<'a> {
            $($(#[$doc])* $id { $($arg: $ty),* },)*
            /// Lazily freed areas are flushed.
            PurgeVmapAreaLazy { range: VirtRange, purged: usize },
        }
        $(
            $(#[$doc])*
            #[inline(always)]
            pub(crate) fn $name $(<$life>)? ($($arg: $ty),*) {
                /// Out of line: it takes no room where nothing is recorded.
                #[cold]
                #[inline(never)]
                fn on $(<$life>)? ($($arg: $ty),*) {
                    emit(&Event::$id { $($arg),* });
                }
                if points!(@ $kind) {
                    on($($arg),*);
                }
            }
        )*
    };
    (@ watched) => { true };
    (@ rare) => { are_rare_events_on() };
}

points! {
    /// Pages were allocated, or could not be.
    watched mm_page_alloc = MmPageAlloc { frame: Option<Frame>, order: Order, gfp: Gfp }

    /// Pages are about to be freed.
    watched mm_page_free = MmPageFree { frame: Frame, order: Order }

    /// A block of another migratetype is taken for `alloc`, and `owns` its pageblock with it.
    rare mm_page_alloc_extfrag = MmPageAllocExtfrag { frame: Frame, order: Order, current: Order, alloc: Migratetype, fallback: Migratetype, owns: bool }

    /// kmalloc gave `at`, of `room` bytes, for `size`; `None` where memory was short.
    watched kmalloc = Kmalloc { site: Site, at: Option<VirtAddr>, size: usize, room: usize, gfp: Gfp, node: Option<NodeId> }

    /// A cache of objects of `size` bytes, which take up `room`, gave `at`.
    watched kmem_cache_alloc = KmemCacheAlloc { site: Site, at: Option<VirtAddr>, size: usize, room: usize, gfp: Gfp, node: Option<NodeId> }

    /// kfree was called.
    watched kfree = Kfree { site: Site, at: VirtAddr }

    /// An object goes back to the cache `name`.
    watched kmem_cache_free<'a> = KmemCacheFree { site: Site, at: VirtAddr, name: &'a str }

    /// Addresses were found for an area of `pages` pages and a guard page, or not.
    rare alloc_vmap_area = AllocVmapArea { at: Option<VirtAddr>, pages: u32, align: usize }

    /// The area at `at` waits for a flush, with which `lazy` pages of addresses do.
    rare free_vmap_area_noflush = FreeVmapAreaNoflush { at: VirtAddr, lazy: usize, lazy_max: usize }

    /// Contiguous pages are asked for.
    rare cma_alloc_start<'a> = CmaAllocStart { name: &'a str, count: u32, align: Order }

    /// An allocation ended, with pages or without.
    rare cma_alloc_finish<'a> = CmaAllocFinish { name: &'a str, frame: Option<Frame>, count: u32, align: Order }

    /// Contiguous pages are given back.
    rare cma_release<'a> = CmaRelease { name: &'a str, frame: Frame, count: u32 }

    /// Compaction of a zone begins.
    rare mm_compaction_begin = MmCompactionBegin { scan: Scan }

    /// A compaction run ended.
    rare mm_compaction_end = MmCompactionEnd { scan: Scan, status: u64 }

    /// Frames from `start` to `end` were gone through for pages to move.
    rare isolate_migratepages = MmCompactionIsolateMigratepages { start: Pfn, end: Pfn, scanned: u32, taken: usize }

    /// Frames from `start` to `end` were gone through for free pages.
    rare isolate_freepages = MmCompactionIsolateFreepages { start: Pfn, end: Pfn, scanned: u32, taken: usize }

    /// A number of the isolated pages were moved, and a number stay where they are.
    rare mm_compaction_migratepages = MmCompactionMigratepages { migrated: u32, failed: u32 }

    /// kswapd begins to work.
    rare mm_vmscan_kswapd_wake = MmVmscanKswapdWake { node: NodeId, highest: ZoneType, order: Order }

    /// Somebody wakes kswapd.
    rare mm_vmscan_wakeup_kswapd = MmVmscanWakeupKswapd { node: NodeId, highest: ZoneType, order: Order, gfp: Gfp }
}

/// Lazily freed areas are flushed: `what` gives the range and the number of areas.
#[inline(always)]
pub(crate) fn purge_vmap_area_lazy(what: impl FnOnce() -> (VirtRange, usize)) {
    #[cold]
    #[inline(never)]
    fn on(what: impl FnOnce() -> (VirtRange, usize)) {
        let (range, purged) = what();
        emit(&Event::PurgeVmapAreaLazy { range, purged });
    }
    if are_rare_events_on() {
        on(what);
    }
}
