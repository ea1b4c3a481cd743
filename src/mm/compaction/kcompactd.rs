//! Compaction in the background: a thread for each node (Linux: kcompactd, proactive
//! compaction).
//!
//! It is woken by allocations that found no large block, most of which could not wait for
//! one. Unasked, it looks twice a second how scattered its node's memory is, and compacts
//! where that is too much; where it brings nothing it looks less often.

use super::{CompactResult, ContigPageInfo, HISTORY, Wanted, compact, try_all};
use crate::addr::Order;
use crate::machine_local;
use crate::mm::migrate::MigrateMode;
use crate::mm::mmzone::{Migratetype, NodeData, NodeId, ZoneId, ZoneType, Zonelist};
use crate::sched::{HZ, cond_resched, should_stop};
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Jiffies between two looks (Linux: HPAGE_FRAG_CHECK_INTERVAL_MSEC).
const CHECK_INTERVAL: u64 = HZ / 2;
/// Default of the proactive compaction level, in percent (Linux: vm.compaction_proactiveness).
const PROACTIVENESS: u32 = 20;
/// Looks that are left out where compaction brought nothing (Linux: COMPACT_MAX_DEFER_SHIFT).
const PUT_OFF: u32 = 1 << 6;

machine_local! {
    static PROACTIVE: AtomicU32 = AtomicU32::new(PROACTIVENESS);
}

/// Says how much is done unasked, in percent; 0 is nothing (Linux:
/// vm.compaction_proactiveness, 20 at first). Nodes are looked at soon.
pub fn set_compaction_proactiveness(percent: u32) {
    PROACTIVE.store(percent.min(100), Relaxed);
    NodeData::all().for_each(|node| node.kcompactd.deferred_checks.store(0, Relaxed));
}

/// Returns the proactive compaction level, in percent.
#[must_use]
pub fn compaction_proactiveness() -> u32 {
    PROACTIVE.load(Relaxed)
}

/// The scores at which compaction unasked begins and ends; `None` where it is off (Linux:
/// fragmentation_score_wmark).
fn score_marks() -> Option<(u32, u32)> {
    let percent = PROACTIVE.load(Relaxed);
    let low = (100 - percent).max(5);
    (percent != 0).then_some(((low + 10).min(100), low))
}

/// The zones of `node` that have memory.
fn zones(node: NodeId) -> impl Iterator<Item = ZoneId> {
    ZoneType::ALL
        .into_iter()
        .map(move |kind| ZoneId::new(node, kind))
        .filter(|id| id.zone().is_populated())
}

/// Has the thread of `node` make a free block of `order`, or that of the nearest node with
/// memory: a node without has none. Any context (Linux: wakeup_kcompactd).
pub fn wakeup_kcompactd(node: NodeId, order: Order) {
    let nearest = Zonelist::of(node).zones(ZoneType::Movable).next();
    let nearest = nearest.map_or(node, ZoneId::node);
    let Some(NodeData { kcompactd: own, .. }) = NodeData::of(nearest) else { return };
    if own.request(order) {
        own.wait.wake_up();
    }
}

/// The order of the block that the thread of `node` is asked for.
#[cfg(test)]
pub(in crate::mm) fn wanted(node: NodeId) -> Option<Order> {
    NodeData::of(node)?.kcompactd.requested()
}

/// The body of the thread of `node`, until it is asked to end. Returns at once where the node
/// has no memory.
pub fn kcompactd(node: NodeId) {
    let Some(NodeData { kcompactd: own, .. }) = NodeData::of(node) else { return };
    while !should_stop() {
        let asked = || own.requested().is_some() || should_stop();
        match own.wait.wait_event_timeout(asked, CHECK_INTERVAL) {
            Some(_) => {
                if let Some(order) = own.take_request() {
                    make_block(node, order);
                }
            }
            None => check(node),
        }
    }
}

/// Compacts the zones of `node` until each has a block of `order`, as far as that is not put
/// off or hopeless (Linux: kcompactd_do_work).
pub(super) fn make_block(node: NodeId, order: Order) {
    // Unmovable requests may take from all lists.
    let wanted = Wanted { order, mt: Migratetype::Unmovable, highest: ZoneType::Movable };
    for id in zones(node) {
        let (zone, history) = (id.zone(), &HISTORY[id.index()]);
        if history.deferred(order, zone.free())
            || wanted.is_there(zone)
            || !wanted.is_suitable(zone)
        {
            continue;
        }
        let done = || {
            cond_resched();
            wanted.is_there(zone)
        };
        match try_all(id, order, done, MigrateMode::SyncLight) {
            CompactResult::Success => history.reset(order),
            _ => history.defer(order, zone.free()),
        }
    }
}

/// The share of a zone's free memory that huge pages can't use, in percent.
fn zone_score(id: ZoneId) -> u32 {
    ContigPageInfo::of(id, Order::PAGEBLOCK).extfrag() as u32
}

/// Returns the fragmentation of a node's free memory, 0 to 100: its zones count by their size
/// (Linux: fragmentation_score_node).
#[must_use]
pub fn fragmentation_score(node: NodeId) -> u32 {
    let present: u64 = zones(node).map(|id| u64::from(id.zone().present())).sum();
    let weighted = |id: ZoneId| u64::from(zone_score(id)) * u64::from(id.zone().present());
    let sum: u64 = zones(node).map(weighted).sum();
    sum.checked_div(present).unwrap_or(0) as u32
}

/// Compacts `node` if its memory is too scattered (Linux: proactive_compact_node).
pub(super) fn check(node: NodeId) {
    let Some((high, low)) = score_marks() else { return };
    let Some(NodeData { kcompactd: own, .. }) = NodeData::of(node) else { return };
    let left = own.deferred_checks.load(Relaxed);
    if left > 0 {
        return own.deferred_checks.store(left - 1, Relaxed);
    }
    let before = fragmentation_score(node);
    if before <= high {
        return;
    }
    for id in zones(node) {
        let done = || {
            cond_resched();
            zone_score(id) <= low || own.requested().is_some()
        };
        compact(id, Order::PAGEBLOCK, done, MigrateMode::SyncLight);
    }
    if fragmentation_score(node) >= before {
        own.deferred_checks.store(PUT_OFF, Relaxed);
    }
}
