//! Per-CPU page lists: small blocks that a CPU keeps to itself (Linux: struct
//! per_cpu_pages, rmqueue_pcplist, free_unref_page).
//!
//! A list is a stack through the descriptors' `next`, reached with interrupts masked by
//! its CPU alone. A block on it has the `PCP` flag, and one reference, which its next owner
//! gets and its last one left: neither end of its life writes the count. Lists are refilled
//! from and spilled to the zone in batches ([`batch`]). The counts may be
//! read by any CPU; a CPU that wants another's lists emptied sets its `high` to 0, which
//! the owner heeds at its next free or refill, and interrupts it.
#![deny(unsafe_code)]

use super::batch::{self, Chunk};
use super::fallback::Reach;
use crate::addr::Order;
use crate::arch::irq::{is_masked, with_masked};
use crate::arch::{CpuId, IrqMasked, NR_CPUS, cpu};
use crate::machine_local;
use crate::mm::gfp::Gfp;
use crate::mm::mmzone::{LockedZone, Migratetype, NodeId, ZoneId, Zonelist};
use crate::mm::page::{Frame, Link, PageFlags};
use crate::percpu::PerCpu;
use crate::sched;
use crate::sync::{Request, Ticket};
use core::sync::atomic::{AtomicU8, AtomicU32, Ordering::Relaxed};

/// The orders that have lists: 0 to 3, and a pageblock for huge pages.
pub(super) const ORDERS: [Order; 5] = match (Order::new(1), Order::new(2), Order::new(3)) {
    (Some(one), Some(two), Some(three)) => [Order::ZERO, one, two, three, Order::PAGEBLOCK],
    _ => unreachable!(),
};
/// Lists of an order: one for each type of `Migratetype::PCPTYPES`; a power of two.
const COLUMNS: usize = 4;
const _: () = assert!(Migratetype::PCPTYPES <= COLUMNS);

/// A CPU's lists of one zone.
#[repr(align(128))]
pub(super) struct PerCpuPages {
    lists: [[Link; COLUMNS]; ORDERS.len()],
    /// Pages on all the lists.
    count: AtomicU32,
    /// The count from which a free spills a batch; 0 asks for all.
    high: AtomicU32,
    /// The best zone for each combination of the zone modifiers, which are the low bits
    /// of a GFP word. Used in a CPU's first entry alone, where it fills what alignment
    /// leaves empty, so that a CPU's part is a power of two in size.
    preferred: [AtomicU8; ZONE_MODIFIERS],
}

/// A CPU's lists of all zones.
pub(super) struct CpuPages {
    zones: [PerCpuPages; ZoneId::COUNT],
}

const _: () = assert!(size_of::<CpuPages>().is_power_of_two());

/// Combinations of `__GFP_DMA`, `__GFP_HIGHMEM`, `__GFP_DMA32` and `__GFP_MOVABLE`.
const ZONE_MODIFIERS: usize = 16;

const _: () = assert!(
    Gfp::__GFP_DMA.union(Gfp::__GFP_HIGHMEM).union(Gfp::__GFP_DMA32).bits() == 7
        && Gfp::__GFP_MOVABLE.bits() == 8
        && Gfp::__GFP_RECLAIMABLE.bits() == 16
);

machine_local! {
    static PCP: PerCpu<CpuPages> = PerCpu::new([const { CpuPages::new() }; NR_CPUS]);
    /// What each CPU was interrupted for: to drain its lists.
    static DRAIN: [Request; NR_CPUS] = [const { Request::new() }; NR_CPUS];
    /// Why the order-0 path is closed, a bit for each [`FastPath`].
    static CLOSED: AtomicU32 = AtomicU32::new(0);
}

impl CpuPages {
    const fn new() -> Self {
        Self { zones: [const { PerCpuPages::new() }; ZoneId::COUNT] }
    }

    #[inline]
    fn preferred(&self) -> &[AtomicU8; ZONE_MODIFIERS] {
        &self.zones[0].preferred
    }
}

