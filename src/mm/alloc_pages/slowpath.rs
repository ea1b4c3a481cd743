//! Choice of the zone of an allocation, its watermarks, and what is tried when no zone has
//! memory (Linux: get_page_from_freelist, __alloc_pages_slowpath).
#![deny(unsafe_code)]

use super::{fail, report};
use crate::addr::Order;
use crate::arch::IrqMasked;
use crate::arch::cpu;
use crate::arch::irq::{is_masked, with_masked};
use crate::mm::compaction::{CompactResult, Wanted, compact_zone_order, compaction_succeeded};
use crate::mm::context::{
    current_gfp_context, in_memalloc, memalloc_noreclaim_scope, node_allowed,
};
use crate::mm::gfp::Gfp;
use crate::mm::hooks::points;
use crate::mm::migrate::MigrateMode;
use crate::mm::mmzone::{
    LockedZone, Migratetype, NodeId, Wmark, WmarkFlags, Zone, ZoneId, ZoneType, Zonelist,
};
use crate::mm::page::Frame;
use crate::mm::page_alloc::{Reach, grow_zone, numa_node_id, pcp, prep_new_page};
use crate::mm::shrinker::reclaimable;
use crate::mm::vmscan::{MAX_RECLAIM_RETRIES, try_to_free_pages, wakeup_kswapd};
use crate::sched::cond_resched;
use core::sync::atomic::Ordering::Relaxed;

/// Above this order reclaim is not repeated: it seldom helps (Linux: PAGE_ALLOC_COSTLY_ORDER).
const COSTLY_ORDER: u8 = 3;

/// Parameters of an allocation (Linux: struct alloc_context).
#[derive(Clone, Copy, Debug)]
pub(super) struct Request {
    pub(super) gfp: Gfp,
    pub(super) order: Order,
    pub(super) mt: Migratetype,
    pub(super) highest: ZoneType,
    pub(super) node: NodeId,
}

/// Watermark and reserves down to which a request may use a zone.
#[derive(Clone, Copy, Debug)]
struct Depth {
    mark: Wmark,
    flags: WmarkFlags,
}

impl Request {
    pub(super) fn new(node: NodeId, gfp: Gfp, order: Order) -> Self {
        Self { gfp, order, mt: gfp.migratetype(), highest: gfp.zone(), node }
    }

    /// The zones that it may come from, best first.
    fn zones(&self) -> impl Iterator<Item = ZoneId> {
        let Self { gfp, node, .. } = *self;
        let this_node = gfp.contains(Gfp::__GFP_THISNODE);
        Zonelist::of(node)
            .zones(self.highest)
            .filter(move |id| !this_node || id.node() == node)
            .filter(move |id| node_allowed(id.node(), gfp))
    }

    fn cma(&self) -> WmarkFlags {
        if self.mt == Migratetype::Movable { WmarkFlags::CMA } else { WmarkFlags::empty() }
    }

    /// Computes the depth for the slow path (Linux: gfp_to_alloc_flags).
    fn depth(&self) -> Depth {
        let gfp = self.gfp;
        let mut flags = self.cma();
        if gfp.contains(Gfp::__GFP_HIGH) {
            flags |= WmarkFlags::MIN_RESERVE;
        }
        if !gfp.contains(Gfp::__GFP_DIRECT_RECLAIM) && !gfp.contains(Gfp::__GFP_NOMEMALLOC) {
            flags |= WmarkFlags::NON_BLOCK;
            if self.order > Order::ZERO && gfp.contains(Gfp::__GFP_HIGH) {
                flags |= WmarkFlags::HIGHATOMIC;
            }
        }
        let memalloc = gfp.contains(Gfp::__GFP_MEMALLOC) || in_memalloc();
        if memalloc && !gfp.contains(Gfp::__GFP_NOMEMALLOC) {
            flags |= WmarkFlags::NO_WATERMARKS;
        }
        Depth { mark: Wmark::Min, flags }
    }
}

/// Allocates by way of the zones, the nearest node's first.
#[cold]
#[inline(never)]
pub(super) fn alloc(gfp: Gfp, order: Order) -> Option<Frame> {
    alloc_on(numa_node_id(), gfp, order)
}

/// Allocates by way of the zones, those of `node` first.
pub(super) fn alloc_on(node: NodeId, gfp: Gfp, order: Order) -> Option<Frame> {
    let request = Request::new(node, gfp, order);
    if fail::should_fail(gfp, order) {
        return None;
    }
    let easy = Depth { mark: Wmark::Low, flags: request.cma() };
    let Some(frame) = get_page_from_freelist(&request, easy).or_else(|| try_hard(&request)) else {
        points::mm_page_alloc(None, order, gfp);
        return None;
    };
    prep_new_page(frame, order, gfp);
    Some(frame)
}

