//! Checks the invariants of a zone, by walking all its lists.
#![deny(unsafe_code)]

use super::buddy::{buddy_order, pageblock_migratetype};
use super::pcp;
use crate::addr::Order;
use crate::arch::{CpuId, IrqMasked};
use crate::mm::ids::PcpColumn;
use crate::mm::mmzone::{LockedZone, Migratetype, ZoneId};
use crate::mm::page::{Frame, PageType};
use crate::percpu::possible_cpus;
use core::fmt;
use core::sync::atomic::Ordering::Relaxed;

/// Violated invariant, and its place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Invalid {
    /// The invariant that does not hold.
    pub what: &'static str,
    /// The zone.
    pub zone: ZoneId,
    /// The block, where it is one's.
    pub frame: Option<Frame>,
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "page allocator: {}: {}", self.zone, self.what)?;
        match self.frame {
            Some(frame) => write!(f, " at {frame:?}"),
            None => Ok(()),
        }
    }
}

impl core::error::Error for Invalid {}

/// Checks the free lists and figures of a zone, and each CPU's lists of it, in time proportional
/// to the zone's free memory. While other CPUs allocate or free, what is reported of their lists
/// may be no fault.
///
/// # Errors
/// The first [`Invalid`] found.
pub(in crate::mm) fn validate_zone(irq: &IrqMasked, id: ZoneId) -> Result<(), Invalid> {
    let zone = id.zone();
    let locked = zone.lock(irq);
    let wrong = |what, frame| Invalid { what, zone: id, frame };
    let fail = |what, frame| Err(wrong(what, frame));
    let (mut free, mut isolated, mut cma, mut highatomic) = (0, 0, 0, 0);
    for mt in Migratetype::ALL {
        let mut orders = 0;
        for order in Order::ZERO.and_up() {
            let blocks =
                validate_list(&locked, order, mt).map_err(|(what, frame)| wrong(what, frame))?;
            if blocks != locked.list(order, mt).nr_free() {
                return fail("a list's count is wrong", locked.list(order, mt).head());
            }
            let pages = blocks * order.pages();
            match mt {
                Migratetype::Isolate => isolated += pages,
                Migratetype::Cma => cma += pages,
                Migratetype::HighAtomic => highatomic += pages,
                _ => {}
            }
            if mt != Migratetype::Isolate {
                free += pages;
            }
            orders |= u16::from(blocks != 0) << order.get();
        }
        if orders != zone.orders[mt.index()].load(Relaxed) {
            return fail("the orders with free blocks are wrong", None);
        }
    }
    let figures = [
        (free, &zone.free, "the count of free pages is wrong"),
        (isolated, &zone.isolated, "the count of isolated pages is wrong"),
        (cma, &zone.free_cma, "the count of free CMA pages is wrong"),
        (highatomic, &zone.free_highatomic, "the count of free reserve pages is wrong"),
    ];
    for (found, figure, what) in figures {
        if found != figure.load(Relaxed) {
            return fail(what, None);
        }
    }
    for cpu in possible_cpus() {
        validate_cpu(cpu, id).map_err(|(what, frame)| wrong(what, frame))?;
    }
    if highatomic > zone.reserved_highatomic.load(Relaxed) {
        return fail("more of the reserve is free than reserved", None);
    }
    let known = u64::from(free) + u64::from(isolated) + u64::from(pcp::count(id));
    if known + u64::from(zone.deferred.load(Relaxed)) > u64::from(zone.managed()) {
        return fail("more pages are free than managed", None);
    }
    if zone.managed() > zone.present() {
        return fail("more pages are managed than present", None);
    }
    Ok(())
}

/// Checks the blocks of a list; returns how many there are.
fn validate_list(
    zone: &LockedZone<'_>,
    order: Order,
    mt: Migratetype,
) -> Result<u32, (&'static str, Option<Frame>)> {
    let mut prev = None;
    let mut at = zone.list(order, mt).head();
    let mut blocks = 0;
    while let Some(frame) = at {
        let page = frame.page();
        let checks = [
            (page.prev() == prev, "a list's links disagree"),
            (buddy_order(frame) == Some(order), "a block on a list is not marked as free"),
            (page.marks() == PageType::Buddy, "a free block has other flags"),
            (frame.zone() == zone.zone.id(), "a free block is of another zone"),
            (frame.pfn().is_aligned(order), "a free block is not aligned"),
        ];
        if let Some((_, what)) = checks.iter().find(|(holds, _)| !holds) {
            return Err((what, Some(frame)));
        }
        for inner in frame.block(order) {
            if inner.page().refcount() != 0 {
                return Err(("a free page has references", Some(inner)));
            }
            if inner.page().mapcount() != 0 || !inner.page().user_flags().is_empty() {
                return Err(("a free page is marked as mapped", Some(inner)));
            }
            if inner != frame && inner.page().marks() != PageType::None {
                return Err(("a page inside a free block has flags", Some(inner)));
            }
            if inner.pfn().is_aligned(Order::PAGEBLOCK) && pageblock_migratetype(inner) != mt {
                return Err(("a pageblock of a free block has another migratetype", Some(inner)));
            }
        }
        if pageblock_migratetype(frame) != mt {
            return Err(("a free block is on another migratetype's list", Some(frame)));
        }
        if order < Order::MAX && buddy_order(frame.buddy(order)) == Some(order) {
            let other = pageblock_migratetype(frame.buddy(order));
            let merges = other == mt || (other.is_mergeable() && mt.is_mergeable());
            if merges {
                return Err(("two free buddies were not merged", Some(frame)));
            }
        }
        blocks += 1;
        if blocks > zone.zone.present() {
            return Err(("a list is a circle", Some(frame)));
        }
        prev = Some(frame);
        at = page.next();
    }
    match zone.list(order, mt).tail() {
        tail if tail == prev => Ok(blocks),
        tail => Err(("a list's tail is wrong", tail)),
    }
}

/// Checks a CPU's lists of a zone.
fn validate_cpu(cpu: CpuId, id: ZoneId) -> Result<(), (&'static str, Option<Frame>)> {
    let pcp = pcp::of(cpu);
    let mut pages = 0;
    let columns = Migratetype::ALL.into_iter().take(Migratetype::PCPTYPES);
    let columns = columns.filter_map(|mt| PcpColumn::new(id, mt));
    for (row, order) in pcp::ORDERS.into_iter().enumerate() {
        for column in columns.clone() {
            for frame in pcp.blocks(row, column) {
                let page = frame.page();
                let checks = [
                    (page.marks() == PageType::Pcp, "a block on a CPU's list has other flags"),
                    (frame.zone() == id, "a block on a CPU's list is of another zone"),
                    (page.order() == order.get(), "a block on a CPU's list is of another order"),
                    (frame.pfn().is_aligned(order), "a block on a CPU's list is not aligned"),
                    (page.refcount() == 1, "a block on a CPU's list has not one reference"),
                ];
                if let Some((_, what)) = checks.iter().find(|(holds, _)| !holds) {
                    return Err((what, Some(frame)));
                }
                pages += order.pages();
                if pages > id.zone().managed() {
                    return Err(("a CPU's list is a circle", Some(frame)));
                }
            }
        }
    }
    if pages != pcp.count(id) {
        return Err(("a CPU's count is wrong", None));
    }
    Ok(())
}
