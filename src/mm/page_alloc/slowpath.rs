//! Which zone an allocation comes from, how deep it reaches, and what is tried when there
//! is nothing (Linux: get_page_from_freelist, __alloc_pages_slowpath).
#![deny(unsafe_code)]

use super::fallback::Reach;
use super::{deferred, fail, numa_node_id, pcp, prep_new_page, report};
use crate::addr::Order;
use crate::arch::IrqMasked;
use crate::arch::cpu;
use crate::arch::irq::with_masked;
use crate::mm::compaction::{
    CompactResult, Wanted, compact_zone_order, compaction_succeeded, wakeup_kcompactd,
};
use crate::mm::gfp::Gfp;
use crate::mm::migrate::MigrateMode;
use crate::mm::mmzone::{Migratetype, NodeId, Wmark, WmarkFlags, Zone, ZoneType, Zonelist};
use crate::mm::page::Frame;
use crate::mm::shrinker::{DEF_PRIORITY, shrink_slab};
use core::sync::atomic::Ordering::Relaxed;

/// Above this order reclaim is not repeated: it seldom helps (Linux: PAGE_ALLOC_COSTLY_ORDER).
const COSTLY_ORDER: u8 = 3;
/// Rounds of reclaim without progress after which an allocation gives up.
const MAX_RECLAIM_RETRIES: u32 = 16;

/// What an allocation asks for (Linux: struct alloc_context).
#[derive(Clone, Copy, Debug)]
pub(super) struct Request {
    pub(super) gfp: Gfp,
    pub(super) order: Order,
    pub(super) mt: Migratetype,
    pub(super) highest: ZoneType,
    pub(super) node: NodeId,
}

/// How deep it may reach for it.
#[derive(Clone, Copy, Debug)]
struct Depth {
    mark: Wmark,
    flags: WmarkFlags,
}

impl Request {
    pub(super) fn new(node: NodeId, gfp: Gfp, order: Order) -> Self {
        Self { gfp, order, mt: gfp.migratetype(), highest: gfp.zone(), node }
    }

    fn cma(&self) -> WmarkFlags {
        if self.mt == Migratetype::Movable { WmarkFlags::CMA } else { WmarkFlags::empty() }
    }

    /// How deep the slow path reaches (Linux: gfp_to_alloc_flags).
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
        if gfp.contains(Gfp::__GFP_MEMALLOC) && !gfp.contains(Gfp::__GFP_NOMEMALLOC) {
            flags |= WmarkFlags::NO_WATERMARKS;
        }
        Depth { mark: Wmark::Min, flags }
    }
}

/// Allocates by way of the zones, the nearest node's first.
#[inline(never)]
pub(super) fn alloc(gfp: Gfp, order: Order) -> Option<Frame> {
    alloc_on(numa_node_id(), gfp, order)
}

/// A single page where this CPU's list is empty: seldom.
#[cold]
#[inline(never)]
pub(super) fn alloc_order0(gfp: Gfp) -> Option<Frame> {
    alloc(gfp, Order::ZERO)
}

/// Allocates by way of the zones, those of `node` first.
pub(super) fn alloc_on(node: NodeId, gfp: Gfp, order: Order) -> Option<Frame> {
    let request = Request::new(node, gfp, order);
    if fail::should_fail(gfp, order) {
        return None;
    }
    let easy = Depth { mark: Wmark::Low, flags: request.cma() };
    let frame = get_page_from_freelist(&request, easy).or_else(|| try_hard(&request))?;
    prep_new_page(frame, order, gfp);
    Some(frame)
}

/// Takes a block from the first zone of the zonelist that has one to spare.
fn get_page_from_freelist(request: &Request, depth: Depth) -> Option<Frame> {
    let zones = Zonelist::of(request.node).zones(request.highest);
    let this_node = request.gfp.contains(Gfp::__GFP_THISNODE);
    zones.filter(|id| !this_node || id.node() == request.node).find_map(|id| {
        let zone = id.zone();
        let mark = zone.watermark(depth.mark);
        if depth.flags.contains(WmarkFlags::NO_WATERMARKS)
            || zone.watermark_ok(request.order, mark, request.highest, depth.flags)
        {
            rmqueue(zone, request, depth.flags)
        } else {
            None
        }
    })
}

/// Takes a block from `zone`; brings up more of it where that keeps kinds apart.
fn rmqueue(zone: &'static Zone, request: &Request, flags: WmarkFlags) -> Option<Frame> {
    let Request { order, mt, .. } = *request;
    let cma = flags.contains(WmarkFlags::CMA);
    with_masked(|irq| {
        loop {
            let deferred = zone.deferred.load(Relaxed) != 0;
            let gentle = Reach { cma, no_fragment: true };
            let any = Reach { cma, no_fragment: false };
            let reaches = if deferred { &[gentle][..] } else { &[gentle, any][..] };
            let urgent = flags.contains(WmarkFlags::HIGHATOMIC);
            let found = if urgent {
                alloc_urgent(irq, zone, order, mt, reaches)
            } else if pcp::has_lists(order) {
                reaches.iter().find_map(|&reach| pcp::alloc(irq, zone.id(), order, mt, reach))
            } else {
                let mut locked = zone.lock(irq);
                reaches.iter().find_map(|&reach| locked.rmqueue(order, mt, reach))
            };
            if found.is_some() {
                return found;
            }
            if !deferred || !deferred::grow_zone(irq, zone.id()) {
                break;
            }
        }
        // Nothing is left to bring up; the reserve of large blocks is the last resort.
        let mut locked = zone.lock(irq);
        locked.rmqueue(order, mt, Reach { cma, no_fragment: false }).or_else(|| {
            let urgent = WmarkFlags::NON_BLOCK | WmarkFlags::NO_WATERMARKS;
            if flags.intersects(urgent | WmarkFlags::HIGHATOMIC) {
                locked.rmqueue_smallest(order, Migratetype::HighAtomic)
            } else {
                None
            }
        })
    })
}

