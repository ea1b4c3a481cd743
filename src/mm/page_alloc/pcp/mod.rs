//! Per-CPU page lists: small blocks that a CPU keeps to itself (Linux: struct
//! per_cpu_pages, rmqueue_pcplist, free_unref_page).
//!
//! A list is a stack through the descriptors' `next`, reached with interrupts masked by
//! its CPU alone. A block on it has the `PCP` flag, and one reference, which its next owner
//! gets and its last one left: neither end of its life writes the count. Lists are refilled
//! from and spilled to the zone in batches ([`batch`]).
//!
//! The number of pages that a CPU keeps of a zone is bounded by the zone's `pcp_high`: so many
//! are granted to its lists, and each list knows how many more it has room for ([`PcpList`]). A
//! full list gets the room that others don't use, before it has to spill. Invariant: pages on
//! lists = granted − Σ room. Readable from any CPU.
//!
//! `drain` empties lists, `preferred` chooses the list for an allocation.
#![deny(unsafe_code)]

mod closed;
mod drain;
mod preferred;

pub(in crate::mm) use drain::drain_all_pages_forced;
pub use drain::{drain_all_pages, drain_if_requested, drain_local_pages};
pub(super) use preferred::setup;
pub(in crate::mm) use preferred::{FastPath, set_fast_path};

use super::OwnedPage;
use super::batch::{self, Chunk};
use super::fallback::Reach;
use crate::addr::Order;
use crate::arch::irq::with_masked;
use crate::arch::{CpuId, IrqMasked};
use crate::mm::gfp::Gfp;
use crate::mm::ids::PcpColumn;
use crate::mm::mmzone::{LockedZone, Migratetype, ZoneId};
use crate::mm::page::{Frame, PageType};
use crate::mm::pcp_list::{ColumnLink, PcpList, Top};
use crate::per_cpu;
use crate::sync::Request;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use drain::drain_if_asked;

/// The orders that have lists: 0 to 5, and a pageblock for huge pages.
pub(super) const ORDERS: [Order; 7] =
    match (Order::new(1), Order::new(2), Order::new(3), Order::new(4), Order::new(5)) {
        (Some(one), Some(two), Some(three), Some(four), Some(five)) => {
            [Order::ZERO, one, two, three, four, five, Order::PAGEBLOCK]
        }
        _ => unreachable!(),
    };

/// A CPU's lists, and what it needs beside them: 8 KiB.
#[repr(align(4096))]
pub(super) struct CpuPages {
    lists: [[PcpList; PcpColumn::COUNT]; ORDERS.len()],
    /// Number of pages granted to the lists of each zone: those on the lists and the room for
    /// more.
    granted: [AtomicU32; ZoneId::COUNT],
    /// The column of the best zone and the migratetype for each combination of the zone
    /// modifiers and the mobility, which are the low bits of a GFP word; none where there is
    /// no such zone, or the fast path is closed.
    preferred: [ColumnLink; KINDS],
    /// True if another CPU asked for the lists to be drained.
    asked: AtomicBool,
}

const _: () = assert!(size_of::<CpuPages>() == 8192);

/// Combinations of `__GFP_DMA`, `__GFP_HIGHMEM`, `__GFP_DMA32`, `__GFP_MOVABLE` and
/// `__GFP_RECLAIMABLE`.
const KINDS: usize = 32;

const _: () = assert!(
    Gfp::__GFP_DMA.union(Gfp::__GFP_HIGHMEM).union(Gfp::__GFP_DMA32).bits() == 7
        && Gfp::__GFP_MOVABLE.bits() == 8
        && Gfp::__GFP_RECLAIMABLE.bits() == 16
);

per_cpu! {
    static PCP: CpuPages = CpuPages::new();
    /// Requests to the CPU to drain its lists, which it is interrupted for.
    static DRAIN: Request = Request::new();
}

/// The row of `order` in a CPU's lists, if it has one (Linux: order_to_pindex).
#[inline(always)]
const fn row(order: Order) -> Option<usize> {
    match order.get() {
        order @ 0..=5 => Some(order as usize),
        9 => Some(6),
        _ => None,
    }
}

/// Returns true if blocks of `order` have per-CPU lists (Linux: pcp_allowed_order).
#[inline(always)]
pub(in crate::mm) const fn has_lists(order: Order) -> bool {
    row(order).is_some()
}

/// A list, of one order and column.
#[derive(Clone, Copy, PartialEq, Eq)]
struct At {
    row: usize,
    column: usize,
}

/// The lists of a zone.
fn of_zone(zone: ZoneId) -> impl Iterator<Item = At> + Clone {
    let first = PcpColumn::first_of(zone);
    let columns = first..first + PcpColumn::PER_ZONE;
    (0..ORDERS.len()).flat_map(move |row| columns.clone().map(move |column| At { row, column }))
}

