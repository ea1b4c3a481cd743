//! Records of the events that trace points report ([`crate::mm::hooks::points`]).

use super::event::Value::{N, S};
use super::events::Id;
use super::is_on;
use crate::addr::{PAGE_SHIFT, Pfn, VirtAddr};
use crate::arch::layout;
use crate::mm::gfp::Gfp;
use crate::mm::hooks::are_rare_events_on;
use crate::mm::hooks::points::{Event, Scan};
use crate::mm::ids::NodeId;
use crate::mm::page::Frame;
use core::panic::Location;

/// The caller of an allocation.
type Site = &'static Location<'static>;

fn pfn(frame: Option<Frame>) -> u64 {
    frame.map_or(u64::MAX, |frame| frame.pfn().get().into())
}

/// The address of a frame's descriptor.
fn page(frame: Option<Frame>) -> u64 {
    frame.map_or(0, |frame| core::ptr::from_ref(frame.page()).addr() as u64)
}

fn address(at: Option<VirtAddr>) -> u64 {
    at.map_or(0, |at| at.get() as u64)
}

/// A node by its number; -1 for any (Linux: NUMA_NO_NODE).
fn number(node: Option<NodeId>) -> u64 {
    node.map_or(u64::MAX, |node| node.index() as u64)
}

fn scan_values(scan: Scan) -> [super::event::Value<'static>; 5] {
    let [a, b, c, d] = [scan.start, scan.migrate, scan.free, scan.end];
    let [a, b, c, d] = [a, b, c, d].map(|pfn| N(pfn.get().into()));
    [a, b, c, d, N(scan.sync.into())]
}

fn isolated(start: Pfn, end: Pfn, scanned: u32, taken: usize) -> [super::event::Value<'static>; 4] {
    let [start, end] = [start, end].map(|pfn| N(pfn.get().into()));
    [start, end, N(scanned.into()), N(taken as u64)]
}

