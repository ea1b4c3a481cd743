//! The events, by the names and with the fields of Linux's (include/trace/events/*.h).
//!
//! What differs: a call site is a place in the source (`%ps` of a file and a line), a fault's
//! addresses are numbers.

use super::event::{Arg, Event, Field, Type};
use Arg::Field as F;

/// An event's place in [`EVENTS`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Id {
    MmPageAlloc,
    MmPageFree,
    MmPageAllocExtfrag,
    Kmalloc,
    KmemCacheAlloc,
    Kfree,
    KmemCacheFree,
    AllocVmapArea,
    FreeVmapAreaNoflush,
    PurgeVmapAreaLazy,
    CmaAllocStart,
    CmaAllocFinish,
    CmaRelease,
    MmCompactionBegin,
    MmCompactionEnd,
    MmCompactionIsolateMigratepages,
    MmCompactionIsolateFreepages,
    MmCompactionMigratepages,
    MmVmscanKswapdWake,
    MmVmscanWakeupKswapd,
    PageFaultKernel,
}

impl Id {
    /// Returns the event's bit in a set of events.
    pub const fn bit(self) -> u32 {
        1 << self as u8
    }

    /// Returns the event's description.
    pub fn event(self) -> &'static Event {
        &EVENTS[self as usize]
    }
}

/// Number of events.
pub(super) const COUNT: usize = Id::PageFaultKernel as usize + 1;

macro_rules! event {
    ($system:ident:$name:ident { $($ty:ident $field:ident),* } $print:literal, $args:expr) => {
        Event {
            system: stringify!($system),
            name: stringify!($name),
            fields: &[$(Field { ty: Type::$ty, name: stringify!($field) }),*],
            print: $print,
            args: &$args,
        }
    };
}

const ACCOUNT: u64 = crate::mm::gfp::Gfp::__GFP_ACCOUNT.bits() as u64;
const SYNC: Arg = Arg::Choice(4, 1, "sync", "async");
/// Results of compaction, by Linux's numbers of enum compact_result.
const COMPACTION_STATUS: &[(u64, &str)] =
    &[(1, "skipped"), (2, "deferred"), (5, "complete"), (8, "success")];

