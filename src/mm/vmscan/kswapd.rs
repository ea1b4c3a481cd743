//! Reclaim in the background: a thread for each node (Linux: kswapd, balance_pgdat).
//!
//! It is woken by allocations that find all their zones below the low watermark, and by
//! pageblocks that change hands, which boost the watermarks. It reclaims until a zone of its
//! node is above the high watermark, wakes kcompactd for the block that somebody wanted, and
//! sleeps. Where nothing is left to reclaim it gives up, until an allocation that reclaims
//! for itself finds something again.

use super::{MAX_RECLAIM_RETRIES, STAT, SWAP_CLUSTER_MAX};
use crate::addr::Order;
use crate::arch::irq::with_masked;
use crate::mm::compaction::wakeup_kcompactd;
use crate::mm::context::memalloc_noreclaim_scope;
use crate::mm::gfp::Gfp;
use crate::mm::hooks::points;
use crate::mm::mmzone::{
    Kswapd, KswapdRequest, MAX_NR_ZONES, NodeData, NodeId, Wmark, WmarkFlags, Zone, ZoneId,
    ZoneType,
};
use crate::mm::page_alloc::drain_local_pages;
use crate::mm::shrinker::DEF_PRIORITY;
use crate::sched::{cond_resched, should_stop};
use core::sync::atomic::Ordering::Relaxed;

/// Lets the threads of all nodes try again, since something was reclaimed.
pub(super) fn forget_failures() {
    NodeData::all().for_each(|node| node.kswapd.failures.store(0, Relaxed));
}

/// Returns whether the thread of `node` has given up (Linux: node_unreclaimable of
/// /proc/zoneinfo).
#[must_use]
pub fn is_hopeless(node: NodeId) -> bool {
    NodeData::of(node).is_some_and(|node| has_given_up(&node.kswapd))
}

fn has_given_up(own: &Kswapd) -> bool {
    own.failures.load(Relaxed) >= MAX_RECLAIM_RETRIES
}

/// The zones of `node` that have memory, up to `highest`.
fn zones(node: NodeId, highest: ZoneType) -> impl Iterator<Item = &'static Zone> {
    ZoneType::ALL
        .into_iter()
        .filter(move |&kind| kind <= highest)
        .map(move |kind| ZoneId::new(node, kind).zone())
        .filter(|zone| zone.is_populated())
}

/// Returns whether a zone of `node` has a block of `order` to spare above its high watermark, or
/// there is none that could (Linux: pgdat_balanced).
fn pgdat_balanced(node: NodeId, wanted: KswapdRequest) -> bool {
    let KswapdRequest { order, highest } = wanted;
    let spares = |zone: &Zone| {
        zone.watermark_ok(order, zone.wmark_pages(Wmark::High), highest, WmarkFlags::empty())
    };
    zones(node, highest).any(spares) || zones(node, highest).next().is_none()
}

/// Returns whether pageblocks changed hands there since the thread last ran (Linux:
/// pgdat_watermark_boosted).
fn pgdat_watermark_boosted(node: NodeId, highest: ZoneType) -> bool {
    zones(node, highest).any(|zone| zone.boost() != 0)
}

/// Has the thread of `node` reclaim, for want of a block of `order` in a zone no wider than
/// `highest` that an allocation with `gfp` missed. Takes no zone's lock. Any context
/// (Linux: wakeup_kswapd).
pub fn wakeup_kswapd(node: NodeId, gfp: Gfp, order: Order, highest: ZoneType) {
    let Some(NodeData { kswapd: own, .. }) = NodeData::of(node) else { return };
    let wanted = KswapdRequest { order, highest };
    let is_enough = pgdat_balanced(node, wanted) && !pgdat_watermark_boosted(node, highest);
    if has_given_up(own) || is_enough {
        // Memory may be scattered; who reclaims for himself sees to that too.
        if order > Order::ZERO && !gfp.contains(Gfp::__GFP_DIRECT_RECLAIM) {
            wakeup_kcompactd(node, order);
        }
        return;
    }
    points::mm_vmscan_wakeup_kswapd(node, highest, order, gfp);
    if own.request(wanted) {
        STAT.kswapd_wake.fetch_add(1, Relaxed);
        own.wait.wake_up();
    }
}