impl CpuPages {
    const fn new() -> Self {
        Self {
            lists: [const { [const { PcpList::new() }; PcpColumn::COUNT] }; ORDERS.len()],
            granted: [const { AtomicU32::new(0) }; ZoneId::COUNT],
            preferred: [const { ColumnLink::new() }; KINDS],
            asked: AtomicBool::new(false),
        }
    }

    #[inline(always)]
    fn list(&self, row: usize, column: PcpColumn) -> &PcpList {
        &self.lists[row][column.index()]
    }

    fn at(&self, at: At) -> &PcpList {
        &self.lists[at.row][at.column]
    }

    /// The blocks of a list, from the top; exact while its CPU leaves it alone.
    pub(super) fn blocks(&self, row: usize, column: PcpColumn) -> impl Iterator<Item = Frame> {
        let top = self.list(row, column).get().frame();
        core::iter::successors(top, |frame| frame.page().next())
    }

    /// Pages on the lists of a zone; exact while its CPU leaves them alone. Of words that
    /// change meanwhile the sum may be off, but not below none.
    pub(super) fn count(&self, zone: ZoneId) -> u32 {
        if !zone.zone().is_populated() {
            return 0;
        }
        let mut count = self.granted[zone.index()].load(Relaxed);
        self.each(zone, |list| count = count.wrapping_sub(list.get().room() as u32));
        u32::try_from(count as i32).unwrap_or(0)
    }

    /// Returns true if the lists of a zone hold pages or have room for some.
    fn is_used(&self, zone: ZoneId) -> bool {
        self.granted[zone.index()].load(Relaxed) != 0 || self.count(zone) != 0
    }

    /// Grants a zone's lists as much more, or less, and gives it to one of them.
    fn grant(&self, zone: ZoneId, list: &PcpList, pages: i32) {
        let granted = &self.granted[zone.index()];
        granted.store(granted.load(Relaxed).wrapping_add(pages as u32), Relaxed);
        list.add_room(pages);
    }

    /// Makes room for `pages` more on `list`, of `zone`, as far as the zone's bound for all
    /// its lists goes; what others don't use is taken from them.
    fn make_room(&self, zone: ZoneId, list: &PcpList, pages: u32) {
        let high = zone.zone().pcp_high.load(Relaxed);
        let granted = &self.granted[zone.index()];
        let mut left = high.saturating_sub(granted.load(Relaxed));
        if left < pages {
            let mut unused = 0;
            self.each(zone, |other| {
                let room = other.get().room();
                if room > 0 && !core::ptr::eq(other, list) {
                    other.add_room(-room);
                    unused += room as u32;
                }
            });
            let now = granted.load(Relaxed).wrapping_sub(unused);
            granted.store(now, Relaxed);
            left = high.saturating_sub(now);
        }
        self.grant(zone, list, left.min(pages) as i32);
    }

    /// Each list of a zone.
    #[inline(always)]
    fn each(&self, zone: ZoneId, mut f: impl FnMut(&PcpList)) {
        let first = PcpColumn::first_of(zone);
        for row in &self.lists {
            row[first..first + PcpColumn::PER_ZONE].iter().for_each(&mut f);
        }
    }

    /// Grants `list`, of `zone`, the room for what was put on it to refill it and for `more`
    /// pages, beyond the zone's bound where others hold all that.
    fn grant_held(&self, zone: ZoneId, list: &PcpList, more: u32) {
        let lacking = || u32::try_from(more as i32 - list.get().room()).unwrap_or(0);
        if lacking() > 0 {
            self.make_room(zone, list, lacking());
            self.grant(zone, list, lacking() as i32);
        }
    }
}

/// Number of pages by which a list exceeds its room.
fn lacks(list: &PcpList) -> u32 {
    u32::try_from(-list.get().room()).unwrap_or(0)
}

/// Takes a block off this CPU's list, where there is one: no lock, no atomic. It has one
/// reference and no flags.
#[inline(always)]
pub(in crate::mm) fn alloc_fast(irq: &IrqMasked, gfp: Gfp, order: Order) -> Option<Frame> {
    let row = row(order)?;
    let cpu = PCP.get(irq);
    let frame = cpu.list(row, preferred(cpu, gfp)?).pop(order)?;
    frame.page().set_type(PageType::None);
    Some(frame)
}

/// The column of the zone that is best for `gfp`.
#[inline(always)]
fn preferred(cpu: &CpuPages, gfp: Gfp) -> Option<PcpColumn> {
    cpu.preferred[gfp.bits() as usize % KINDS].get()
}