/// Takes a block from the first zone of the zonelist that has one to spare.
fn get_page_from_freelist(request: &Request, depth: Depth) -> Option<Frame> {
    for id in request.zones() {
        let zone = id.zone();
        let mark = zone.wmark_pages(depth.mark);
        if !depth.flags.contains(WmarkFlags::NO_WATERMARKS)
            && !zone.watermark_ok(request.order, mark, request.highest, depth.flags)
        {
            continue;
        }
        let frame = rmqueue(zone, request, depth.flags);
        if request.gfp.contains(Gfp::__GFP_KSWAPD_RECLAIM) && zone.take_boosted() {
            wakeup_kswapd(id.node(), Gfp::empty(), Order::ZERO, id.kind());
        }
        if frame.is_some() {
            return frame;
        }
    }
    None
}

/// Takes a block from `zone`; brings up more of it where that keeps kinds apart.
fn rmqueue(zone: &'static Zone, request: &Request, flags: WmarkFlags) -> Option<Frame> {
    let reach = Reach { cma: flags.contains(WmarkFlags::CMA), no_fragment: true };
    with_masked(|irq| {
        rmqueue_within(irq, zone, request, flags, reach)
            .or_else(|| rmqueue_beyond(irq, zone, request, flags))
    })
}

/// Takes a block from `zone`, as far as `reach` goes.
#[inline(always)]
fn rmqueue_within(
    irq: &IrqMasked,
    zone: &'static Zone,
    request: &Request,
    flags: WmarkFlags,
    reach: Reach,
) -> Option<Frame> {
    let Request { order, mt, .. } = *request;
    if flags.contains(WmarkFlags::HIGHATOMIC) {
        alloc_urgent(&mut zone.lock(irq), order, mt, reach)
    } else if pcp::has_lists(order) {
        pcp::alloc(irq, zone.id(), order, mt, reach)
    } else {
        zone.lock(irq).rmqueue(order, mt, reach)
    }
}

/// Takes a block from `zone` that has none at hand without mixing kinds: from what is still to
/// be brought up, then whatever there is, then from the reserve of large blocks.
#[cold]
#[inline(never)]
fn rmqueue_beyond(
    irq: &IrqMasked,
    zone: &'static Zone,
    request: &Request,
    flags: WmarkFlags,
) -> Option<Frame> {
    let cma = flags.contains(WmarkFlags::CMA);
    while zone.deferred.load(Relaxed) != 0 && grow_zone(irq, zone.id()) {
        let gentle = Reach { cma, no_fragment: true };
        let found = rmqueue_within(irq, zone, request, flags, gentle);
        if found.is_some() {
            return found;
        }
    }
    let any = Reach { cma, no_fragment: false };
    if let Some(frame) = rmqueue_within(irq, zone, request, flags, any) {
        return Some(frame);
    }
    let urgent = WmarkFlags::NON_BLOCK | WmarkFlags::NO_WATERMARKS;
    if flags.intersects(urgent | WmarkFlags::HIGHATOMIC) {
        zone.lock(irq).rmqueue_smallest(request.order, Migratetype::HighAtomic)
    } else {
        None
    }
}

/// Takes a block of several pages for one who can't wait, from the reserve first, and keeps
/// the pageblock it came from for the next.
fn alloc_urgent(
    locked: &mut LockedZone<'_>,
    order: Order,
    mt: Migratetype,
    reach: Reach,
) -> Option<Frame> {
    if let Some(frame) = locked.rmqueue_smallest(order, Migratetype::HighAtomic) {
        return Some(frame);
    }
    let frame = locked.rmqueue(order, mt, reach)?;
    locked.reserve_highatomic(frame);
    Some(frame)
}

/// Compacts the zones that the request may use, one after the other, until it succeeds
/// (Linux: __alloc_pages_direct_compact).
fn direct_compact(request: &Request, depth: Depth, mode: MigrateMode) -> Option<Frame> {
    let Request { gfp, order, mt, highest, .. } = *request;
    if order == Order::ZERO || !gfp.contains(Gfp::__GFP_DIRECT_RECLAIM | Gfp::__GFP_IO) {
        return None;
    }
    let wanted = Wanted { order, mt, highest };
    request.zones().find_map(|id| {
        let compact = || compact_zone_order(id, wanted, mode);
        if memalloc_noreclaim_scope(compact) != CompactResult::Success {
            return None;
        }
        let frame = get_page_from_freelist(request, depth)?;
        compaction_succeeded(id, order);
        Some(frame)
    })
}

/// Gives a pageblock of the reserve for high-order atomic allocations back. Returns false if
/// there was none.
fn unreserve_highatomic(request: &Request) -> bool {
    request
        .zones()
        .any(|id| with_masked(|irq| id.zone().lock(irq).unreserve_highatomic(request.mt)))
}

