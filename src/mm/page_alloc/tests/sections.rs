//! Tests of sections coming up.

use super::*;
use crate::addr::VirtRange;
use crate::arch::hosted::mmu::Config;
use crate::arch::pgtable::{KernelAttrs, MapFlags};
use crate::mm::init_mm;
use crate::mm::mmzone::{MAX_NUMNODES, ZoneType};
use crate::mm::sparse;

pub(super) fn start(
    limits: ZoneLimits,
    present: &[(usize, PfnRange)],
    free: &[PfnRange],
) -> Result<(), InitError> {
    let present = present.iter().map(|&(n, range)| (NodeId::new(n).unwrap(), range));
    let mapped = sparse::Populate::Mapped;
    // SAFETY: the free ranges of these tests are RAM of a fresh machine.
    unsafe { free_area_init(limits, present, free.iter().copied(), mapped) }
}

fn zone(kind: ZoneType) -> ZoneInfo {
    zones().find(|zone| zone.id.kind() == kind && zone.id.node() == NodeId::FIRST).unwrap()
}

#[test]
fn descriptors_exist_by_blocks_that_hold_ram() {
    on(&[ram(0x4030_0000, 2 * MIB), ram(0x4100_0000, MIB)], |_| {
        for (pfn, there) in [
            (0x3_ffff, false),
            (0x4_0000, true),
            (0x4_0300, true),
            (0x4_07ff, true),
            (0x4_0800, false),
            (0x4_0fff, false),
            (0x4_1000, true),
            (0x4_13ff, true),
            (0x4_1400, false),
            (0x4_8000, false),
            (u32::MAX, false),
        ] {
            assert_eq!(Frame::new(Pfn::new(pfn)).is_some(), there, "{pfn:#x}");
        }
        let frame = |pfn| Frame::new(Pfn::new(pfn)).unwrap();
        assert_eq!(state_of(frame(0x4_02ff)), State::Hole);
        assert_eq!(state_of(frame(0x4_0300)), State::Reserved);
        assert_eq!(state_of(frame(0x4_0500)), State::Hole);
        assert!(matches!(state_of(frame(0x4_04ff)), State::Free { .. }));
    });
}

#[test]
fn descriptors_are_paid_by_the_lowest_free_pages() {
    on(&[ram(0x4000_0000, 16 * MIB)], |_| {
        let zone = zones().next().unwrap();
        // Four blocks of 8 pages of descriptors, and the table's leaf.
        assert_eq!(zone.present, 4096);
        assert_eq!(zone.reserved(), 33);
        assert_eq!(state_of(Frame::new(Pfn::new(0x4_0020)).unwrap()), State::Reserved);
        assert!(matches!(state_of(Frame::new(Pfn::new(0x4_0021)).unwrap()), State::Free { .. }));
    });
}

#[test]
fn sections_come_up_when_needed_and_nothing_is_lost() {
    if cfg!(miri) {
        return;
    }
    on(&[ram(0x4000_0000, 384 * MIB)], |_| {
        let info = zones().next().unwrap();
        // The descriptors of each section, and the leaf of the first.
        assert_eq!(info.deferred, 2 * (32768 - 256));
        assert_eq!(info.managed, 3 * 32768 - 3 * 256 - 1);
        assert!(Frame::new(Pfn::new(0x4_8000)).is_none());
        let big = exhaust(KERNEL, Order::MAX);
        assert!(Frame::new(Pfn::new(0x4_8000)).is_some());
        let info = zones().next().unwrap();
        assert_eq!(info.deferred, 0);
        assert_eq!(info.managed, 3 * 32768 - 3 * 256 - 1);
        // Every block of the largest order but those which hold descriptors.
        assert_eq!(big.len(), 3 * 31);
        check_sums();
        for frame in big {
            free_pages(frame, Order::MAX);
        }
        assert_eq!(nr_used_pages(), 0);
    });
}