/// The body of the thread of `node`, until it is asked to end. Returns at once where the node
/// has no memory.
pub fn kswapd(node: NodeId) {
    let Some(NodeData { kswapd: own, .. }) = NodeData::of(node) else { return };
    memalloc_noreclaim_scope(|| {
        while !should_stop() {
            own.wait.wait_event(|| own.is_requested() || should_stop());
            work(node);
        }
    });
}

/// Serves the requests to the thread of `node`. Returns false if there were none.
pub(super) fn work(node: NodeId) -> bool {
    let Some(NodeData { kswapd: own, .. }) = NodeData::of(node) else { return false };
    let Some(mut wanted) = own.take_request() else { return false };
    let order = wanted.order;
    points::mm_vmscan_kswapd_wake(node, wanted.highest, order);
    loop {
        wanted.order = balance_pgdat(node, own, wanted);
        if has_given_up(own) || pgdat_balanced(node, wanted) || should_stop() {
            break;
        }
    }
    // What is free now can be made a block of.
    if order > Order::ZERO {
        wakeup_kcompactd(node, order);
    }
    true
}

/// Reclaims until `node` is balanced, or each cache was asked for half of what it has.
/// Returns the order that is still reclaim's business: above it, it is compaction's.
fn balance_pgdat(node: NodeId, own: &Kswapd, mut wanted: KswapdRequest) -> Order {
    let highest = wanted.highest;
    let boosts = zones_boost(node, highest);
    // Above the watermarks, as much is reclaimed as they were boosted by.
    let mut for_boost = boosts.iter().map(|&boost| boost as usize).sum::<usize>();
    let target: u32 =
        zones(node, highest).map(|z| z.watermark(Wmark::High).max(SWAP_CLUSTER_MAX)).sum();
    let mut total = 0;
    let mut priority = DEF_PRIORITY;
    STAT.pageoutrun.fetch_add(1, Relaxed);
    while priority > 0 && !should_stop() {
        if !pgdat_balanced(node, wanted) {
            for_boost = 0;
        } else if for_boost == 0 {
            break;
        }
        let shrunk = STAT.kswapd.shrink(Gfp::GFP_KERNEL, priority);
        total += shrunk.freed;
        for_boost = for_boost.saturating_sub(shrunk.freed);
        with_masked(drain_local_pages);
        // Enough to make a block of; more would not help.
        if total as u64 >= 2 << wanted.order.get() {
            wanted.order = Order::ZERO;
        }
        if shrunk.scanned == 0 || for_boost > 0 && shrunk.freed == 0 {
            break;
        }
        if shrunk.scanned < target as usize || shrunk.freed == 0 {
            priority -= 1;
        }
        cond_resched();
    }
    if boosts.iter().any(|&boost| boost != 0) {
        for (kind, boost) in ZoneType::ALL.into_iter().zip(boosts) {
            with_masked(|irq| ZoneId::new(node, kind).zone().lock(irq).end_boost(boost));
        }
        // There is room now to tidy pageblocks up.
        wakeup_kcompactd(node, Order::PAGEBLOCK);
    }
    if total > 0 {
        own.failures.store(0, Relaxed);
    } else if !pgdat_balanced(node, wanted) {
        // Where single pages are not short, memory is scattered, and nothing failed here.
        let single = KswapdRequest { order: Order::ZERO, ..wanted };
        if wanted.order > Order::ZERO && pgdat_balanced(node, single) {
            wanted = single;
        } else {
            own.failures.fetch_add(1, Relaxed);
        }
    }
    wanted.order
}

/// Returns the number of pages by which the watermarks of each zone up to `highest` are boosted.
fn zones_boost(node: NodeId, highest: ZoneType) -> [u32; MAX_NR_ZONES] {
    ZoneType::ALL.map(
        |kind| {
            if kind <= highest { ZoneId::new(node, kind).zone().boost() } else { 0 }
        },
    )
}
