//! The allocator's figures as plain values (Linux: mm/show_mem.c, /proc/zoneinfo,
//! /proc/buddyinfo, /proc/pagetypeinfo).
#![deny(unsafe_code)]

use super::pcp;
use crate::addr::{Order, PfnRange};
use crate::arch::CpuId;
use crate::arch::irq::with_masked;
use crate::mm::mmzone::{MAX_NR_ZONES, Migratetype, NodeId, Wmark, Zone, ZoneId, ZoneType};
use crate::percpu::{nr_cpu_ids, possible_cpus};
use core::fmt;
use core::sync::atomic::Ordering::Relaxed;

/// The figures of one zone, in pages.
///
/// RAM is `present + offline`, `present = managed + reserved()`, and `managed = free() +
/// used()`; to the page where nothing changes meanwhile.
#[derive(Clone, Debug)]
pub struct ZoneInfo {
    /// Id of the zone.
    pub id: ZoneId,
    /// Frames from the zone's first to its last.
    pub spanned: PfnRange,
    /// RAM in it that is online.
    pub present: u32,
    /// RAM of its sections that are offline.
    pub offline: u32,
    /// Number of pages that the allocator was given.
    pub managed: u32,
    /// Number of pages in CMA areas.
    pub cma: u32,
    /// Number of pages in free blocks of the zone.
    pub buddy: u32,
    /// Free and in pageblocks that are being emptied, which `buddy` leaves out.
    pub isolated: u32,
    /// Free in sections that are not up yet.
    pub deferred: u32,
    /// Number of pages on the per-CPU lists.
    pub pcp: u32,
    /// Free and CMA's.
    pub free_cma: u32,
    /// The marks min, low and high.
    pub watermarks: [u32; 3],
    /// The mark promo.
    pub promo: u32,
    /// Number of pages by which all marks but min are raised for now.
    pub boost: u32,
    /// Number of pages kept from allocations that could go to a wider zone, by that zone's kind.
    pub lowmem_reserve: [u32; MAX_NR_ZONES],
    /// Pages by which per-CPU lists grow and shrink, and from which on they shrink.
    pub pcp_batch: u32,
    /// Pages from which on a CPU's lists shrink.
    pub pcp_high: u32,
    /// Free blocks by order and migratetype.
    pub nr_free: [[u32; Migratetype::COUNT]; Order::COUNT],
}

impl ZoneInfo {
    /// Free pages, wherever they are.
    #[must_use]
    pub fn free(&self) -> u32 {
        self.buddy + self.isolated + self.deferred + self.pcp
    }
    /// Pages that were allocated, and those that are poisoned.
    #[must_use]
    pub fn used(&self) -> u32 {
        // What other CPUs have on their lists is not read at one moment.
        self.managed.saturating_sub(self.free())
    }
    /// RAM that was never the allocator's.
    #[must_use]
    pub fn reserved(&self) -> u32 {
        self.present - self.managed
    }
    /// Free blocks of `order`.
    #[must_use]
    pub fn blocks(&self, order: Order) -> u32 {
        self.nr_free[order.index()].iter().sum()
    }
}

/// Number of pages of a zone on the lists of a CPU; 0 for one that has none.
#[must_use]
pub fn pcp_count(id: ZoneId, cpu: CpuId) -> u32 {
    if cpu.index() < nr_cpu_ids() { pcp::of(cpu).count(id) } else { 0 }
}

/// The figures of a zone, whether it has RAM or not.
#[must_use]
pub fn zone_info(id: ZoneId) -> ZoneInfo {
    let zone = id.zone();
    let mut nr_free = [[0; Migratetype::COUNT]; Order::COUNT];
    with_masked(|irq| {
        let locked = zone.lock(irq);
        for order in Order::ZERO.and_up() {
            for mt in Migratetype::ALL {
                nr_free[order.index()][mt.index()] = locked.list(order, mt).nr_free();
            }
        }
        ZoneInfo {
            id,
            spanned: zone.spanned(),
            present: zone.present(),
            offline: zone.offline.load(Relaxed),
            managed: zone.managed(),
            cma: zone.cma(),
            buddy: zone.free.load(Relaxed),
            isolated: zone.isolated.load(Relaxed),
            deferred: zone.deferred.load(Relaxed),
            pcp: possible_cpus().fold(0, |sum, cpu| sum.wrapping_add(pcp_count(id, cpu))),
            free_cma: zone.free_cma.load(Relaxed),
            watermarks: [Wmark::Min, Wmark::Low, Wmark::High].map(|mark| zone.watermark(mark)),
            promo: zone.watermark(Wmark::Promo),
            boost: zone.boost(),
            lowmem_reserve: ZoneType::ALL.map(|kind| zone.lowmem_reserve(kind)),
            pcp_batch: zone.pcp_batch.load(Relaxed),
            pcp_high: zone.pcp_high.load(Relaxed),
            nr_free,
        }
    })
}

/// The zones that hold RAM, online or not, by node and kind.
pub fn zones() -> impl Iterator<Item = ZoneInfo> {
    ZoneId::all().filter(|id| holds_ram(id.zone())).map(zone_info)
}

/// Returns the zones of one node.
pub fn zones_on(node: NodeId) -> impl Iterator<Item = ZoneInfo> {
    let on_node = move |id: &ZoneId| id.node() == node && holds_ram(id.zone());
    ZoneId::all().filter(on_node).map(zone_info)
}

/// Returns whether `node` holds RAM, online or not.
#[must_use]
pub fn node_has_memory(node: NodeId) -> bool {
    ZoneId::all().any(|id| id.node() == node && holds_ram(id.zone()))
}

fn holds_ram(zone: &Zone) -> bool {
    zone.present() != 0 || zone.offline.load(Relaxed) != 0
}

/// Free pages of all zones, on per-CPU lists and in sections that are not up yet too. Bringing
/// up a section makes them fewer by what its descriptors take: look for leaks with
/// [`nr_used_pages`].
#[must_use]
pub fn nr_free_pages() -> u32 {
    zones().map(|zone| zone.free()).sum()
}

/// Pages that the zones have or had to give: all of RAM but what was reserved (Linux:
/// totalram_pages). Any context.
#[must_use]
pub fn totalram_pages() -> u32 {
    ZoneId::all().map(|id| id.zone().managed()).sum()
}

/// Allocated and poisoned pages of all zones.
#[must_use]
pub fn nr_used_pages() -> u32 {
    zones().map(|zone| zone.used()).sum()
}

impl fmt::Display for ZoneInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [min, low, high] = self.watermarks;
        write!(
            f,
            "{}: free:{} (buddy {}, pcp {}, not up {}) min:{min} low:{low} high:{high} \
             managed:{} present:{}, blocks:",
            self.id,
            self.free(),
            self.buddy,
            self.pcp,
            self.deferred,
            self.managed,
            self.present
        )?;
        for order in Order::ZERO.and_up() {
            write!(f, " {}", self.blocks(order))?;
        }
        Ok(())
    }
}