#[test]
fn zones_end_at_their_limits() {
    let ranges = [ram(0x4000_0000, 32 * MIB)];
    Machine::run(&ranges, |_| {
        let all = ranges[0].whole_pages();
        let limits = ZoneLimits {
            dma: Pfn::new(0x4_0800 + 5),
            dma32: Pfn::new(0x4_1000),
            movable: [Pfn::new(0x4_1801); MAX_NUMNODES],
        };
        start(limits, &[(0, all)], &[all]).unwrap();
        let span = |kind| zone(kind).spanned;
        let range = |a, b| PfnRange::new(Pfn::new(a), Pfn::new(b));
        assert_eq!(span(ZoneType::Dma), range(0x4_0000, 0x4_0800));
        assert_eq!(span(ZoneType::Dma32), range(0x4_0800, 0x4_1000));
        assert_eq!(span(ZoneType::Normal), range(0x4_1000, 0x4_1c00));
        assert_eq!(span(ZoneType::Movable), range(0x4_1c00, 0x4_2000));

        let first = |gfp| {
            let frame = alloc_pages(gfp, Order::ZERO).unwrap();
            frame.zone().kind()
        };
        assert_eq!(first(Gfp::GFP_DMA), ZoneType::Dma);
        assert_eq!(first(Gfp::GFP_DMA32), ZoneType::Dma32);
        assert_eq!(first(KERNEL), ZoneType::Normal);
        assert_eq!(first(KERNEL | Gfp::__GFP_MOVABLE), ZoneType::Normal);
        assert_eq!(first(MOVABLE), ZoneType::Movable);
        check_sums();
        // Wider zones fall back to narrower ones, never the other way.
        let all = exhaust(KERNEL, Order::ZERO);
        let mut kinds: Vec<_> = all.iter().map(|f| f.zone().kind()).collect();
        kinds.dedup();
        assert_eq!(kinds[..3], [ZoneType::Normal, ZoneType::Dma32, ZoneType::Dma]);
        assert!(!kinds.contains(&ZoneType::Movable));
        assert!(exhaust(MOVABLE, Order::ZERO).iter().all(|f| f.zone().kind() == ZoneType::Movable));
        check_sums();
    });
}

#[test]
fn lowmem_is_kept_for_those_who_need_it() {
    let ranges = [ram(0x4000_0000, 64 * MIB)];
    Machine::run(&ranges, |_| {
        let all = ranges[0].whole_pages();
        let limits = ZoneLimits {
            dma: Pfn::new(0x4_0800),
            dma32: Pfn::new(0x4_0800),
            ..ZoneLimits::default()
        };
        let limits = ZoneLimits { dma32: limits.dma, ..limits };
        start(limits, &[(0, all)], &[all]).unwrap();
        let normal = zone(ZoneType::Normal).managed;
        let dma = ZoneId::new(NodeId::FIRST, ZoneType::Dma).zone();
        assert_eq!(dma.lowmem_reserve(ZoneType::Normal), normal / 256);
        assert_eq!(dma.lowmem_reserve(ZoneType::Dma), 0);
        exhaust(KERNEL, Order::ZERO);
        let kept = dma.free();
        assert!(kept >= normal / 256, "{kept} are left");
        assert!(!exhaust(Gfp::GFP_DMA, Order::ZERO).is_empty());
        assert!(dma.free() < kept);
    });
}

#[test]
fn nodes_have_zones_of_their_own() {
    let ranges = [ram(0x4000_0000, 10 * MIB), ram(0x40a0_0000, 14 * MIB)];
    Machine::run(&ranges, |_| {
        let [a, b] = ranges.map(|r| r.whole_pages());
        start(ZoneLimits::default(), &[(0, a), (1, b)], &[a, b]).unwrap();
        let spans: Vec<_> = zones().map(|z| (z.id.node().index(), z.spanned, z.present)).collect();
        let range = |a, b| PfnRange::new(Pfn::new(a), Pfn::new(b));
        // The block in which they meet is the lower one's.
        assert_eq!(
            spans,
            [(0, range(0x4_0000, 0x4_0c00), 3072), (1, range(0x4_0c00, 0x4_1800), 3072),]
        );
        let node = |f: &Frame| f.zone().node().index();
        let local = exhaust(KERNEL | Gfp::__GFP_THISNODE, Order::ZERO);
        assert!(local.iter().all(|f| node(f) == 0));
        let rest = exhaust(KERNEL, Order::ZERO);
        assert!(!rest.is_empty() && rest.iter().all(|f| node(f) == 1));
        check_sums();
    });
}

#[test]
fn each_node_has_its_own_start_of_movable_memory() {
    let ranges = [ram(0x4000_0000, 16 * MIB), ram(0x4100_0000, 16 * MIB)];
    Machine::run(&ranges, |_| {
        let [a, b] = ranges.map(|r| r.whole_pages());
        let mut movable = [Pfn::LIMIT; MAX_NUMNODES];
        movable[0] = Pfn::new(0x4_0801);
        let limits = ZoneLimits { movable, ..ZoneLimits::default() };
        start(limits, &[(0, a), (1, b)], &[a, b]).unwrap();
        let spans: Vec<_> = zones().map(|z| (format!("{}", z.id), z.spanned)).collect();
        let span = |name: &str, a, b| (name.into(), PfnRange::new(Pfn::new(a), Pfn::new(b)));
        assert_eq!(
            spans,
            [
                span("Node 0 DMA", 0x4_0000, 0x4_0c00),
                span("Node 0 Movable", 0x4_0c00, 0x4_1000),
                span("Node 1 DMA", 0x4_1000, 0x4_2000),
            ]
        );
        // Movable memory of the nearest node comes first, then all that unmovable may use.
        let frame = alloc_pages(MOVABLE, Order::ZERO).unwrap();
        assert_eq!(frame.zone().kind(), ZoneType::Movable);
        let kinds = exhaust(KERNEL, Order::ZERO);
        assert!(kinds.iter().all(|f| f.zone().kind() == ZoneType::Dma));
        check_sums();
    });
}