/// Wakes background reclaim on all nodes that the request may use (Linux: wake_all_kswapds).
fn wake_all_kswapds(request: &Request) {
    let Request { gfp, order, highest, .. } = *request;
    if !gfp.contains(Gfp::__GFP_KSWAPD_RECLAIM) {
        return;
    }
    let mut woken = 0u32;
    for node in request.zones().map(ZoneId::node) {
        if woken >> node.index() & 1 == 0 {
            woken |= 1 << node.index();
            wakeup_kswapd(node, gfp, order, highest);
        }
    }
}

/// Returns true if a zone would have enough memory if everything reclaimable, as far as is
/// known, were reclaimed (Linux: should_reclaim_retry).
fn is_within_reach(request: &Request, depth: Depth) -> bool {
    let reclaimable = u64::try_from(reclaimable(request.gfp)).unwrap_or(u64::MAX);
    request.zones().any(|id| {
        let zone = id.zone();
        let kept = if depth.flags.contains(WmarkFlags::NO_WATERMARKS) {
            0
        } else {
            zone.watermark(depth.mark) + zone.lowmem_reserve(request.highest)
        };
        let free = u64::from(zone.free()) + u64::from(pcp::count(id));
        free.saturating_add(reclaimable) >= u64::from(kept + request.order.pages())
    })
}

/// Lets another thread of this CPU run, such as the one that reclaims in the background.
fn let_others_run() {
    if !is_masked() {
        cond_resched();
    }
}

/// Reaches into the reserves, reclaims, and reports failure (Linux: __alloc_pages_slowpath).
#[cold]
#[inline(never)]
fn try_hard(request: &Request) -> Option<Frame> {
    let request = &Request { gfp: current_gfp_context(request.gfp), ..*request };
    let gfp = request.gfp;
    let depth = request.depth();
    let try_zones = || get_page_from_freelist(request, depth);
    wake_all_kswapds(request);
    let mut frame = try_zones();
    // Who frees memory must not wait for memory.
    let reclaims = gfp.contains(Gfp::__GFP_DIRECT_RECLAIM) && !in_memalloc();
    if frame.is_none() && reclaims {
        frame = reclaim(request, depth);
    } else if frame.is_none() {
        // Who can't wait does not interrupt other CPUs either: what it finds is its own CPU's.
        with_masked(pcp::drain_local_pages);
        frame = try_zones();
    }
    // Before giving up, those who may wait get the reserve of large blocks.
    while frame.is_none()
        && reclaims
        && !gfp.contains(Gfp::__GFP_NORETRY)
        && unreserve_highatomic(request)
    {
        frame = try_zones();
    }
    if frame.is_none() && reclaims && gfp.contains(Gfp::__GFP_NOFAIL) {
        return Some(never_fail(request));
    }
    if frame.is_none() {
        report::warn_alloc(request);
    }
    frame
}

/// Compacts, reclaims and compacts again, as long as that is of use and the request wants it.
fn reclaim(request: &Request, depth: Depth) -> Option<Frame> {
    let gfp = request.gfp;
    let costly = request.order.get() > COSTLY_ORDER;
    let no_retry = gfp.contains(Gfp::__GFP_NORETRY);
    // Compaction costs less than reclaim where it helps at all.
    if (costly || request.mt != Migratetype::Movable)
        && let Some(frame) = direct_compact(request, depth, MigrateMode::Async)
    {
        return Some(frame);
    }
    let mode = if no_retry { MigrateMode::Async } else { MigrateMode::SyncLight };
    let mut idle = 0;
    loop {
        let freed = try_to_free_pages(gfp);
        pcp::drain_all_pages();
        let frame =
            get_page_from_freelist(request, depth).or_else(|| direct_compact(request, depth, mode));
        // A large block does not come nearer with every page.
        idle = if freed > 0 && !costly { 0 } else { idle + 1 };
        if frame.is_some()
            || no_retry
            || costly && !gfp.contains(Gfp::__GFP_RETRY_MAYFAIL)
            || idle > MAX_RECLAIM_RETRIES
            || !is_within_reach(request, depth)
        {
            return frame;
        }
        let_others_run();
        wake_all_kswapds(request);
    }
}

/// Waits for memory without a mark to keep: the caller can't go on without.
fn never_fail(request: &Request) -> Frame {
    let flags = WmarkFlags::NO_WATERMARKS | request.cma();
    // In the end other threads' nodes will do too.
    let anywhere = Request { gfp: request.gfp - Gfp::__GFP_HARDWALL, ..*request };
    let mut reported = false;
    loop {
        let depth = Depth { mark: Wmark::Min, flags };
        let frame = get_page_from_freelist(request, depth)
            .or_else(|| get_page_from_freelist(&anywhere, depth));
        if let Some(frame) = frame {
            return frame;
        }
        if !reported {
            report::warn_alloc(request);
            reported = true;
        }
        try_to_free_pages(request.gfp);
        pcp::drain_all_pages();
        cpu::relax();
        let_others_run();
    }
}
