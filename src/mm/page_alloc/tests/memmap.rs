//! Managed memory is the same before and after its sections come up, whatever the machine.

use super::deferred::online_range;
use super::*;
use crate::addr::VirtRange;
use crate::arch::IrqMasked;
use crate::mm::memory_hotplug::{offline_pages, online_pages};
use crate::mm::mmzone::{MAX_NUMNODES, ZoneType};
use crate::mm::sparse::{PopulateError, Section};
use proptest::prelude::*;
use std::cell::RefCell;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

/// Pages of the descriptors of a section that is RAM throughout.
const MEMMAP: u32 = 256;

std::thread_local! {
    /// The page tables that were made: the number of bits that each translates, and its index.
    static TABLES: RefCell<BTreeMap<(u32, usize), Pfn>> = const { RefCell::new(BTreeMap::new()) };
}

/// Maps nothing, but takes the pages that page tables of four levels would take.
fn map_vmemmap(
    _: &IrqMasked,
    va: VirtRange,
    _: PhysRange,
    page: &mut dyn FnMut() -> Option<Pfn>,
) -> Result<(), PopulateError> {
    for at in (va.start().get()..va.end().get()).step_by(4096) {
        for shift in [39, 30, 21] {
            TABLES.with_borrow_mut(|tables| {
                if let Entry::Vacant(table) = tables.entry((shift, at >> shift)) {
                    table.insert(page().ok_or(PopulateError)?);
                }
                Ok(())
            })?;
        }
    }
    Ok(())
}

/// A machine: its RAM with the nodes, what of it is free, and where zones end.
#[derive(Clone, Debug)]
struct Layout {
    present: Vec<(usize, PfnRange)>,
    free: Vec<PfnRange>,
    limits: ZoneLimits,
}

impl Layout {
    fn new(present: &[PfnRange], free: &[PfnRange], limits: ZoneLimits) -> Self {
        Self { present: present.iter().map(|&r| (0, r)).collect(), free: free.into(), limits }
    }

    /// Runs `f` on the machine, with page tables for the vmemmap.
    fn run(&self, f: impl FnOnce()) {
        let ram: Vec<_> = self.present.iter().map(|(_, range)| range.phys()).collect();
        Machine::run(&ram, |_| {
            TABLES.take();
            let present = self.present.iter().map(|&(n, range)| (NodeId::new(n).unwrap(), range));
            let populate = Populate::Tables(map_vmemmap);
            let free = self.free.iter().copied();
            // SAFETY: the free ranges are RAM of a fresh machine.
            unsafe { free_area_init(self.limits, present, free, populate) }.unwrap();
            check_sums();
            f();
        });
    }