#[test]
fn reserved_memory_stays_away_until_it_is_given() {
    let ranges = [ram(0x4000_0000, 16 * MIB)];
    Machine::run(&ranges, |_| {
        let image = frames(0x4040_0000, 3 * MIB + 0x3000);
        let free = [frames(0x4000_0000, 4 * MIB), PfnRange::new(image.end(), Pfn::new(0x4_1000))];
        start(ZoneLimits::default(), &[(0, ranges[0].whole_pages())], &free).unwrap();
        let before = zones().next().unwrap();
        assert_eq!(before.reserved(), 33 + image.len());
        let all = exhaust(KERNEL | Gfp::__GFP_MEMALLOC, Order::ZERO);
        assert!(all.iter().all(|f| !image.contains(f.pfn())));
        assert_eq!(state_of(Frame::new(image.start()).unwrap()), State::Reserved);

        let init = PfnRange::new(image.start() + 1, image.start() + 600);
        // SAFETY: nobody uses it.
        assert_eq!(unsafe { free_reserved_area(init) }, 599);
        check_sums();
        let after = zones().next().unwrap();
        assert_eq!(after.managed, before.managed + 599);
        let got = exhaust(KERNEL, Order::ZERO);
        assert!(got.iter().all(|f| init.contains(f.pfn())));
    });
}

#[test]
#[should_panic(expected = "reserved memory can't be freed: frame 0x40100 is free")]
fn free_memory_is_not_given_twice() {
    on(&[ram(0x4000_0000, 16 * MIB)], |_| {
        // SAFETY: nobody uses it; it panics.
        unsafe { free_reserved_area(frames(0x4010_0000, 4096)) };
    });
}

/// A page that the linear map lacks (no-map memory) is as reserved as any other, and is not given
/// out: nobody could use it.
#[test]
#[should_panic(expected = "memory outside of the linear map can't be freed: frame 0x40802 is res")]
fn memory_that_is_not_mapped_is_not_given() {
    let ranges = [ram(0x4000_0000, 16 * MIB)];
    Machine::run(&ranges, |m| {
        let all = ranges[0].whole_pages();
        start(ZoneLimits::default(), &[(0, all)], &[frames(0x4000_0000, 8 * MIB)]).unwrap();
        init_mm::install(init_mm::new_root().unwrap());
        m.mmu().attach(init_mm::root().unwrap(), Config::eager(1));
        for mapped in [ram(0x4000_0000, 8 * MIB + 0x2000), ram(0x4080_3000, 8 * MIB - 0x3000)] {
            let va = crate::arch::layout::LINEAR.start() + mapped.start().get() as usize;
            let va = VirtRange::from_size(va, mapped.len() as usize);
            let flags = MapFlags::empty();
            init_mm::testing::map_range(va, mapped.start(), KernelAttrs::KERNEL, flags).unwrap();
        }
        // SAFETY: nobody uses it.
        assert_eq!(unsafe { free_reserved_area(frames(0x4080_0000, 0x2000)) }, 2);
        check_sums();
        // SAFETY: none: it panics.
        unsafe { free_reserved_area(frames(0x4080_1000 + 0x1000, 0x3000)) };
    });
}

#[test]
fn bad_ranges_are_refused() {
    let ranges = [ram(0x4000_0000, 16 * MIB)];
    let [a, b] = [frames(0x4000_0000, 4 * MIB), frames(0x4040_0000, 4 * MIB)];
    let both = PfnRange::new(a.start(), b.end());
    let limits = ZoneLimits::default();
    Machine::run(&ranges, |_| {
        assert_eq!(start(limits, &[(0, b), (0, a)], &[a]), Err(InitError::Unsorted(a)));
        assert_eq!(start(limits, &[(0, both)], &[both, b]), Err(InitError::Unsorted(b)));
        assert_eq!(start(limits, &[(0, a)], &[both]), Err(InitError::NotPresent(both)));
        // Two banks side by side hold one free range.
        assert_eq!(start(limits, &[(0, a), (0, b)], &[both]), Ok(()));
        assert_eq!(start(limits, &[(0, a), (0, b)], &[both]), Err(InitError::Again));
    });
    Machine::run(&ranges, |_| {
        assert_eq!(start(limits, &[(0, both)], &[]), Err(InitError::NoMemory));
    });
}