/// Calling CPU's list of single pages that is best for `gfp`, if there is one.
#[inline(always)]
pub(super) fn preferred_list(irq: &IrqMasked, gfp: Gfp) -> Option<&PcpList> {
    let cpu = PCP.get(irq);
    Some(cpu.list(0, preferred(cpu, gfp)?))
}

/// Calling CPU's list of single pages on which `frame` is freed; `None` if it is freed to the
/// zone.
#[inline(always)]
pub(super) fn list_of(irq: &IrqMasked, frame: Frame) -> Option<&PcpList> {
    Some(PCP.get(irq).list(0, frame.pcp_column()?))
}

/// Takes single pages off this CPU's list for the empty entries of `pages`, up to the
/// first for which it has none; returns how many entries from the start are full then.
pub(in crate::mm) fn alloc_bulk(
    irq: &IrqMasked,
    gfp: Gfp,
    pages: &mut [Option<OwnedPage>],
) -> usize {
    let cpu = PCP.get(irq);
    let Some(column) = preferred(cpu, gfp) else { return 0 };
    let list = cpu.list(0, column);
    let mut full = 0;
    while let Some(entry) = pages.get(full) {
        if entry.is_some() {
            full += 1;
            continue;
        }
        let top = list.get();
        let (frame, taken) = pop_into(&mut pages[full..], top.frame());
        if taken == 0 {
            break;
        }
        list.set(top.after(frame, taken as i32));
        full += taken as usize;
    }
    full
}

/// Fills the empty entries from the first on with the pages chained from `top`; returns
/// the new top, and how many they are.
#[inline(always)]
fn pop_into(pages: &mut [Option<OwnedPage>], mut top: Option<Frame>) -> (Option<Frame>, u32) {
    let all = pages.len();
    let mut entries = pages.iter_mut();
    while let Some(frame) = top
        && let Some(None) = entries.as_slice().first()
    {
        let page = frame.page();
        top = page.next();
        page.set_type(PageType::None);
        if let Some(entry) = entries.next() {
            // It is empty: there is nothing to drop.
            core::mem::forget(entry.replace(OwnedPage::of(frame)));
        }
    }
    (top, (all - entries.len()) as u32)
}

/// Takes a block of `zone` off this CPU's list, refilling it where it is empty.
pub(in crate::mm) fn alloc(
    irq: &IrqMasked,
    zone: ZoneId,
    order: Order,
    mt: Migratetype,
    reach: Reach,
) -> Option<Frame> {
    let row = row(order)?;
    drain_if_asked(irq);
    let Some(column) = PcpColumn::new(zone, mt) else {
        return zone.zone().lock(irq).rmqueue(order, mt, reach);
    };
    let cpu = PCP.get(irq);
    let list = cpu.list(row, column);
    list.pop(order).or_else(|| {
        let frame = batch::refill(list, &mut zone.zone().lock(irq), order, mt, reach)?;
        // For this one too, when it comes back.
        cpu.grant_held(zone, list, order.pages());
        Some(frame)
    })
}

/// Result of [`free`], and the work that remains, for when interrupts are unmasked again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum FreeResult {
    /// The block is on its list.
    Done,
    /// The block is on its list, which is full: the caller calls [`free_pcppages_bulk`].
    ListFull,
    /// The block is on no list, because its pageblock is isolated or its order has no lists: the
    /// caller calls `free_to_buddy`.
    Isolated,
    /// The block was not freed: it has flags that need handling, or can't be freed at all.
    Unusual,
}

/// Puts a block on this CPU's list if its holder may free it, and it has no flags: no lock,
/// no atomic. The caller does the work that the result names.
///
/// The flags are read and overwritten in one masked section: `memory_failure`, which marks the
/// block as bad and then interrupts each CPU, finds afterwards that the mark was honoured or
/// is gone.
#[inline(always)]
pub(super) fn free(irq: &IrqMasked, frame: Frame, order: Order) -> FreeResult {
    if !frame.page().is_plain(order) {
        return FreeResult::Unusual;
    }
    put(irq, frame, order)
}

/// Like [`free`], for a block whose flags the caller has read in the same masked section.
#[inline(always)]
pub(super) fn put(irq: &IrqMasked, frame: Frame, order: Order) -> FreeResult {
    let Some(row) = row(order) else { return FreeResult::Isolated };
    let Some(column) = frame.pcp_column() else { return FreeResult::Isolated };
    if PCP.get(irq).list(row, column).push(frame, order) {
        FreeResult::Done
    } else {
        FreeResult::ListFull
    }
}