    /// The sections that hold RAM.
    fn sections(&self) -> Vec<Section> {
        let all = self.present.iter().flat_map(|&(_, range)| Section::all_of(range));
        all.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// The frames of RAM that are reserved at boot.
    fn reserved(&self) -> Vec<PfnRange> {
        let mut reserved = Vec::new();
        for &(_, range) in &self.present {
            let mut at = range.start();
            for free in self.free.iter().map(|free| free.intersect(range)) {
                if !free.is_empty() {
                    reserved.push(PfnRange::new(at, free.start()));
                    at = free.end();
                }
            }
            reserved.push(PfnRange::new(at, range.end()));
        }
        reserved.retain(|range| !range.is_empty());
        reserved
    }
}

fn is_up(section: Section) -> bool {
    crate::mm::sparse::populated_blocks(section) != 0
}

fn online(section: Section) -> bool {
    with_masked(|irq| online_range(irq, PfnRange::new(section.start(), section.start() + 1)))
        .is_ok()
}

/// Managed pages of all zones.
fn managed() -> [u32; ZoneId::COUNT] {
    let mut all = [0; ZoneId::COUNT];
    ZoneId::all().for_each(|id| all[id.index()] = id.zone().managed());
    all
}

/// Pages of all zones in sections that are not up.
fn deferred() -> [u32; ZoneId::COUNT] {
    let mut all = [0; ZoneId::COUNT];
    zones().for_each(|zone| all[zone.id.index()] = zone.deferred);
    all
}

fn is_managed(frame: Frame) -> bool {
    !matches!(state_of(frame), State::Hole | State::Reserved | State::Offline)
}

/// Frames of `sections` that satisfy `is`, by zones.
fn count(sections: &[Section], is: impl Fn(Frame) -> bool) -> [u32; ZoneId::COUNT] {
    let mut all = [0; ZoneId::COUNT];
    let frames = sections.iter().flat_map(|section| section.frames().iter());
    for frame in frames.filter_map(Frame::new).filter(|&frame| is(frame)) {
        all[frame.zone().index()] += 1;
    }
    all
}

fn holds_memmap(frame: Frame) -> bool {
    frame.page().is_type(PageType::Vmemmap)
}

/// Checks the figures of all zones against a walk of all frames.
fn check_walk(layout: &Layout) {
    check_sums();
    let here = count(&layout.sections(), is_managed);
    for zone in zones() {
        assert_eq!(here[zone.id.index()] + zone.deferred, zone.managed, "{zone}");
    }
    TABLES.with_borrow(|tables| {
        assert_eq!(tables.values().collect::<BTreeSet<_>>().len(), tables.len());
        for &pfn in tables.values() {
            let holds =
                Frame::new(pfn).is_none_or(|f| holds_memmap(f) && state_of(f) == State::Reserved);
            assert!(holds, "{pfn:?} is a table, and not reserved");
        }
    });
}

fn kind(kind: ZoneType) -> usize {
    ZoneId::new(NodeId::FIRST, kind).index()
}

#[test]
fn tables_come_off_the_lowest_range_that_holds_them() {
    if cfg!(miri) {
        return;
    }
    // A page table for each two sections, one of each of the next levels, a leaf.
    let all = frames(0x4000_0000, 512 * MIB);
    let few = PfnRange::new(all.start(), all.start() + 3);
    let rest = PfnRange::new(few.end() + 1, all.end());
    Layout::new(&[all], &[few, rest], ZoneLimits::default()).run(|| {
        let tables = Populate::Tables(map_vmemmap).table_pages([all].into_iter());
        // The descriptors of a test need not start at a multiple of what a page table maps.
        assert!((5..=8).contains(&tables), "{tables}");
        let zone = ZoneId::new(NodeId::FIRST, ZoneType::Dma).zone();
        assert_eq!(zone.managed(), 4 * (Section::FRAMES - MEMMAP) - tables - 1);
        exhaust(KERNEL | Gfp::__GFP_MEMALLOC, Order::ZERO);
        let made = TABLES.with_borrow(|tables| tables.values().copied().collect::<BTreeSet<_>>());
        assert_eq!(made.len() as u32, tables - 1, "all but the leaf");
        let aside = PfnRange::new(rest.start(), rest.start() + tables);
        assert!(made.iter().all(|&pfn| aside.contains(pfn)), "{made:x?}");
        assert!(aside.iter().all(|pfn| Frame::new(pfn).is_some_and(holds_memmap)));
        assert!(few.iter().all(|pfn| Frame::new(pfn).is_some_and(holds_memmap)));
    });
}

#[test]
fn the_number_of_tables_is_that_of_all_blocks() {
    let at = |start: u32, end: u32| PfnRange::new(Pfn::new(start), Pfn::new(end));
    let machines = [
        std::vec![at(0x4_0000, 0x8_0000)],
        std::vec![at(0x4_0001, 0x4_0002), at(0x4_0003, 0x4_0004), at(0x4_0400, 0x4_8001)],
        std::vec![at(0, 1), at(0x10_0000, 0x10_0000), at(0x1ff_ffff, 0x200_0001)],
        std::vec![at(0x80_0000, 0x88_0000), at(0x4000_0000, 0x4100_0000)],
        std::vec![at(0xff00_0000, Pfn::LIMIT.get())],
    ];
    on(&[ram(0x4000_0000, 16 * MIB)], |_| {
        for present in machines {
            let mut leaves = BTreeSet::new();
            let mut tables = BTreeSet::new();
            for range in present.iter().filter(|range| !range.is_empty()) {
                let blocks = range.start().align_down(Order::MAX).get()..range.end().get();
                for block in blocks.step_by(Order::MAX.pages() as usize) {
                    leaves.insert(block >> 25);
                    let va = crate::mm::sparse::descriptor(Pfn::new(block)).get();
                    for shift in [21, 30, 39] {
                        tables.insert((shift, va >> shift));
                        tables.insert((shift, va.wrapping_add(32 * 1024 - 1) >> shift));
                    }
                }
            }
            let ranges = present.iter().copied();
            assert_eq!(Populate::Mapped.table_pages(ranges.clone()) as usize, leaves.len());
            let all = Populate::Tables(map_vmemmap).table_pages(ranges) as usize;
            assert_eq!(all, leaves.len() + tables.len(), "{present:x?}");
        }
    });
}

#[test]
fn descriptors_of_a_section_come_off_its_lowest_zones() {
    if cfg!(miri) {
        return;
    }
    // The tables are made of the first section. The second is of three zones, of which the lowest
    // holds a part of the descriptors, the middle one the others.
    let all = frames(0x4000_0000, 256 * MIB);
    let second = Section::of(all.end() - 1);
    let image = PfnRange::new(second.start() + 100, second.start() + 1024);
    let free = [PfnRange::new(all.start(), image.start()), PfnRange::new(image.end(), all.end())];
    let limits = ZoneLimits {
        dma: second.start() + 1024,
        dma32: second.start() + 2048,
        movable: [second.start() + 4096; MAX_NUMNODES],
    };
    let layout = Layout::new(&[all], &free, limits);
    layout.run(|| {
        let before = managed();
        assert_eq!(before[kind(ZoneType::Dma32)], 1024 - (MEMMAP - 100));
        assert_eq!(before[kind(ZoneType::Normal)], 2048);
        assert_eq!(before[kind(ZoneType::Movable)], Section::FRAMES - 4096);
        let parts: u32 = not_up(ZoneId::new(NodeId::FIRST, ZoneType::Dma)).map(|p| p.free).sum();
        assert_eq!(parts, ZoneId::new(NodeId::FIRST, ZoneType::Dma).zone().free());
        assert!(online(second));
        assert_eq!(managed(), before);
        check_walk(&layout);
        assert!(online(Section::of(all.start())));
        assert_eq!(managed(), before);
        check_walk(&layout);
    });
}

/// Bringing it up would take more pages than it adds.
#[test]
fn a_section_with_too_little_free_memory_stays_down() {
    if cfg!(miri) {
        return;
    }
    let [low, high] = [frames(0x4000_0000, 64 * MIB), frames(0x4800_0000, 128 * MIB)];
    let few = PfnRange::new(high.start() + 512, high.start() + 512 + MEMMAP);
    let layout = Layout::new(&[low, high], &[low, few], ZoneLimits::default());
    layout.run(|| {
        let before = managed()[kind(ZoneType::Dma)];
        let tables = Populate::Tables(map_vmemmap).table_pages([low, high].into_iter());
        assert_eq!(before, low.len() - MEMMAP / 2 - tables);
        assert_eq!(zones().next().unwrap().deferred, 0);
        let all = exhaust(MOVABLE | Gfp::__GFP_MEMALLOC, Order::ZERO);
        assert_eq!(all.len() as u32, before);
        assert!(!is_up(Section::of(high.start())));
        all.into_iter().for_each(|frame| free_pages(frame, Order::ZERO));
        // It does for its own descriptors, if it is asked to.
        let given = PfnRange::new(high.start(), few.start());
        // SAFETY: nobody uses it.
        assert_eq!(unsafe { free_reserved_area(given) }, 512);
        assert_eq!(managed()[kind(ZoneType::Dma)], before + 512);
        check_walk(&layout);
    });
    // Of fewer than that it can't be brought up for somebody who gives nothing for it.
    let few = PfnRange::new(few.start(), few.end() - 1);
    let layout = Layout::new(&[low, high], &[low, few], ZoneLimits::default());
    layout.run(|| {
        let before = managed()[kind(ZoneType::Dma)];
        assert!(!online(Section::of(high.start())));
        assert!(offline_pages(high).is_err());
        assert!(!is_up(Section::of(high.start())));
        // SAFETY: nobody uses it.
        assert_eq!(unsafe { free_reserved_area(PfnRange::new(high.start(), few.start())) }, 512);
        assert_eq!(managed()[kind(ZoneType::Dma)], before + 512 - 1, "a page of the first section");
        check_walk(&layout);
    });
}

/// Banks rising from 1 GiB, with gaps, reserved parts and the limits of zones anywhere.
fn layout() -> impl Strategy<Value = Layout> {
    let pages = prop_oneof![1..2000u32, 1..40_000u32, Just(Section::FRAMES)];
    let bank = (0..2u32, 0..40_000u32, pages, 0..4usize);
    let banks = proptest::collection::vec(bank, 1..4);
    let cuts =
        proptest::collection::vec((0..150_000u32, prop_oneof![1..50u32, 1..40_000u32]), 0..6);
    let limits = (0..150_000u32, 0..150_000u32, proptest::array::uniform16(0..250_000u32));
    (banks, cuts, limits).prop_map(|(banks, cuts, (dma, dma32, movable))| {
        let base = Pfn::new(0x4_0000);
        // It starts with enough for the kernel, which is free and not kept for movable pages.
        let first = PfnRange::new(base, base + 4096);
        let mut at = first.end();
        let mut present = std::vec![(0, first)];
        for (gap, ragged, pages, node) in banks {
            at = match pages {
                Section::FRAMES => {
                    Section::of(at + Section::FRAMES - 1 + gap * Section::FRAMES).start()
                }
                _ => at + gap * ragged,
            };
            present.push((node, PfnRange::new(at, at + pages)));
            at = at + pages;
        }
        let mut free: Vec<_> = present.iter().map(|&(_, range)| range).collect();
        for (start, len) in cuts {
            let cut = PfnRange::new(base + start, base + start + len);
            free = free
                .into_iter()
                .flat_map(|range| {
                    let [end, start] = [cut.start().max(first.end()), cut.end().max(first.end())];
                    [
                        PfnRange::new(range.start(), end.clamp(range.start(), range.end())),
                        PfnRange::new(start.clamp(range.start(), range.end()), range.end()),
                    ]
                })
                .filter(|range| !range.is_empty())
                .collect();
        }
        let limits = ZoneLimits {
            dma: base + dma,
            dma32: base + dma.max(dma32),
            movable: movable.map(|start| first.end() + start),
        };
        Layout { present, free, limits }
    })
}

#[derive(Clone, Debug)]
enum Op {
    Up { which: usize },
    Alloc { movable: bool, order: u8 },
    Give { which: usize },
    Offline { which: usize },
    Online { which: usize },
}

fn op() -> impl Strategy<Value = Op> {
    let which = || any::<usize>();
    prop_oneof![
        4 => which().prop_map(|which| Op::Up { which }),
        2 => (any::<bool>(), 0..=10u8).prop_map(|(movable, order)| Op::Alloc { movable, order }),
        1 => which().prop_map(|which| Op::Give { which }),
        2 => which().prop_map(|which| Op::Offline { which }),
        2 => which().prop_map(|which| Op::Online { which }),
    ]
}

/// State of the model.
struct Model<'a> {
    layout: &'a Layout,
    sections: Vec<Section>,
    /// Managed pages of each zone.
    managed: [u32; ZoneId::COUNT],
    /// Reserved ranges that were not handed over.
    reserved: Vec<PfnRange>,
    /// Sections that are offline, and what each zone manages less for it.
    offline: BTreeMap<Section, [u32; ZoneId::COUNT]>,
    held: Vec<(Frame, Order)>,
}