/// More ranges than are remembered: the sections above come up at once.
#[test]
fn many_ranges_lose_nothing() {
    if cfg!(miri) {
        return;
    }
    let size = 1536 * MIB;
    let ranges = [ram(0x4000_0000, size)];
    Machine::run(&ranges, |_| {
        let free: Vec<_> = (0..size / (8 * MIB))
            .map(|n| frames(0x4000_0000 + n * 8 * MIB, 8 * MIB - 4096))
            .collect();
        assert!(free.len() > 128);
        start(ZoneLimits::default(), &[(0, ranges[0].whole_pages())], &free).unwrap();
        check_sums();
        let managed: u32 = free.iter().map(|r| r.len()).sum();
        assert_eq!(zones().next().unwrap().managed, managed - 12 * 256 - 1);
        exhaust(KERNEL | Gfp::__GFP_MEMALLOC, Order::ZERO);
        check_sums();
        let info = zones().next().unwrap();
        assert_eq!(info.managed, managed - 12 * 256 - 1);
        assert_eq!(info.free(), 0);
    });
}

/// Three nodes of 8 MiB each.
pub(super) fn on_three_nodes(f: impl FnOnce(&Machine)) {
    let ranges = [0u64, 1, 2].map(|n| ram(0x4000_0000 + n * 8 * MIB, 8 * MIB));
    Machine::run(&ranges, |m| {
        let pages = ranges.map(|range| range.whole_pages());
        let present = [(0, pages[0]), (1, pages[1]), (2, pages[2])];
        start(ZoneLimits::default(), &present, &pages).unwrap();
        f(m);
        check_sums();
    });
}

fn node_of(frame: Frame) -> usize {
    frame.zone().node().index()
}

#[test]
fn a_cpu_allocates_near_itself() {
    on_three_nodes(|m| {
        let near = [0, 2, 1].map(|n| NodeId::new(n).unwrap());
        for (cpu, node) in near.into_iter().enumerate() {
            set_cpu_numa_node(CpuId::new(cpu).unwrap(), node);
        }
        m.on_cpus(3, |cpu| {
            assert_eq!(numa_node_id(), near[cpu]);
            for n in [0, 1, 4, 9] {
                let frame = alloc_pages(KERNEL, order(n)).unwrap();
                assert_eq!(node_of(frame), near[cpu].index(), "order {n}");
                free_pages(frame, order(n));
            }
            for node in near {
                let frame = alloc_pages_node(node, KERNEL, order(0)).unwrap();
                assert_eq!(node_of(frame), node.index());
                free_pages(frame, order(0));
            }
            with_masked(drain_local_pages);
        });
    });
}

#[test]
fn the_nearest_node_helps_out() {
    on_three_nodes(|_| {
        let far = [[10, 40, 20, 90], [40, 10, 30, 90], [20, 30, 10, 90], [90; 4]];
        let row = |a: NodeId| far.get(a.index()).unwrap_or(&far[3]);
        set_node_distances(|a, b| row(a).get(b.index()).copied().unwrap_or(90));
        let gfp = KERNEL | Gfp::__GFP_NOWARN;
        let take = |node: usize| {
            let mut nodes: Vec<_> =
                core::iter::from_fn(|| alloc_pages_node(NodeId::new(node).unwrap(), gfp, order(9)))
                    .collect();
            let order_of_nodes: Vec<_> = nodes.iter().map(|f| node_of(*f)).collect();
            nodes.drain(..).for_each(|frame| free_pages(frame, order(9)));
            let mut seen = order_of_nodes;
            seen.dedup();
            seen
        };
        assert_eq!(take(0), [0, 2, 1]);
        assert_eq!(take(1), [1, 2, 0]);
        assert_eq!(take(2), [2, 0, 1]);
        let own = core::iter::from_fn(|| {
            alloc_pages_node(NodeId::new(1).unwrap(), gfp | Gfp::__GFP_THISNODE, order(9))
        });
        let own: Vec<_> = own.collect();
        assert!(!own.is_empty() && own.iter().all(|frame| node_of(*frame) == 1));
        own.into_iter().for_each(|frame| free_pages(frame, order(9)));
    });
}
