//! Memory of one node and of several: what the firmware says of it, sums that add up to the
//! page, and a stress of all CPUs after which every zone has what it had.
//!
//! `scripts/test` boots it on machines with 1 to 16 nodes, and tells it by these words of
//! the command line what they are like; without them, the machine has one node.
//!
//! | word | what it says |
//! | --- | --- |
//! | `granule.node_sizes=` | MiB of each node |
//! | `granule.cpu_nodes=` | the node of each CPU |
//! | `granule.node_order=` | for each node, the nodes with memory from the nearest on: `02,20,20` |
//!
//! Command line: cma=16M

#![no_std]
#![no_main]

extern crate alloc;

mod harness;

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use arrayvec::ArrayVec;
use core::fmt::Write;
use core::sync::atomic::{AtomicU64, Ordering};
use granule::addr::{Order, PAGE_SIZE, Pfn, PfnRange};
use granule::arch::CpuId;
use granule::arch::irq::with_masked;
use granule::arch::smp;
use granule::fs;
use granule::init::secondary;
use granule::mm::alloc_pages::{
    alloc_pages, alloc_pages_bulk, alloc_pages_exact, alloc_pages_node,
};
use granule::mm::cma::{cma_alloc, cma_release, default_area};
use granule::mm::compaction::compact_zone;
use granule::mm::contig::alloc_contig_range;
use granule::mm::gfp::Gfp;
use granule::mm::kthread::kthread_create_on_cpu;
use granule::mm::mmzone::{MAX_NUMNODES, NodeId, ZoneId, ZoneType, nr_node_ids};
use granule::mm::page::Frame;
use granule::mm::page_alloc::{
    State, cpu_to_node, drain_all_pages, drain_local_pages, free_contig_range, free_pages,
    free_pages_exact, get_page, put_page, state_of, zones,
};
use granule::mm::slab;
use granule::mm::validate::validate;
use granule::mm::zsmalloc::{ZsHandle, ZsPool};
use granule::sched::cond_resched;
use harness::{Random, word};

const LIGHT: Gfp = Gfp::GFP_KERNEL.union(Gfp::__GFP_NORETRY).union(Gfp::__GFP_NOWARN);

/// A list of numbers on the command line.
fn numbers(name: &str) -> Option<Vec<usize>> {
    let number = |text: &str| text.parse().expect("a number");
    Some(word(name)?.split(',').map(number).collect())
}

fn node_of(frame: Frame) -> NodeId {
    let of = |zone: &granule::mm::page_alloc::ZoneInfo| zone.spanned.contains(frame.pfn());
    // No node of these machines lies within another.
    zones().find(of).expect("a zone").id.node()
}

/// A block's mark: its first and last word, by its frame's number.
fn marks(frame: Frame, bytes: usize) -> [*mut u64; 2] {
    let first: *mut u64 = core::ptr::with_exposed_provenance_mut(frame.virt().get());
    [first, first.wrapping_byte_add(bytes - 8)]
}

fn mark(frame: Frame, bytes: usize) {
    for at in marks(frame, bytes) {
        // SAFETY: the first and last word of a block that the caller has allocated.
        unsafe { at.write(frame.pfn().get().into()) }
    }
}

fn check_mark(frame: Frame, bytes: usize) {
    for at in marks(frame, bytes) {
        // SAFETY: as above.
        let found = unsafe { at.read() };
        assert_eq!(found, frame.pfn().get().into(), "{frame:?} was overwritten");
    }
}

/// All memory comes up: blocks of it are linked through their own first words.
fn take_all_once() {
    for gfp in [Gfp::GFP_KERNEL, Gfp::GFP_HIGHUSER_MOVABLE] {
        let mut last = u64::MAX;
        while let Some(frame) = alloc_pages(gfp | LIGHT | Gfp::__GFP_MEMALLOC, Order::MAX) {
            // SAFETY: the block is this function's.
            unsafe { marks(frame, 8)[0].write(last) };
            last = frame.pfn().get().into();
        }
        while let Ok(pfn) = u32::try_from(last) {
            let frame = Frame::new(Pfn::new(pfn)).expect("a frame");
            // SAFETY: as above.
            last = unsafe { marks(frame, 8)[0].read() };
            // SAFETY: allocated here, and nobody uses it any more.
            unsafe { free_pages(frame, Order::MAX) };
        }
    }
}