/// The row of `order` in a CPU's lists, if it has one (Linux: order_to_pindex).
#[inline(always)]
const fn row(order: Order) -> Option<usize> {
    match order.get() {
        order @ 0..=3 => Some(order as usize),
        9 => Some(4),
        _ => None,
    }
}

/// Whether blocks of `order` have per-CPU lists (Linux: pcp_allowed_order).
#[inline(always)]
pub(super) const fn has_lists(order: Order) -> bool {
    row(order).is_some()
}

impl PerCpuPages {
    const fn new() -> Self {
        Self {
            lists: [const { [const { Link::new() }; COLUMNS] }; ORDERS.len()],
            count: AtomicU32::new(0),
            high: AtomicU32::new(u32::MAX),
            preferred: [const { AtomicU8::new(0) }; ZONE_MODIFIERS],
        }
    }

    /// Takes the block that was put on the list last.
    #[inline]
    fn pop(&self, row: usize, column: usize, order: Order) -> Option<Frame> {
        let list = &self.lists[row][column % COLUMNS];
        let frame = list.get()?;
        let page = frame.page();
        list.set(page.next());
        self.count.store(self.count.load(Relaxed).wrapping_sub(order.pages()), Relaxed);
        Some(frame)
    }

    /// Puts a block on a list; returns how many pages the lists then hold.
    #[inline]
    pub(super) fn push(&self, row: usize, column: usize, frame: Frame, order: Order) -> u32 {
        let list = &self.lists[row][column % COLUMNS];
        let page = frame.page();
        page.set_next(list.get());
        page.set_flags(PageFlags::PCP);
        list.set(Some(frame));
        let count = self.count.load(Relaxed).wrapping_add(order.pages());
        self.count.store(count, Relaxed);
        count
    }

    /// The blocks of a list, from the top; exact while its CPU leaves it alone.
    pub(super) fn blocks(&self, row: usize, column: usize) -> impl Iterator<Item = Frame> {
        core::iter::successors(self.lists[row][column].get(), |frame| frame.page().next())
    }

    /// Pages on all the lists.
    pub(super) fn count(&self) -> u32 {
        self.count.load(Relaxed)
    }
}

/// Takes a block off this CPU's list, where there is one: no lock, no atomic.
#[inline(always)]
pub(super) fn alloc_fast(irq: &IrqMasked, gfp: Gfp, order: Order) -> Option<Frame> {
    let row = row(order)?;
    preferred(irq, gfp).pop(row, column(gfp), order)
}

/// Takes single pages off this CPU's list for the empty entries of `pages`, up to the
/// first for which it has none; returns how many entries from the start are full then.
pub(super) fn alloc_bulk(irq: &IrqMasked, gfp: Gfp, pages: &mut [Option<Frame>]) -> usize {
    let pcp = preferred(irq, gfp);
    let list = &pcp.lists[0][column(gfp) % COLUMNS];
    let mut full = 0;
    while let Some(entry) = pages.get(full) {
        if entry.is_some() {
            full += 1;
            continue;
        }
        let (top, taken) = pop_into(&mut pages[full..], list.get());
        if taken == 0 {
            break;
        }
        list.set(top);
        pcp.count.store(pcp.count.load(Relaxed).wrapping_sub(taken), Relaxed);
        full += taken as usize;
    }
    full
}

/// Fills the empty entries from the first on with the pages chained from `top`; returns
/// the new top, and how many they are.
#[inline(always)]
fn pop_into(pages: &mut [Option<Frame>], mut top: Option<Frame>) -> (Option<Frame>, u32) {
    let all = pages.len();
    let mut entries = pages.iter_mut();
    while let Some(frame) = top
        && let Some(None) = entries.as_slice().first()
    {
        let page = frame.page();
        top = page.next();
        page.set_flags(PageFlags::empty());
        if let Some(entry) = entries.next() {
            *entry = Some(frame);
        }
    }
    (top, (all - entries.len()) as u32)
}