/// All events, in the order of `Id`.
pub static EVENTS: [Event; COUNT] = [
    event!(kmem:mm_page_alloc { ULong pfn, UInt order, ULong gfp_flags, Int migratetype }
        "page=%p pfn=0x%lx order=%d migratetype=%d gfp_flags=%s",
        [Arg::Page(0), F(0), F(1), F(3), Arg::Gfp(2)]),
    event!(kmem:mm_page_free { ULong pfn, UInt order }
        "page=%p pfn=0x%lx order=%d", [Arg::Page(0), F(0), F(1)]),
    event!(kmem:mm_page_alloc_extfrag {
            ULong pfn, Int alloc_order, Int fallback_order, Int alloc_migratetype,
            Int fallback_migratetype, Int change_ownership }
        "page=%p pfn=0x%lx alloc_order=%d fallback_order=%d pageblock_order=%d alloc_migratetype=%d fallback_migratetype=%d fragmenting=%d change_ownership=%d",
        [Arg::Page(0), F(0), F(1), F(2), Arg::PageblockOrder, F(3), F(4), Arg::BelowPageblock(2), F(5)]),
    event!(kmem:kmalloc {
            ULong call_site, Pointer ptr, SizeT bytes_req, SizeT bytes_alloc, ULong gfp_flags,
            Int node }
        "call_site=%ps ptr=%p bytes_req=%zu bytes_alloc=%zu gfp_flags=%s node=%d accounted=%s",
        [F(0), F(1), F(2), F(3), Arg::Gfp(4), F(5), Arg::Choice(4, ACCOUNT, "true", "false")]),
    event!(kmem:kmem_cache_alloc {
            ULong call_site, Pointer ptr, SizeT bytes_req, SizeT bytes_alloc, ULong gfp_flags,
            Int node, Bool accounted }
        "call_site=%ps ptr=%p bytes_req=%zu bytes_alloc=%zu gfp_flags=%s node=%d accounted=%s",
        [F(0), F(1), F(2), F(3), Arg::Gfp(4), F(5), Arg::Choice(6, 1, "true", "false")]),
    event!(kmem:kfree { ULong call_site, Pointer ptr }
        "call_site=%ps ptr=%p", [F(0), F(1)]),
    event!(kmem:kmem_cache_free { ULong call_site, Pointer ptr, Str name }
        "call_site=%ps ptr=%p name=%s", [F(0), F(1), F(2)]),
    event!(vmalloc:alloc_vmap_area {
            ULong addr, ULong size, ULong align, ULong vstart, ULong vend, Int failed }
        "va_start: %lu size=%lu align=%lu vstart=0x%lx vend=0x%lx failed=%d",
        [F(0), F(1), F(2), F(3), F(4), F(5)]),
    event!(vmalloc:free_vmap_area_noflush { ULong va_start, ULong nr_lazy, ULong nr_lazy_max }
        "va_start=0x%lx nr_lazy=%lu nr_lazy_max=%lu", [F(0), F(1), F(2)]),
    event!(vmalloc:purge_vmap_area_lazy { ULong start, ULong end, UInt npurged }
        "start=0x%lx end=0x%lx num_purged=%u", [F(0), F(1), F(2)]),
    event!(cma:cma_alloc_start { Str name, ULong count, UInt align }
        "name=%s count=%lu align=%u", [F(0), F(1), F(2)]),
    event!(cma:cma_alloc_finish {
            Str name, ULong pfn, Pointer page, ULong count, UInt align, Int errorno }
        "name=%s pfn=0x%lx page=%p count=%lu align=%u errorno=%d",
        [F(0), F(1), F(2), F(3), F(4), F(5)]),
    event!(cma:cma_release { Str name, ULong pfn, Pointer page, ULong count }
        "name=%s pfn=0x%lx page=%p count=%lu", [F(0), F(1), F(2), F(3)]),
    event!(compaction:mm_compaction_begin {
            ULong zone_start, ULong migrate_pfn, ULong free_pfn, ULong zone_end, Bool sync }
        "zone_start=0x%lx migrate_pfn=0x%lx free_pfn=0x%lx zone_end=0x%lx, mode=%s",
        [F(0), F(1), F(2), F(3), SYNC]),
    event!(compaction:mm_compaction_end {
            ULong zone_start, ULong migrate_pfn, ULong free_pfn, ULong zone_end, Bool sync,
            Int status }
        "zone_start=0x%lx migrate_pfn=0x%lx free_pfn=0x%lx zone_end=0x%lx, mode=%s status=%s",
        [F(0), F(1), F(2), F(3), SYNC, Arg::Symbol(5, COMPACTION_STATUS)]),
    event!(compaction:mm_compaction_isolate_migratepages {
            ULong start_pfn, ULong end_pfn, ULong nr_scanned, ULong nr_taken }
        "range=(0x%lx ~ 0x%lx) nr_scanned=%lu nr_taken=%lu", [F(0), F(1), F(2), F(3)]),
    event!(compaction:mm_compaction_isolate_freepages {
            ULong start_pfn, ULong end_pfn, ULong nr_scanned, ULong nr_taken }
        "range=(0x%lx ~ 0x%lx) nr_scanned=%lu nr_taken=%lu", [F(0), F(1), F(2), F(3)]),
    event!(compaction:mm_compaction_migratepages { ULong nr_migrated, ULong nr_failed }
        "nr_migrated=%lu nr_failed=%lu", [F(0), F(1)]),
    event!(vmscan:mm_vmscan_kswapd_wake { Int nid, Int zid, Int order }
        "nid=%d order=%d", [F(0), F(2)]),
    event!(vmscan:mm_vmscan_wakeup_kswapd { Int nid, Int zid, Int order, ULong gfp_flags }
        "nid=%d order=%d gfp_flags=%s", [F(0), F(2), Arg::Gfp(3)]),
    event!(exceptions:page_fault_kernel { ULong address, ULong ip, ULong error_code }
        "address=0x%lx ip=0x%lx error_code=0x%lx", [F(0), F(1), F(2)]),
];