fn give_up_caches(_: CpuId) {
    slab::shrink_all();
    with_masked(drain_local_pages);
}

/// Figures of each zone when no CPU keeps any pages: managed, free, isolated, CMA's free.
fn figures() -> ArrayVec<(ZoneId, [u32; 4]), { ZoneId::COUNT }> {
    // Not on the heap, whose pages are counted.
    let mut figures = ArrayVec::new();
    harness::settled_pages();
    secondary::on_each(give_up_caches);
    harness::settled_pages();
    let of = |zone: &granule::mm::page_alloc::ZoneInfo| {
        [zone.managed, zone.free(), zone.isolated, zone.free_cma]
    };
    figures.extend(zones().map(|zone| (zone.id, of(&zone))));
    figures
}

/// Blocks that any CPU may take away to free them.
static SLOTS: [AtomicU64; 192] = [const { AtomicU64::new(0) }; 192];

/// Exchanges what a slot holds: a block and its order, or 0.
fn exchange(slot: usize, block: Option<(Frame, Order)>) {
    let pack = |(frame, order): (Frame, Order)| {
        mark(frame, order.bytes());
        u64::from(frame.pfn().get()) << 8 | u64::from(order.get()) << 1 | 1
    };
    let old = SLOTS[slot].swap(block.map_or(0, pack), Ordering::AcqRel);
    if old != 0 {
        let frame = Frame::new(Pfn::new((old >> 8) as u32)).expect("it was one");
        let order = Order::new((old >> 1 & 15) as u8).expect("it was one");
        check_mark(frame, order.bytes());
        let free = |frame| match old >> 8 & 1 {
            // SAFETY: the slot had the block, and has it no longer.
            0 => unsafe { free_pages(frame, order) },
            // SAFETY: as above.
            _ => unsafe { put_page(frame) },
        };
        free(frame);
    }
}

const GFPS: [Gfp; 8] = [
    Gfp::GFP_KERNEL,
    Gfp::GFP_HIGHUSER_MOVABLE,
    Gfp::GFP_KERNEL.union(Gfp::__GFP_RECLAIMABLE),
    Gfp::GFP_KERNEL.union(Gfp::__GFP_DMA),
    Gfp::GFP_ATOMIC,
    Gfp::GFP_KERNEL.union(Gfp::__GFP_COMP),
    Gfp::GFP_NOWAIT,
    Gfp::GFP_HIGHUSER_MOVABLE.union(Gfp::__GFP_ZERO),
];

/// Allocates a block in one of the ways there are.
fn some_block(random: &mut Random) -> Option<(Frame, Order)> {
    let order = [0, 0, 0, 0, 1, 2, 3, random.below(10) as u8, 9][random.below(9)];
    let order = Order::new(order)?;
    let mut gfp = GFPS[random.below(GFPS.len())] | Gfp::__GFP_NOWARN | Gfp::__GFP_NORETRY;
    let frame = match random.below(4) {
        0 => {
            let node = NodeId::new(random.below(nr_node_ids()))?;
            gfp |= Gfp::__GFP_THISNODE;
            let frame = alloc_pages_node(node, gfp, order)?;
            assert_eq!(node_of(frame), node, "{frame:?} for {gfp:?}");
            frame
        }
        1 => alloc_pages_node(NodeId::new(random.below(MAX_NUMNODES))?, gfp, order)?,
        _ => alloc_pages(gfp, order)?,
    };
    assert!(!gfp.contains(Gfp::__GFP_DMA) || frame.phys().get() < 1 << 32, "{frame:?}");
    Some((frame, order))
}