/// Puts the single pages in `pages` on this CPU's lists, emptying the entries, up to the
/// first that [`free_block`](super::free_block) has to look at; returns how many entries that
/// are. Where the lists are full, that ends it too, and the page comes back whose list is
/// to be spared when they are spilled.
pub(super) fn free_bulk(
    irq: &IrqMasked,
    pages: &mut [Option<OwnedPage>],
) -> (usize, Option<Frame>) {
    let cpu = PCP.get(irq);
    let mut done = 0;
    while let Some(entry) = pages.get(done) {
        let Some(first) = entry.as_ref().map(OwnedPage::frame) else {
            done += 1;
            continue;
        };
        let Some(column) = first.pcp_column() else { break };
        let list = cpu.list(0, column);
        let top = list.get();
        let (frame, count) = push_alike(&mut pages[done..], first, top.frame());
        if count == 0 {
            break;
        }
        done += count as usize;
        let top: Top = top.after(frame, -(count as i32));
        list.set(top);
        if top.room() < 0 {
            return (done, Some(first));
        }
    }
    (done, None)
}

/// Chains the pages from the first on, which is `like`, onto `top`, while they are of its
/// pageblock and fit to be freed; returns the new top, and how many they are.
#[inline(always)]
fn push_alike(
    pages: &mut [Option<OwnedPage>],
    like: Frame,
    mut top: Option<Frame>,
) -> (Option<Frame>, u32) {
    let pageblock = like.align_down(Order::PAGEBLOCK);
    let all = pages.len();
    let mut entries = pages.iter_mut();
    while let Some(Some(owned)) = entries.as_slice().first() {
        let frame = owned.frame();
        let page = frame.page();
        if !page.is_plain(Order::ZERO) || frame.align_down(Order::PAGEBLOCK) != pageblock {
            break;
        }
        page.set_next(top);
        page.set_type(PageType::Pcp);
        top = Some(frame);
        if let Some(entry) = entries.next() {
            core::mem::forget(entry.take());
        }
    }
    (top, (all - entries.len()) as u32)
}

/// Makes room on the overfull list that `frame` was put on, which is the one in use: takes room
/// that other lists don't use, else frees a batch to the zone, from other lists first. Drains
/// all lists if another CPU asked for it (Linux: free_pcppages_bulk).
#[cold]
#[inline(never)]
pub(super) fn free_pcppages_bulk(frame: Frame, order: Order) {
    with_masked(|irq| {
        if drain_if_asked(irq) {
            return;
        }
        let Some(row) = row(order) else { return };
        let id = frame.zone();
        // One that is being emptied since is drained soon.
        let Some(column) = frame.pcp_column() else { return };
        let (zone, cpu) = (id.zone(), PCP.get(irq));
        let list = cpu.list(row, column);
        let batch = zone.pcp_batch.load(Relaxed);
        cpu.make_room(id, list, lacks(list) + batch);
        if lacks(list) == 0 {
            return;
        }
        let pages = lacks(list).max(batch);
        let own = At { row, column: column.index() };
        let mut others = false;
        cpu.each(id, |other| {
            others |= other.get().frame().is_some() && !core::ptr::eq(other, list);
        });
        let mut locked = zone.lock(irq);
        if others {
            give_back(cpu, &mut locked, own, pages);
            drop(locked);
            cpu.make_room(id, list, lacks(list) + batch);
        } else {
            let mut chunk = Chunk::new();
            give_back_of(list, order, &mut chunk, &mut locked, pages);
            chunk.flush(&mut locked);
        }
    });
}

/// Frees at least `pages` pages of a zone's lists, or all, of `last` those that are left.
fn give_back(cpu: &CpuPages, zone: &mut LockedZone<'_>, last: At, pages: u32) {
    let mut left = pages;
    let mut chunk = Chunk::new();
    let all = of_zone(zone.zone.id());
    let after = all.clone().skip_while(|&at| at != last).skip(1);
    let before = all.take_while(|&at| at != last);
    for at in after.chain(before).chain([last]) {
        left = give_back_of(cpu.at(at), ORDERS[at.row], &mut chunk, zone, left);
    }
    chunk.flush(zone);
}

/// Frees at least `pages` pages of a list, or all; returns how many are left to free.
fn give_back_of(
    list: &PcpList,
    order: Order,
    chunk: &mut Chunk,
    zone: &mut LockedZone<'_>,
    pages: u32,
) -> u32 {
    let mut left = pages;
    while left > 0
        && let Some(frame) = list.pop(order)
    {
        batch::give_back(chunk, zone, frame, order);
        left = left.saturating_sub(order.pages());
    }
    left
}

/// Pages of `zone` on all CPUs' lists.
#[must_use]
pub(in crate::mm) fn count(zone: ZoneId) -> u32 {
    PCP.iter().fold(0u32, |sum, cpu| sum.wrapping_add(cpu.count(zone)))
}

/// CPU `cpu`'s lists, for those who look on.
pub(super) fn of(cpu: CpuId) -> &'static CpuPages {
    PCP.of(cpu)
}