/// The lists of the zone that is best for `gfp`.
#[inline(always)]
fn preferred(irq: &IrqMasked, gfp: Gfp) -> &PerCpuPages {
    let cpu = PCP.get(irq);
    let zone = cpu.preferred()[gfp.bits() as usize % ZONE_MODIFIERS].load(Relaxed);
    &cpu.zones[ZoneId::from_bits(zone).index()]
}

/// The column of `gfp`'s migratetype, in the low bits.
#[inline(always)]
fn column(gfp: Gfp) -> usize {
    (gfp.bits() >> Gfp::__GFP_MOVABLE.bits().trailing_zeros()) as usize
}

/// Takes a block of `zone` off this CPU's list, refilling it where it is empty.
pub(super) fn alloc(
    irq: &IrqMasked,
    zone: ZoneId,
    order: Order,
    mt: Migratetype,
    reach: Reach,
) -> Option<Frame> {
    let row = row(order)?;
    let pcp = &PCP.get(irq).zones[zone.index()];
    if pcp.high.load(Relaxed) == 0 {
        drain_zone(irq, zone);
    }
    pcp.pop(row, mt.index(), order).or_else(|| {
        batch::refill(pcp, &mut zone.zone().lock(irq), row, order, mt, reach);
        pcp.pop(row, mt.index(), order)
    })
}

/// What is left to do after a free, when interrupts may come again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Left {
    /// Nothing.
    Nothing,
    /// The list is full: [`spill`].
    Spill,
    /// The block is on no list, its pageblock being emptied: `free_to_buddy`.
    Isolated,
}

/// Puts a block that is free on this CPU's list: no lock, no atomic. The caller has checked
/// that its order has lists, and does what is left to do.
#[inline(always)]
pub(super) fn free(irq: &IrqMasked, frame: Frame, order: Order, zone: ZoneId) -> Left {
    let Some(row) = row(order) else { return Left::Isolated };
    let pageblock = frame.align_down(Order::PAGEBLOCK).page();
    let Some(mt) = pageblock.block_pcp_migratetype() else { return Left::Isolated };
    let pcp = &PCP.get(irq).zones[zone.index()];
    let count = pcp.push(row, mt.index(), frame, order);
    if count >= pcp.high.load(Relaxed) { Left::Spill } else { Left::Nothing }
}

/// Puts the single pages in `pages` on this CPU's lists, emptying the entries, up to the
/// first that [`free`](super::free_pages) has to look at; returns how many entries that
/// are. Where the lists are full, that ends it too, and the page comes back whose list is
/// to be spared when they are spilled.
pub(super) fn free_bulk(irq: &IrqMasked, pages: &mut [Option<Frame>]) -> (usize, Option<Frame>) {
    let cpu = PCP.get(irq);
    let mut done = 0;
    while let Some(entry) = pages.get(done) {
        let Some(first) = *entry else {
            done += 1;
            continue;
        };
        let Some((zone, mt)) = home(first) else { break };
        let pcp = &cpu.zones[zone.index()];
        let list = &pcp.lists[0][mt.index() % COLUMNS];
        let (top, count) = push_alike(&mut pages[done..], first, list.get());
        done += count as usize;
        list.set(top);
        let count = pcp.count.load(Relaxed).wrapping_add(count);
        pcp.count.store(count, Relaxed);
        if count >= pcp.high.load(Relaxed) {
            return (done, Some(first));
        }
    }
    (done, None)
}