/// Allocates a range of a zone by its place, and gives it back.
fn some_range(random: &mut Random) {
    let all: Vec<_> = zones().collect();
    let zone = &all[random.below(all.len())];
    let block = Order::PAGEBLOCK.pages();
    let blocks = zone.spanned.len() / block;
    if blocks < 4 {
        return;
    }
    let first = zone.spanned.start().align_up(Order::PAGEBLOCK);
    let start = first + random.below(blocks as usize - 3) as u32 * block;
    let range = PfnRange::new(start + random.below(500) as u32, start + block + 10);
    let area = default_area().expect("cma=16M is on the command line");
    if area.range().overlaps(PfnRange::new(start, start + 2 * block)) {
        return;
    }
    if alloc_contig_range(range).is_ok() {
        for frame in range.iter().map(|pfn| Frame::new(pfn).expect("a frame")) {
            mark(frame, PAGE_SIZE);
        }
        for frame in range.iter().map(|pfn| Frame::new(pfn).expect("a frame")) {
            check_mark(frame, PAGE_SIZE);
        }
        // SAFETY: allocated here, and nobody uses it any more.
        unsafe { free_contig_range(range) };
    }
}

/// Allocates an object that can be moved, or checks one and frees it.
fn some_object(random: &mut Random, pool: &ZsPool, own: &mut [Option<(ZsHandle, u8)>]) {
    let slot = random.below(own.len());
    own[slot] = match own[slot] {
        Some((object, byte)) => {
            let intact = |bytes: &mut [u8]| bytes.iter().all(|&b| b == byte);
            assert!(pool.with(object, intact), "an object was lost");
            pool.free(object);
            None
        }
        None => {
            let byte = random.below(256) as u8;
            let size = [500, 2000, 4096][random.below(3)];
            let object = pool.malloc(size, Gfp::GFP_KERNEL | Gfp::__GFP_NOWARN);
            object.inspect(|&object| pool.with(object, |bytes| bytes.fill(byte)));
            object.map(|object| (object, byte))
        }
    };
}

/// Steps of each CPU.
const STEPS: u32 = 10_000;

/// Work of each CPU.
fn work(seed: u64, pool: &ZsPool) -> i32 {
    let mut random = Random::new(seed);
    let mut objects = [None; 48];
    for _ in 0..STEPS {
        let slot = random.below(SLOTS.len());
        match random.below(20) {
            0..=7 => exchange(slot, some_block(&mut random)),
            8..=11 => exchange(slot, None),
            12..=13 => {
                let mut pages = [const { None }; 40];
                let wanted = 1 + random.below(40);
                let got = alloc_pages_bulk(LIGHT, &mut pages[..wanted]);
                let bulk = &mut pages[..got];
                bulk.iter().flatten().for_each(|page| mark(page.frame(), PAGE_SIZE));
                bulk.iter_mut().filter_map(Option::take).for_each(|page| {
                    exchange(random.below(SLOTS.len()), Some((page.into_raw(), Order::ZERO)))
                });
            }
            14 => {
                let bytes = 1 + random.below(100 << 10);
                if let Some(frame) = alloc_pages_exact(LIGHT, bytes) {
                    let whole = bytes.next_multiple_of(PAGE_SIZE);
                    mark(frame, whole);
                    check_mark(frame, whole);
                    // SAFETY: allocated here, and nobody uses it any more.
                    unsafe { free_pages_exact(frame, bytes) };
                }
            }
            15..=17 => some_object(&mut random, pool, &mut objects),
            18 => {
                if let Some((frame, order)) = some_block(&mut random) {
                    get_page(frame);
                    // SAFETY: allocated here, and nobody uses it any more.
                    unsafe { put_page(frame) };
                    exchange(slot, Some((frame, order)));
                }
            }
            _ => match random.below(12) {
                0..=3 => some_range(&mut random),
                4..=6 => {
                    let area = default_area().expect("cma=16M is on the command line");
                    let count = 1 + random.below(1500) as u32;
                    if let Some(frame) = cma_alloc(area, count, Order::ZERO) {
                        mark(frame, PAGE_SIZE);
                        check_mark(frame, PAGE_SIZE);
                        // SAFETY: allocated here, and nobody uses it any more.
                        assert!(unsafe { cma_release(area, frame, count) });
                    }
                }
                7 => {
                    let all = zones().map(|zone| zone.id).collect::<Vec<_>>();
                    compact_zone(all[random.below(all.len())]);
                }
                _ => drain_all_pages(),
            },
        }
        cond_resched();
    }
    for (object, byte) in objects.into_iter().flatten() {
        assert!(pool.with(object, |bytes| bytes.iter().all(|&b| b == byte)), "an object was lost");
        pool.free(object);
    }
    0
}