/// Writes the record of an event that is on.
fn emit(id: Id, values: &[super::event::Value<'_>]) {
    if is_on(id) {
        super::emit(id, values);
    }
}

/// Writes the record of an event that is on, whose first field is a call site.
fn emit_at<const N: usize>(id: Id, site: Site, values: [super::event::Value<'_>; N]) {
    if is_on(id) {
        super::emit_at(id, site, values);
    }
}

/// Records an event, if it is on. Any context.
pub(super) fn record(event: &Event<'_>) {
    match *event {
        Event::MmPageAlloc { frame, order, gfp } => {
            let mt = gfp.migratetype().index();
            let gfp = N(gfp.bits().into());
            emit(Id::MmPageAlloc, &[N(pfn(frame)), N(order.get().into()), gfp, N(mt as u64)]);
        }
        Event::MmPageFree { frame, order } => {
            emit(Id::MmPageFree, &[N(pfn(Some(frame))), N(order.get().into())]);
        }
        Event::MmPageAllocExtfrag { frame, order, current, alloc, fallback, owns } => {
            let orders = [order, current].map(|order| N(order.get().into()));
            let types = [alloc, fallback].map(|mt| N(mt.index() as u64));
            let [order, current] = orders;
            let [alloc, fallback] = types;
            let values = [N(pfn(Some(frame))), order, current, alloc, fallback, N(owns.into())];
            emit(Id::MmPageAllocExtfrag, &values);
        }
        Event::Kmalloc { site, at, size, room, gfp, node } => {
            let gfp = N(gfp.bits().into());
            let values =
                [N(0), N(address(at)), N(size as u64), N(room as u64), gfp, N(number(node))];
            emit_at(Id::Kmalloc, site, values);
        }
        Event::KmemCacheAlloc { site, at, size, room, gfp, node } => {
            let accounted = gfp.contains(Gfp::__GFP_ACCOUNT);
            let gfp = N(gfp.bits().into());
            let (size, room) = (N(size as u64), N(room as u64));
            let values =
                [N(0), N(address(at)), size, room, gfp, N(number(node)), N(accounted.into())];
            emit_at(Id::KmemCacheAlloc, site, values);
        }
        Event::Kfree { site, at } => {
            emit_at(Id::Kfree, site, [N(0), N(at.get() as u64)]);
        }
        Event::KmemCacheFree { site, at, name } => {
            emit_at(Id::KmemCacheFree, site, [N(0), N(at.get() as u64), S(name)]);
        }
        Event::AllocVmapArea { at, pages, align } => {
            let (within, size) = (layout::VMALLOC, (pages as usize + 1) << PAGE_SHIFT);
            // Where there are none, the end of what was searched, as in Linux.
            let start = at.unwrap_or(within.end());
            let [start, from, to] =
                [start, within.start(), within.end()].map(|at| N(at.get() as u64));
            let values = [start, N(size as u64), N(align as u64), from, to, N(at.is_none().into())];
            emit(Id::AllocVmapArea, &values);
        }
        Event::FreeVmapAreaNoflush { at, lazy, lazy_max } => {
            let values = [N(at.get() as u64), N(lazy as u64), N(lazy_max as u64)];
            emit(Id::FreeVmapAreaNoflush, &values);
        }
        Event::PurgeVmapAreaLazy { range, purged } => {
            let [start, end] = [range.start(), range.end()].map(|at| N(at.get() as u64));
            emit(Id::PurgeVmapAreaLazy, &[start, end, N(purged as u64)]);
        }
        Event::CmaAllocStart { name, count, align } => {
            emit(Id::CmaAllocStart, &[S(name), N(count.into()), N(align.get().into())]);
        }
        Event::CmaAllocFinish { name, frame, count, align } => {
            /// Linux: -ENOMEM.
            const ENOMEM: u64 = -12i64 as u64;
            let errno = if frame.is_some() { 0 } else { ENOMEM };
            let place = frame.map_or(0, |frame| frame.pfn().get().into());
            let (count, align) = (N(count.into()), N(align.get().into()));
            emit(Id::CmaAllocFinish, &[S(name), N(place), N(page(frame)), count, align, N(errno)]);
        }
        Event::CmaRelease { name, frame, count } => {
            let place = [N(pfn(Some(frame))), N(page(Some(frame)))];
            emit(Id::CmaRelease, &[S(name), place[0], place[1], N(count.into())]);
        }
        Event::MmCompactionBegin { scan } => {
            emit(Id::MmCompactionBegin, &scan_values(scan));
        }
        Event::MmCompactionEnd { scan, status } => {
            let [a, b, c, d, sync] = scan_values(scan);
            emit(Id::MmCompactionEnd, &[a, b, c, d, sync, N(status)]);
        }
        Event::MmCompactionIsolateMigratepages { start, end, scanned, taken } => {
            let values = isolated(start, end, scanned, taken);
            emit(Id::MmCompactionIsolateMigratepages, &values);
        }
        Event::MmCompactionIsolateFreepages { start, end, scanned, taken } => {
            let values = isolated(start, end, scanned, taken);
            emit(Id::MmCompactionIsolateFreepages, &values);
        }
        Event::MmCompactionMigratepages { migrated, failed } => {
            emit(Id::MmCompactionMigratepages, &[N(migrated.into()), N(failed.into())]);
        }
        Event::MmVmscanKswapdWake { node, highest, order } => {
            let [nid, zid] = [node.index(), highest as usize].map(|n| N(n as u64));
            emit(Id::MmVmscanKswapdWake, &[nid, zid, N(order.get().into())]);
        }
        Event::MmVmscanWakeupKswapd { node, highest, order, gfp } => {
            let [nid, zid] = [node.index(), highest as usize].map(|n| N(n as u64));
            emit(
                Id::MmVmscanWakeupKswapd,
                &[nid, zid, N(order.get().into()), N(gfp.bits().into())],
            );
        }
    }
}

/// The kernel's access to `address` faulted, at `ip`; `esr` is what the CPU says of it. From
/// the exception's handler.
#[inline(always)]
pub fn page_fault_kernel(address: VirtAddr, ip: u64, esr: u64) {
    /// Out of line: it takes no room where nothing is recorded.
    #[cold]
    #[inline(never)]
    fn on(address: VirtAddr, ip: u64, esr: u64) {
        emit(Id::PageFaultKernel, &[N(address.get() as u64), N(ip), N(esr)]);
    }
    if are_rare_events_on() {
        on(address, ip, esr);
    }
}