/// Chains the pages from the first on, which is `like`, onto `top`, while they are of its
/// pageblock and fit to be freed; returns the new top, and how many they are.
#[inline(always)]
fn push_alike(
    pages: &mut [Option<Frame>],
    like: Frame,
    mut top: Option<Frame>,
) -> (Option<Frame>, u32) {
    let place = like.page().place();
    let pageblock = like.align_down(Order::PAGEBLOCK);
    let all = pages.len();
    let mut entries = pages.iter_mut();
    while let Some(Some(frame)) = entries.as_slice().first().copied() {
        let page = frame.page();
        let fit = page.flags().bits() == 0 && page.refcount() == 1 && page.place() == place;
        if !fit || frame.align_down(Order::PAGEBLOCK) != pageblock {
            break;
        }
        page.set_next(top);
        page.set_flags(PageFlags::PCP);
        top = Some(frame);
        if let Some(entry) = entries.next() {
            *entry = None;
        }
    }
    (top, (all - entries.len()) as u32)
}

/// Which list an allocated single page goes to; `None` where it goes to none, or something
/// is wrong with it.
#[inline(always)]
fn home(frame: Frame) -> Option<(ZoneId, Migratetype)> {
    let page = frame.page();
    let place = page.place();
    if page.flags().bits() != 0 || page.refcount() != 1 || place.order() != 0 {
        return None;
    }
    let mt = frame.align_down(Order::PAGEBLOCK).page().block_pcp_migratetype()?;
    Some((place.zone(), mt))
}

/// Gives a batch of this CPU's lists back to the zone, the list that `frame` was put on
/// last: it is the one in use. Or all, where another CPU asked for it (Linux:
/// free_pcppages_bulk).
#[cold]
#[inline(never)]
pub(super) fn spill(frame: Frame, order: Order, id: ZoneId) {
    with_masked(|irq| {
        let zone = id.zone();
        let pcp = &PCP.get(irq).zones[id.index()];
        let high = pcp.high.load(Relaxed);
        if high == 0 {
            return drain_zone(irq, id);
        }
        let pageblock = frame.align_down(Order::PAGEBLOCK).page();
        let mt = pageblock.block_pcp_migratetype().unwrap_or(Migratetype::Movable);
        let list = row(order).unwrap_or(0) * COLUMNS + mt.index();
        let pages = pcp.count().saturating_sub(high).max(zone.pcp_batch.load(Relaxed));
        give_back(pcp, &mut zone.lock(irq), list + 1, pages);
    });
}

/// Frees at least `pages` pages, or all, from list `first` on.
fn give_back(pcp: &PerCpuPages, zone: &mut LockedZone<'_>, first: usize, pages: u32) {
    const LISTS: usize = COLUMNS * ORDERS.len();
    let mut left = pages;
    let mut chunk = Chunk::new();
    for list in (first..LISTS).chain(0..first.min(LISTS)) {
        let (row, column) = (list / COLUMNS, list % COLUMNS);
        let order = ORDERS[row];
        while left > 0
            && let Some(frame) = pcp.pop(row, column, order)
        {
            batch::give_back(&mut chunk, zone, frame, order);
            left = left.saturating_sub(order.pages());
        }
    }
    chunk.flush(zone);
}

/// Gives all that this CPU's lists of a zone hold back to it.
fn drain_zone(irq: &IrqMasked, id: ZoneId) {
    let zone = id.zone();
    let pcp = &PCP.get(irq).zones[id.index()];
    pcp.high.store(zone.pcp_high.load(Relaxed), Relaxed);
    if pcp.count() != 0 {
        give_back(pcp, &mut zone.lock(irq), 0, u32::MAX);
    }
}

/// Gives all that this CPU's lists hold back to the zones (Linux: drain_local_pages).
/// Any context.
pub fn drain_local_pages(irq: &IrqMasked) {
    for id in ZoneId::all() {
        drain_zone(irq, id);
    }
}

/// Drains this CPU's lists, and asks the other CPUs to drain theirs: those that can be
/// interrupted do so at once, the others at their next free or refill. What those at once
/// were asked. Any context.
fn ask_to_drain(irq: &IrqMasked) -> [Option<Ticket>; NR_CPUS] {
    let own = cpu::id(irq);
    let mut tickets = [None; NR_CPUS];
    for id in (0..NR_CPUS).filter_map(CpuId::new).filter(|&id| id != own) {
        let mut holds = false;
        for pcp in PCP.of(id).zones.iter().filter(|pcp| pcp.count() != 0) {
            pcp.high.store(0, Relaxed);
            holds = true;
        }
        if holds {
            let ticket = DRAIN[id.index()].ask();
            tickets[id.index()] = sched::kick(id).then_some(ticket);
        }
    }
    drain_local_pages(irq);
    tickets
}