/// The lines of `MemTotal` in /proc/meminfo and in the files of the nodes.
fn mem_total() -> Vec<String> {
    let mut lines = Vec::with_capacity(8);
    let nodes = (0..4).map(|node| format!("/sys/devices/system/node/node{node}/meminfo"));
    for path in core::iter::once(String::from("/proc/meminfo")).chain(nodes) {
        let mut text = String::with_capacity(4096);
        if fs::read(&path, &mut text).is_ok() {
            lines.extend(text.lines().filter(|line| line.contains("MemTotal:")).map(String::from));
        }
    }
    lines
}

/// Frames of each zone that the allocator manages, free or not. No zone reaches into another.
fn walk() -> Vec<(ZoneId, u32)> {
    let is_managed = |frame: &Frame| !matches!(state_of(*frame), State::Hole | State::Reserved);
    let count = |range: PfnRange| range.iter().filter_map(Frame::new).filter(is_managed).count();
    zones().map(|zone| (zone.id, count(zone.spanned) as u32)).collect()
}

kernel_tests! {
    /// The first: the others bring all memory up.
    fn mem_total_is_the_same_when_all_sections_are_up() {
        let managed = || zones().map(|zone| (zone.id, zone.managed)).collect::<Vec<_>>();
        let before = (mem_total(), managed());
        assert!(before.0.len() >= 2, "{before:?}");
        assert!(zones().any(|zone| zone.deferred != 0), "all memory is up already");
        take_all_once();
        assert!(zones().all(|zone| zone.deferred == 0), "not all memory is up");
        assert_eq!((mem_total(), managed()), before);
        assert_eq!(walk(), before.1);
        let kib = before.1.iter().map(|(_, pages)| u64::from(*pages) * 4).sum::<u64>();
        assert!(before.0[0].contains(&format!(" {kib} kB")), "{before:?}");
        validate().expect("every invariant holds");
    }

    fn nodes_have_the_memory_that_the_firmware_says() {
        let total = zones().map(|zone| zone.present).sum::<u32>() as usize >> 8;
        let sizes = numbers("node_sizes").unwrap_or_else(|| alloc::vec![total]);
        assert_eq!(sizes.iter().sum::<usize>(), total, "MiB in all");
        for node in NodeId::numbers() {
            let own = || zones().filter(|zone| zone.id.node() == node);
            let present: u32 = own().map(|zone| zone.present).sum();
            let wanted = sizes.get(node.index()).copied().unwrap_or(0);
            assert_eq!(present as usize, wanted << 8, "pages of node {}", node.index());
        }
    }

    fn cpus_are_near_the_nodes_that_the_firmware_says() {
        let nodes = numbers("cpu_nodes").unwrap_or_else(|| alloc::vec![0; 4]);
        let found: Vec<usize> = smp::online().map(|cpu| cpu_to_node(cpu).index()).collect();
        assert_eq!(found, nodes);
    }

    fn zones_and_nodes_add_up() {
        for zone in zones() {
            assert_eq!(zone.present, zone.managed + zone.reserved(), "{zone}");
            assert_eq!(zone.managed, zone.free() + zone.used(), "{zone}");
            let blocks: u32 = Order::ZERO.and_up().map(|o| zone.blocks(o) * o.pages()).sum();
            assert_eq!(blocks, zone.buddy + zone.isolated, "{zone}");
            assert!(zone.spanned.len() >= zone.present && zone.present > 0, "{zone}");
        }
        // No zone reaches into another.
        let mut spans: Vec<PfnRange> = zones().map(|zone| zone.spanned).collect();
        spans.sort_by_key(|span| span.start());
        assert!(spans.windows(2).all(|pair| pair[0].end() <= pair[1].start()), "{spans:?}");
        validate().expect("every invariant holds");
    }

    fn nodes_are_tried_from_the_nearest_on() {
        let order = word("node_order").unwrap_or("0");
        for (node, expected) in NodeId::all().zip(order.split(',')) {
            let mut seen = String::new();
            let mut blocks = Vec::new();
            // Single pages come from the zones in the same order, but are too many.
            while let Some(frame) = alloc_pages_node(node, LIGHT, Order::MAX) {
                let from = node_of(frame).index();
                if !seen.ends_with(|c: char| c.to_digit(16) == Some(from as u32)) {
                    write!(seen, "{from:x}").expect("memory");
                }
                blocks.push(frame);
            }
            // SAFETY: allocated here, and nobody uses it any more.
            blocks.into_iter().for_each(|frame| unsafe { free_pages(frame, Order::MAX) });
            assert_eq!(seen, expected, "from node {}", node.index());
        }
    }

    fn this_node_is_this_node() {
        let gfp = LIGHT | Gfp::__GFP_THISNODE;
        for node in NodeId::all() {
            let mut own = zones().filter(|zone| zone.id.node() == node);
            // A kernel page is not movable.
            let has = own.any(|zone| zone.id.kind() != ZoneType::Movable && zone.managed > 4096);
            for order in [0, 3, 9] {
                let order = Order::new(order).expect("an order");
                let frame = alloc_pages_node(node, gfp, order);
                assert_eq!(frame.is_some(), has, "order {order} of node {}", node.index());
                if let Some(frame) = frame {
                    assert_eq!(node_of(frame), node);
                    // SAFETY: allocated here, and nobody uses it any more.
                    unsafe { free_pages(frame, order) };
                }
            }
        }
    }

    fn after_all_cpus_worked_free_is_what_it_was() {
        take_all_once();
        assert!(zones().all(|zone| zone.deferred == 0), "not all memory is up");
        let before = figures();
        let pool = Arc::new(ZsPool::new().expect("a pool"));
        let threads: Vec<_> = smp::online().map(|cpu| {
            let pool = Arc::clone(&pool);
            let seed = 0x9e37_79b9 * (cpu.index() as u64 + 1);
            let thread = kthread_create_on_cpu("stress", cpu, move || work(seed, &pool));
            let thread = thread.expect("a thread");
            thread.wake_up();
            thread
        }).collect();
        threads.into_iter().for_each(|thread| assert_eq!(thread.join(), 0));
        for slot in 0..SLOTS.len() {
            exchange(slot, None);
        }
        assert_eq!(pool.info().objects, 0);
        assert_eq!(pool.validate(), Ok(()));
        assert_eq!(Arc::strong_count(&pool), 1);
        drop(pool);
        let area = default_area().expect("cma=16M is on the command line").info();
        assert_eq!((area.allocated, area.longest), (0, area.range.len()));
        assert!(area.successes > 0, "no contiguous memory was had");
        validate().expect("every invariant holds");
        let after = figures();
        assert_eq!(before, after, "managed, free, isolated, free CMA of each zone");
        assert!(after.iter().all(|(_, figures)| figures[2] == 0), "isolated pageblocks are left");
    }
}
