//! Machines with as many nodes as there can be.

use super::sections::start;
use super::*;
use crate::mm::context::mems_allowed_scope;
use crate::mm::ids::PcpColumn;
use crate::mm::memory_hotplug::{offline_pages, online_pages};
use crate::mm::mmzone::{MAX_NUMNODES, ZoneType, nr_node_ids};
use crate::mm::slab::{self, kfree, kmalloc, kmalloc_node};
use crate::mm::sparse::Section;

const RAM: u64 = 0x4000_0000;

fn node(n: usize) -> NodeId {
    NodeId::new(n).unwrap()
}

/// The `n`th range of RAM of `size` bytes.
fn part(n: usize, size: u64) -> PfnRange {
    frames(RAM + n as u64 * size, size)
}

/// Runs `f` on a machine whose node n has the `n`th range of `size` bytes.
fn on_nodes(size: u64, movable: [Pfn; MAX_NUMNODES], f: impl FnOnce(&Machine)) {
    Machine::run(&[ram(RAM, MAX_NUMNODES as u64 * size)], |m| {
        let parts: Vec<_> = (0..MAX_NUMNODES).map(|n| (n, part(n, size))).collect();
        let free: Vec<_> = parts.iter().map(|&(_, range)| range).collect();
        start(ZoneLimits { movable, ..ZoneLimits::default() }, &parts, &free).unwrap();
        check_sums();
        f(m);
        check_sums();
    });
}

const NOT_MOVABLE: [Pfn; MAX_NUMNODES] = [Pfn::LIMIT; MAX_NUMNODES];

fn node_of(frame: Frame) -> usize {
    frame.zone().node().index()
}

/// How far two nodes of a ring are from each other.
fn on_ring(a: NodeId, b: NodeId) -> u32 {
    let steps = a.index().abs_diff(b.index());
    10 + 5 * steps.min(MAX_NUMNODES - steps) as u32
}

#[test]
fn nodes_help_out_in_the_order_of_distance() {
    on_nodes(8 * MIB, NOT_MOVABLE, |_| {
        assert_eq!((nr_node_ids(), zones().count()), (16, 16));
        set_node_distances(on_ring);
        for from in [0, 7, 15] {
            let mut expected: Vec<_> = (0..MAX_NUMNODES).collect();
            expected.sort_by_key(|&to| (on_ring(node(from), node(to)), to));
            let gfp = KERNEL | Gfp::__GFP_NOWARN;
            let next = || alloc_pages_node(node(from), gfp, Order::PAGEBLOCK);
            let blocks: Vec<_> = core::iter::from_fn(next).collect();
            let mut seen: Vec<_> = blocks.iter().map(|&frame| node_of(frame)).collect();
            seen.dedup();
            assert_eq!(seen, expected, "from node {from}");
            blocks.into_iter().for_each(|frame| free_pages(frame, Order::PAGEBLOCK));
            let only = alloc_pages_node(node(from), gfp | Gfp::__GFP_THISNODE, order(8)).unwrap();
            assert_eq!(node_of(only), from);
            free_pages(only, order(8));
        }
    });
}

#[test]
fn a_cpu_keeps_pages_of_every_node_apart() {
    on_nodes(8 * MIB, NOT_MOVABLE, |m| {
        m.on_cpus(2, |cpu| {
            for n in (0..MAX_NUMNODES).rev().filter(|n| n % 2 == cpu) {
                set_cpu_numa_node(CpuId::new(cpu).unwrap(), node(n));
                for order in [0, 1, 5, 9].map(order) {
                    let frame = alloc_pages(KERNEL, order).unwrap();
                    assert_eq!((node_of(frame), frame.page().order()), (n, order.get()));
                    free_pages(frame, order);
                    // The one that was freed last is at hand, if it was of this node's lists.
                    assert_eq!(alloc_pages(KERNEL, order), Some(frame), "node {n}, {order:?}");
                    free_pages(frame, order);
                }
            }
        });
        let held: Vec<_> = zones().map(|zone| zone.pcp).collect();
        assert!(held.iter().all(|&pages| pages > 0), "{held:?}");
        check_sums();
        m.on_cpus(2, |_| with_masked(drain_local_pages));
        assert!(zones().all(|zone| zone.pcp == 0));
    });
}

