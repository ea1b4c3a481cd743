//! The allocator's figures as plain values (Linux: mm/show_mem.c, /proc/zoneinfo,
//! /proc/buddyinfo, /proc/pagetypeinfo).
#![deny(unsafe_code)]

use super::pcp;
use super::slowpath::Request;
use crate::addr::{Order, PfnRange};
use crate::arch::irq::with_masked;
use crate::machine_local;
use crate::mm::gfp::Gfp;
use crate::mm::mmzone::{Migratetype, Wmark, Zone, ZoneId};
use core::fmt;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// The figures of one zone, in pages.
///
/// RAM is `present + offline`, `present = managed + reserved()`, and `managed = free() +
/// used()`; to the page where nothing changes meanwhile.
#[derive(Clone, Debug)]
pub struct ZoneInfo {
    /// Which zone.
    pub id: ZoneId,
    /// From its first to its last frame.
    pub spanned: PfnRange,
    /// RAM in it that is online.
    pub present: u32,
    /// RAM of its sections that are offline.
    pub offline: u32,
    /// What the allocator was given of that.
    pub managed: u32,
    /// Of CMA areas.
    pub cma: u32,
    /// In free blocks of the zone.
    pub buddy: u32,
    /// Free and in pageblocks that are being emptied, which `buddy` leaves out.
    pub isolated: u32,
    /// Free in sections that are not up yet.
    pub deferred: u32,
    /// On the per-CPU lists.
    pub pcp: u32,
    /// Free and CMA's.
    pub free_cma: u32,
    /// The marks min, low and high.
    pub watermarks: [u32; 3],
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
        self.managed - self.free()
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

fn info(zone: &'static Zone) -> ZoneInfo {
    let id = zone.id();
    let mut nr_free = [[0; Migratetype::COUNT]; Order::COUNT];
    with_masked(|irq| {
        let locked = zone.lock(irq);
        for order in Order::ZERO.and_up() {
            for mt in Migratetype::ALL {
                nr_free[order.index()][mt.index()] = locked.list(order, mt).nr_free;
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
            pcp: pcp::count(id),
            free_cma: zone.free_cma.load(Relaxed),
            watermarks: [Wmark::Min, Wmark::Low, Wmark::High].map(|mark| zone.watermark(mark)),
            pcp_batch: zone.pcp_batch.load(Relaxed),
            pcp_high: zone.pcp_high.load(Relaxed),
            nr_free,
        }
    })
}

/// The zones that hold RAM, online or not, by node and kind.
pub fn zones() -> impl Iterator<Item = ZoneInfo> {
    let holds_ram = |zone: &&Zone| zone.present() != 0 || zone.offline.load(Relaxed) != 0;
    ZoneId::all().map(ZoneId::zone).filter(holds_ram).map(info)
}

/// Free pages of all zones, on per-CPU lists and in sections that are not up yet too. Bringing
/// up a section makes them fewer by what its descriptors take: look for leaks with
/// [`nr_used_pages`].
#[must_use]
pub fn nr_free_pages() -> u32 {
    zones().map(|zone| zone.free()).sum()
}

/// Allocated and poisoned pages of all zones.
#[must_use]
pub fn nr_used_pages() -> u32 {
    zones().map(|zone| zone.used()).sum()
}

machine_local! {
    static FAILURES: AtomicU32 = AtomicU32::new(0);
}

/// Reports an allocation that failed: the first ten, then ever fewer.
#[cold]
#[inline(never)]
pub(super) fn warn_alloc(request: &Request) {
    let Request { gfp, order, .. } = *request;
    if gfp.contains(Gfp::__GFP_NOWARN) {
        return;
    }
    let n = FAILURES.fetch_add(1, Relaxed).wrapping_add(1);
    if n > 10 && !n.is_power_of_two() {
        return;
    }
    log::warn!(
        "page allocation failure: order:{order}, mode:{:#x}({}), zone:{}, migratetype:{} (failure {n})",
        gfp.bits(),
        Mode(gfp),
        request.highest,
        request.mt
    );
    for zone in zones() {
        log::warn!("{zone}");
    }
}

struct Mode(Gfp);

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        bitflags::parser::to_writer(&self.0, f)
    }
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
