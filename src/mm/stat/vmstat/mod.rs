//! /proc/vmstat: what nodes and zones hold, and what has happened since boot, by Linux's names.
//!
//! A name that Linux knows is there if it means something here, if only that there is none:
//! there is no swap and no reclaim of users' pages, so their lines say 0. What happens here and is
//! not counted has no line: `pgfault`, `pgalloc_*` and `pgfree`. Pages that a CPU takes from its own
//! list and puts back leave no trace, and a counter would cost every one of them.
//!
//! Two figures differ. `nr_free_pages` has the pages on CPUs' lists and in sections that are
//! not up yet, for they are free; how many these are say two lines that Linux doesn't know,
//! `nr_free_pcp` and `nr_free_deferred`. Without them it is what the lists of /proc/buddyinfo hold.

use super::nodes;
use crate::addr::Order;
use crate::mm::cma;
use crate::mm::compaction::compact_stat;
use crate::mm::mmzone::{Migratetype, NodeId, ZoneType};
use crate::mm::page_alloc::{self, ZoneInfo};
use crate::mm::slab::slab_pages;
use crate::mm::vmscan::vmscan_stat;
use crate::mm::vmstat::{NodeStat, node_page_state};
use core::fmt;

#[cfg(test)]
#[expect(unsafe_code, reason = "tests give pages back by their frames")]
mod tests;

/// A line.
pub(crate) type Item = (&'static str, u64);

/// A zone's figures, in pages (Linux: enum zone_stat_item).
pub(super) fn zone_items(zone: &ZoneInfo) -> [Item; 12] {
    let large = Order::PAGEBLOCK.and_up().flat_map(|order| {
        let row = zone.nr_free[order.index()].iter().zip(Migratetype::ALL);
        let free = row.filter(|(_, mt)| *mt != Migratetype::Isolate);
        free.map(move |(blocks, _)| u64::from(*blocks) << order.get())
    });
    [
        ("nr_free_pages", zone.free().into()),
        ("nr_free_pages_blocks", large.sum()),
        ("nr_zone_inactive_anon", 0),
        ("nr_zone_active_anon", 0),
        ("nr_zone_inactive_file", 0),
        ("nr_zone_active_file", 0),
        ("nr_zone_unevictable", 0),
        ("nr_zone_write_pending", 0),
        ("nr_mlock", 0),
        ("nr_free_cma", zone.free_cma.into()),
        ("nr_free_pcp", zone.pcp.into()),
        ("nr_free_deferred", zone.deferred.into()),
    ]
}

/// A node's figures, or all nodes' (Linux: enum node_stat_item). In pages, but for
/// `nr_kernel_stack`, which is in KiB.
pub(super) fn node_items(node: Option<NodeId>) -> [Item; 37] {
    let slab = slab_pages(node);
    let state = |item| node_page_state(node, item) as u64;
    [
        ("nr_inactive_anon", 0),
        ("nr_active_anon", 0),
        ("nr_inactive_file", 0),
        ("nr_active_file", 0),
        ("nr_unevictable", 0),
        ("nr_slab_reclaimable", slab.reclaimable as u64),
        ("nr_slab_unreclaimable", slab.unreclaimable as u64),
        ("nr_isolated_anon", 0),
        ("nr_isolated_file", 0),
        ("workingset_nodes", 0),
        ("workingset_refault_anon", 0),
        ("workingset_refault_file", 0),
        ("workingset_activate_anon", 0),
        ("workingset_activate_file", 0),
        ("workingset_restore_anon", 0),
        ("workingset_restore_file", 0),
        ("workingset_nodereclaim", 0),
        ("nr_anon_pages", state(NodeStat::AnonMapped)),
        ("nr_mapped", state(NodeStat::FileMapped)),
        ("nr_file_pages", state(NodeStat::FilePages)),
        ("nr_dirty", 0),
        ("nr_writeback", 0),
        ("nr_writeback_temp", 0),
        ("nr_shmem", state(NodeStat::Shmem)),
        ("nr_vmscan_write", 0),
        ("nr_vmscan_immediate_reclaim", 0),
        ("nr_dirtied", 0),
        ("nr_written", 0),
        ("nr_throttled_written", 0),
        ("nr_kernel_misc_reclaimable", 0),
        ("nr_foll_pin_acquired", 0),
        ("nr_foll_pin_released", 0),
        ("nr_kernel_stack", state(NodeStat::KernelStackKb)),
        ("nr_page_table_pages", state(NodeStat::PageTable)),
        ("nr_sec_page_table_pages", 0),
        ("nr_swapcached", 0),
        ("nr_balloon_pages", 0),
    ]
}

/// Returns the events since boot (Linux: enum vm_event_item). Reclaim is by shrinkers alone, so
/// the objects that it scans are of slabs.
fn events() -> [Item; 26] {
    let (reclaim, compact) = (vmscan_stat(), compact_stat());
    let infos = || cma::areas().map(cma::Cma::info);
    let stalls = |kind: ZoneType| reclaim.allocstall_zone[kind.index()];
    [
        ("pgpgin", 0),
        ("pgpgout", 0),
        ("pswpin", 0),
        ("pswpout", 0),
        ("allocstall_dma", stalls(ZoneType::Dma)),
        ("allocstall_dma32", stalls(ZoneType::Dma32)),
        ("allocstall_normal", stalls(ZoneType::Normal)),
        ("allocstall_movable", stalls(ZoneType::Movable)),
        ("pgactivate", 0),
        ("pgdeactivate", 0),
        ("pglazyfree", 0),
        ("pgmajfault", 0),
        ("pgrefill", 0),
        ("pgsteal_kswapd", 0),
        ("pgsteal_direct", 0),
        ("pgscan_kswapd", 0),
        ("pgscan_direct", 0),
        ("slabs_scanned", reclaim.pgscan_kswapd + reclaim.pgscan_direct),
        ("pageoutrun", reclaim.pageoutrun),
        ("oom_kill", 0),
        ("compact_migrate_scanned", compact.scanned),
        ("compact_stall", compact.stall),
        ("compact_fail", compact.fail),
        ("compact_success", compact.success),
        ("cma_alloc_success", infos().map(|info| u64::from(info.successes)).sum()),
        ("cma_alloc_fail", infos().map(|info| u64::from(info.failures)).sum()),
    ]
}

/// The zones' figures, added up.
fn sum_of(zones: impl Iterator<Item = ZoneInfo>) -> Option<[Item; 12]> {
    zones.map(|zone| zone_items(&zone)).reduce(|mut sum, zone| {
        for ((_, sum), (_, more)) in sum.iter_mut().zip(zone) {
            *sum += more;
        }
        sum
    })
}

fn lines(f: &mut fmt::Formatter<'_>, items: impl IntoIterator<Item = Item>) -> fmt::Result {
    items.into_iter().try_for_each(|(name, figure)| writeln!(f, "{name} {figure}"))
}

/// /proc/vmstat.
pub struct VmStat;

impl fmt::Display for VmStat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        lines(f, items())
    }
}

/// Returns the lines of the file.
pub(crate) fn items() -> impl Iterator<Item = Item> {
    let zones = sum_of(page_alloc::zones()).into_iter().flatten();
    zones.chain(node_items(None)).chain(events())
}

/// /sys/devices/system/node/nodeN/vmstat.
pub struct NodeVmStat(pub NodeId);

impl fmt::Display for NodeVmStat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !nodes().any(|node| node == self.0) {
            return Ok(());
        }
        lines(f, sum_of(page_alloc::zones_on(self.0)).into_iter().flatten())?;
        lines(f, node_items(Some(self.0)))
    }
}