impl Model<'_> {
    fn step(&mut self, op: &Op) {
        let section = |which: usize| self.sections[which % self.sections.len()];
        match *op {
            Op::Up { which } => {
                online(section(which));
            }
            Op::Alloc { movable, order } => {
                let order = Order::new(order).unwrap();
                let gfp = if movable { MOVABLE } else { KERNEL } | Gfp::__GFP_NOWARN;
                self.held.extend(alloc_pages(gfp, order).map(|frame| (frame, order)));
            }
            Op::Give { which } => self.give(which),
            Op::Offline { which } => {
                let section = section(which);
                if offline_pages(section.frames()).is_ok() {
                    let lost = count(&[section], |frame| state_of(frame) == State::Offline);
                    let memmap: u32 = count(&[section], holds_memmap).iter().sum();
                    assert_eq!(lost.iter().sum::<u32>() + memmap, Section::FRAMES);
                    self.managed.iter_mut().zip(lost).for_each(|(all, lost)| *all -= lost);
                    self.offline.insert(section, lost);
                }
            }
            Op::Online { which } => {
                let section = section(which);
                let lost = self.offline.remove(&section);
                assert_eq!(online_pages(section.frames()).is_ok(), lost.is_some());
                let lost = lost.unwrap_or([0; ZoneId::COUNT]);
                self.managed.iter_mut().zip(lost).for_each(|(all, lost)| *all += lost);
            }
        }
        assert_eq!(managed(), self.managed, "after {op:?}");
        with_masked(|irq| ZoneId::all().try_for_each(|id| deferred::validate_deferred(irq, id)))
            .unwrap();
    }

    /// Hands a reserved range over. Where its sections are not up and have too little memory
    /// for their descriptors, those are made of pages of others.
    fn give(&mut self, which: usize) {
        if self.reserved.is_empty() {
            return;
        }
        let range = self.reserved.swap_remove(which % self.reserved.len());
        let up: Vec<_> = self.sections.iter().copied().filter(|&section| is_up(section)).collect();
        let before = (count(&up, holds_memmap), deferred());
        // SAFETY: nobody uses it.
        let given = unsafe { free_reserved_area(range) };
        assert!(given == range.len() || given == 0);
        let after = (count(&up, holds_memmap), deferred());
        // The free memory of sections that came up is on the free lists, but for what it lent.
        let new = self.sections.iter().copied();
        let new =
            new.filter(|section| is_up(*section) && !up.contains(section)).collect::<Vec<_>>();
        let there =
            count(&new, |frame| is_managed(frame) && (given == 0 || !range.contains(frame.pfn())));
        for (zone, managed) in self.managed.iter_mut().enumerate() {
            let lent = before.1[zone] - after.1[zone] - there[zone];
            *managed -= after.0[zone] - before.0[zone] + lent;
        }
        if given == 0 {
            return self.reserved.push(range);
        }
        for pfn in range.iter() {
            let zone = Frame::new(pfn).unwrap().zone();
            self.managed[zone.index()] += 1;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 0 } else { 32 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn managed_memory_is_constant(
        layout in layout(),
        ops in proptest::collection::vec(op(), 1..30),
        last in any::<u64>(),
    ) {
        layout.run(|| {
            let mut model = Model {
                layout: &layout,
                sections: layout.sections(),
                managed: managed(),
                reserved: layout.reserved(),
                offline: BTreeMap::new(),
                held: Vec::new(),
            };
            for op in &ops {
                model.step(op);
            }
            // Whatever is not up comes up, in any order.
            let n = model.sections.len();
            for i in 0..n {
                model.step(&Op::Up { which: (last as usize % n) + i * (n - 1).max(1) });
            }
            for which in 0..n {
                model.step(&Op::Online { which });
            }
            check_walk(model.layout);
            for (frame, order) in model.held.drain(..) {
                free_pages(frame, order);
            }
            exhaust(MOVABLE | Gfp::__GFP_MEMALLOC, Order::MAX);
            exhaust(MOVABLE | Gfp::__GFP_MEMALLOC, Order::ZERO);
            assert_eq!(nr_free_pages(), 0);
            assert_eq!(managed(), model.managed);
            check_walk(model.layout);
        });
    }
}