#[test]
fn every_node_has_movable_memory() {
    let movable = core::array::from_fn(|n| part(n, 16 * MIB).start() + 2048);
    on_nodes(16 * MIB, movable, |_| {
        assert_eq!(zones().count(), 2 * MAX_NUMNODES);
        for n in 0..MAX_NUMNODES {
            let figures = |kind| zones_on(node(n)).find(|zone| zone.id.kind() == kind).unwrap();
            let [dma, movable] = [ZoneType::Dma, ZoneType::Movable].map(figures);
            assert_eq!((dma.present, movable.present), (2048, 2048), "node {n}");
            assert_eq!(movable.spanned.start(), part(n, 16 * MIB).start() + 2048);
            let kind = |gfp| {
                let frame = alloc_pages_node(node(n), gfp, Order::ZERO).unwrap();
                free_pages(frame, Order::ZERO);
                (node_of(frame), frame.zone().kind())
            };
            assert_eq!(kind(MOVABLE), (n, ZoneType::Movable));
            assert_eq!(kind(KERNEL), (n, ZoneType::Dma));
        }
        with_masked(drain_local_pages);
    });
}

/// Memory of each node in each kind of zone: there can't be more zones.
#[test]
fn all_64_zones() {
    const SIZE: u64 = 4 * MIB;
    Machine::run(&[ram(RAM, 64 * SIZE)], |_| {
        let parts: Vec<_> = (0..64).map(|n| (n % MAX_NUMNODES, part(n, SIZE))).collect();
        let free: Vec<_> = parts.iter().map(|&(_, range)| range).collect();
        let limits = ZoneLimits {
            dma: part(16, SIZE).start(),
            dma32: part(32, SIZE).start(),
            movable: core::array::from_fn(|n| part(48 + n, SIZE).start()),
        };
        start(limits, &parts, &free).unwrap();
        let found: Vec<_> = zones().map(|zone| (zone.id, zone.present, zone.spanned)).collect();
        let expected: Vec<_> = (0..MAX_NUMNODES)
            .flat_map(|n| ZoneType::ALL.map(|kind| (n, kind)))
            .map(|(n, kind)| (ZoneId::new(node(n), kind), 1024, part(16 * kind.index() + n, SIZE)))
            .collect();
        assert_eq!(found, expected);
        let mut with_lists = 0;
        for n in 0..MAX_NUMNODES {
            set_cpu_numa_node(CpuId::BOOT, node(n));
            for (gfp, kind) in [
                (KERNEL | Gfp::__GFP_DMA, ZoneType::Dma),
                (KERNEL | Gfp::__GFP_DMA32, ZoneType::Dma32),
                (KERNEL, ZoneType::Normal),
                (MOVABLE, ZoneType::Movable),
            ] {
                let frame = alloc_pages(gfp, Order::ZERO).unwrap();
                assert_eq!(frame.zone(), ZoneId::new(node(n), kind));
                free_pages(frame, Order::ZERO);
                let id = frame.zone();
                let is_kept = zones().find(|zone| zone.id == id).unwrap().pcp > 0;
                with_lists += usize::from(is_kept);
                assert_eq!(is_kept, PcpColumn::new(id, Migratetype::Movable).is_some());
                if is_kept {
                    assert_eq!(alloc_pages(gfp, Order::ZERO), Some(frame), "it was at hand");
                    free_pages(frame, Order::ZERO);
                }
                let large = alloc_pages(gfp, order(3)).unwrap();
                assert_eq!(large.zone(), id);
                free_pages(large, order(3));
            }
        }
        assert_eq!(with_lists, PcpColumn::ZONES);
        check_sums();
        let all: Vec<_> = exhaust(MOVABLE | Gfp::__GFP_MEMALLOC, Order::ZERO);
        let mut zones_seen: Vec<_> = all.iter().map(|frame| frame.zone().index()).collect();
        zones_seen.sort_unstable();
        zones_seen.dedup();
        assert_eq!(zones_seen.len(), 64);
        check_sums();
        all.into_iter().for_each(|frame| free_pages(frame, Order::ZERO));
        check_sums();
    });
}