/// Drains the lists of all CPUs, as far as they can be interrupted, and waits for that.
/// Threads with interrupts on; with them masked it does not wait (Linux: drain_all_pages).
pub fn drain_all_pages() {
    /// Looks after which a CPU is given up that does not come to it.
    const PATIENCE: u32 = 1 << 26;
    let tickets = with_masked(ask_to_drain);
    if is_masked() {
        return;
    }
    for (request, ticket) in DRAIN.iter().zip(tickets) {
        let Some(ticket) = ticket else { continue };
        let mut looks = 0;
        while !request.is_answered(ticket) && looks < PATIENCE {
            cpu::relax();
            looks += 1;
        }
    }
}

/// Does what another CPU asked for, if one did. From the interrupt by which it asked.
pub fn heed_drain(irq: &IrqMasked) {
    DRAIN[cpu::id(irq).index()].heed(|| drain_local_pages(irq));
}

/// Pages of `zone` on all CPUs' lists.
#[must_use]
pub(in crate::mm) fn count(zone: ZoneId) -> u32 {
    PCP.iter().fold(0u32, |sum, cpu| sum.wrapping_add(cpu.zones[zone.index()].count()))
}

/// CPU `cpu`'s lists of `zone`, for those who look on.
pub(super) fn of(cpu: CpuId, zone: ZoneId) -> &'static PerCpuPages {
    &PCP.of(cpu).zones[zone.index()]
}

/// Why the order-0 path is closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::mm) enum FastPath {
    /// Allocations fail on purpose.
    Failures = 1,
    /// Nodes are closed to a thread.
    Walls = 2,
}

/// Opens the order-0 path of all CPUs as far as `why` goes, or closes it: it then looks at
/// the lists of a zone that has no memory, where one is left.
pub(in crate::mm) fn set_fast_path(why: FastPath, open: bool) {
    match open {
        true => CLOSED.fetch_and(!(why as u32), Relaxed),
        false => CLOSED.fetch_or(why as u32, Relaxed),
    };
    for cpu in (0..NR_CPUS).filter_map(CpuId::new) {
        setup_preferred(cpu, super::cpu_to_node(cpu));
    }
}

/// Sizes the lists of all CPUs by what their zones say, and makes `node` the one that
/// `cpu` allocates from first.
pub(super) fn setup(cpu: CpuId, node: NodeId) {
    let pages = PCP.of(cpu);
    for (pcp, id) in pages.zones.iter().zip(ZoneId::all()) {
        // A CPU that was asked to drain its lists takes the new size when it does.
        let high = id.zone().pcp_high.load(Relaxed);
        let _ = pcp.high.fetch_update(Relaxed, Relaxed, |old| (old != 0).then_some(high));
    }
    setup_preferred(cpu, node);
}

/// Says where the order-0 path of `cpu` looks.
fn setup_preferred(cpu: CpuId, node: NodeId) {
    let preferred = PCP.of(cpu).preferred();
    let empty = ZoneId::all().find(|id| id.zone().present() == 0);
    if CLOSED.load(Relaxed) != 0
        && let Some(empty) = empty
    {
        return preferred.iter().for_each(|entry| entry.store(empty.bits(), Relaxed));
    }
    for (bits, entry) in (0..).zip(preferred) {
        let highest = Gfp::from_bits_retain(bits).zone();
        // A zone whose sections are all offline stays in the zonelists.
        let mut zones = Zonelist::of(node).zones(highest);
        if let Some(id) = zones.find(|id| id.zone().is_populated()) {
            entry.store(id.bits(), Relaxed);
        }
    }
}