/// Takes a block of several pages for one who can't wait, from the reserve first, and keeps
/// the pageblock it came from for the next.
fn alloc_urgent(
    irq: &IrqMasked,
    zone: &'static Zone,
    order: Order,
    mt: Migratetype,
    reaches: &[Reach],
) -> Option<Frame> {
    let mut locked = zone.lock(irq);
    if let Some(frame) = locked.rmqueue_smallest(order, Migratetype::HighAtomic) {
        return Some(frame);
    }
    let frame = reaches.iter().find_map(|&reach| locked.rmqueue(order, mt, reach))?;
    locked.reserve_highatomic(frame);
    Some(frame)
}

/// Compacts the zones that the request may use, one after the other, until it succeeds
/// (Linux: __alloc_pages_direct_compact).
fn direct_compact(request: &Request, depth: Depth, mode: MigrateMode) -> Option<Frame> {
    let Request { gfp, order, mt, highest, node } = *request;
    if order == Order::ZERO || !gfp.contains(Gfp::__GFP_DIRECT_RECLAIM | Gfp::__GFP_IO) {
        return None;
    }
    let wanted = Wanted { order, mt, highest };
    let this_node = gfp.contains(Gfp::__GFP_THISNODE);
    let mut zones = Zonelist::of(node).zones(highest).filter(|id| !this_node || id.node() == node);
    zones.find_map(|id| {
        if compact_zone_order(id, wanted, mode) != CompactResult::Success {
            return None;
        }
        let frame = get_page_from_freelist(request, depth)?;
        compaction_succeeded(id, order);
        Some(frame)
    })
}

/// Gives a pageblock of the reserve of large blocks back; whether there was one.
fn unreserve_highatomic(request: &Request) -> bool {
    let mut zones = Zonelist::of(request.node).zones(request.highest);
    zones.any(|id| with_masked(|irq| id.zone().lock(irq).unreserve_highatomic(request.mt)))
}

/// Reaches into the reserves, reclaims, and reports failure.
#[cold]
#[inline(never)]
fn try_hard(request: &Request) -> Option<Frame> {
    let gfp = request.gfp;
    let depth = request.depth();
    let try_zones = || get_page_from_freelist(request, depth);
    if let Some(frame) = try_zones() {
        return Some(frame);
    }
    if gfp.contains(Gfp::__GFP_KSWAPD_RECLAIM) && request.order > Order::ZERO {
        wakeup_kcompactd(request.node, request.order);
    }
    let mut frame = None;
    if !gfp.contains(Gfp::__GFP_DIRECT_RECLAIM) {
        pcp::drain_all_pages();
        frame = try_zones();
    } else {
        let costly = request.order.get() > COSTLY_ORDER;
        // Compaction costs less than reclaim where it helps at all.
        if costly || request.mt != Migratetype::Movable {
            frame = direct_compact(request, depth, MigrateMode::Async);
        }
        let no_retry = gfp.contains(Gfp::__GFP_NORETRY);
        let mode = if no_retry { MigrateMode::Async } else { MigrateMode::SyncLight };
        let mut idle = 0;
        while frame.is_none() {
            let priority = DEF_PRIORITY.saturating_sub(idle);
            let freed = shrink_slab(gfp, priority);
            pcp::drain_all_pages();
            frame = try_zones().or_else(|| direct_compact(request, depth, mode));
            idle = if freed == 0 { idle + 1 } else { 0 };
            if frame.is_some() {
                break;
            }
            if gfp.contains(Gfp::__GFP_NORETRY)
                || (costly && !gfp.contains(Gfp::__GFP_RETRY_MAYFAIL))
                || idle > MAX_RECLAIM_RETRIES
            {
                break;
            }
        }
    }
    // Before giving up, those who may wait get the reserve of large blocks.
    let waits = gfp.contains(Gfp::__GFP_DIRECT_RECLAIM) && !gfp.contains(Gfp::__GFP_NORETRY);
    while frame.is_none() && waits && unreserve_highatomic(request) {
        frame = try_zones();
    }
    if frame.is_none() && gfp.contains(Gfp::__GFP_NOFAIL) {
        return Some(never_fail(request));
    }
    if frame.is_none() {
        report::warn_alloc(request);
    }
    frame
}

/// Waits for memory without a mark to keep: the caller can't go on without.
fn never_fail(request: &Request) -> Frame {
    let flags = WmarkFlags::NO_WATERMARKS | request.cma();
    let mut reported = false;
    loop {
        if let Some(frame) = get_page_from_freelist(request, Depth { mark: Wmark::Min, flags }) {
            return frame;
        }
        if !reported {
            report::warn_alloc(request);
            reported = true;
        }
        shrink_slab(request.gfp, 0);
        pcp::drain_all_pages();
        cpu::relax();
    }
}