#[test]
fn memory_of_the_last_node_goes_and_comes_back() {
    const SIZE: u64 = 128 * MIB;
    let mut movable = NOT_MOVABLE;
    movable[15] = part(15, SIZE).start();
    on_nodes(SIZE, movable, |_| {
        let last = || zones_on(node(15)).next().unwrap();
        // It is brought up, which takes its descriptors off it.
        let page = alloc_pages_node(node(15), MOVABLE, Order::ZERO).unwrap();
        assert_eq!(page.zone(), ZoneId::new(node(15), ZoneType::Movable));
        free_pages(page, Order::ZERO);
        drain_all_pages();
        let before = last();
        offline_pages(part(15, SIZE)).unwrap();
        assert_eq!((last().present, last().offline), (0, Section::FRAMES));
        let elsewhere = alloc_pages_node(node(15), MOVABLE, Order::ZERO).unwrap();
        assert_ne!(node_of(elsewhere), 15);
        free_pages(elsewhere, Order::ZERO);
        online_pages(part(15, SIZE)).unwrap();
        drain_all_pages();
        let after = last();
        assert_eq!(
            (after.present, after.offline, after.managed),
            (before.present, 0, before.managed)
        );
        assert_eq!(after.free(), before.free());
        let page = alloc_pages_node(node(15), MOVABLE, Order::ZERO).unwrap();
        assert_eq!(node_of(page), 15);
        free_pages(page, Order::ZERO);
        drain_all_pages();
    });
}

#[test]
fn objects_lie_on_the_node_that_was_asked() {
    on_nodes(8 * MIB, NOT_MOVABLE, |_| {
        slab::kmem_cache_init(7);
        for n in [15, 0, 8] {
            let objects: Vec<_> =
                (0..50).map(|_| kmalloc_node(200, KERNEL, node(n)).unwrap()).collect();
            let on = |at: &core::ptr::NonNull<u8>| {
                let frame = Frame::from_virt(crate::addr::VirtAddr::from_ptr(at.as_ptr()));
                node_of(frame.unwrap())
            };
            assert!(objects.iter().all(|at| on(at) == n), "node {n}");
            slab::validate();
            // SAFETY: allocated here.
            objects.into_iter().for_each(|at| unsafe { kfree(at.as_ptr()) });
            slab::validate();
        }
        let cache =
            slab::kmem_cache_create("far", 100, 8, slab::SlabFlags::NO_MERGE, None).unwrap();
        let objects: Vec<_> =
            (0..MAX_NUMNODES).map(|n| cache.alloc_node(KERNEL, node(n)).unwrap()).collect();
        cache.validate();
        // SAFETY: as above.
        objects.into_iter().for_each(|at| unsafe { kfree(at.as_ptr()) });
        cache.shrink();
        // SAFETY: nobody else has it.
        assert_eq!(unsafe { slab::kmem_cache_destroy(cache) }, Ok(()));
        slab::validate();
    });
}

#[test]
fn a_cpu_near_a_node_without_memory_allocates() {
    on_three_nodes(|_| {
        slab::kmem_cache_init(7);
        assert_eq!(nr_node_ids(), 3);
        let none = node(15);
        // Of a node that this machine does not have there is none, and from there is what others have.
        let gfp = KERNEL | Gfp::__GFP_NOWARN;
        assert_eq!(alloc_pages_node(none, gfp | Gfp::__GFP_THISNODE, Order::ZERO), None);
        let page = alloc_pages_node(none, gfp, Order::ZERO).unwrap();
        free_pages(page, Order::ZERO);
        set_node_distances(on_ring);
        set_cpu_numa_node(CpuId::BOOT, none);
        assert_eq!((nr_node_ids(), numa_node_id()), (16, none));
        for order in [0, 3, 7].map(order) {
            let block = alloc_pages(KERNEL, order).unwrap();
            assert_eq!(node_of(block), 0, "the nearest on the ring");
            free_pages(block, order);
        }
        let objects: Vec<_> = (0..300).map(|_| kmalloc(64, KERNEL).unwrap()).collect();
        slab::validate();
        // SAFETY: allocated here.
        objects.into_iter().for_each(|at| unsafe { kfree(at.as_ptr()) });
        slab::validate();
        assert!(!ZoneId::new(none, ZoneType::Normal).zone().is_populated());
        drain_all_pages();
    });
}

#[test]
fn a_thread_may_be_kept_to_the_last_node() {
    on_nodes(8 * MIB, NOT_MOVABLE, |_| {
        let user = Gfp::GFP_USER | Gfp::__GFP_NOWARN;
        mems_allowed_scope(&[node(15)], || {
            let page = alloc_pages(user, Order::ZERO).unwrap();
            assert_eq!(node_of(page), 15);
            free_pages(page, Order::ZERO);
        });
        mems_allowed_scope(&[node(7), node(14)], || {
            let all = exhaust(user | Gfp::__GFP_MEMALLOC, Order::ZERO);
            let mut nodes: Vec<_> = all.iter().map(|&frame| node_of(frame)).collect();
            nodes.sort_unstable();
            nodes.dedup();
            assert_eq!(nodes, [7, 14]);
            all.into_iter().for_each(|frame| free_pages(frame, Order::ZERO));
        });
        drain_all_pages();
    });
}
