//! Large blocks on a machine whose memory is scattered.

#![no_std]
#![no_main]

extern crate alloc;

#[path = "harness/ageing.rs"]
mod ageing;
mod harness;

use ageing::{
    Fragmented, KERNEL, MOVABLE, With, census, free_pages_now, give_back, take_all, zone,
};
use alloc::vec::Vec;
use granule::addr::Order;
use granule::mm::alloc_pages::alloc_pages;
use granule::mm::compaction::{
    ContigPageInfo, compact_stat, compaction_proactiveness, fragmentation_score,
    set_compaction_proactiveness,
};
use granule::mm::gfp::Gfp;
use granule::mm::mmzone::NodeId;
use granule::mm::page_alloc::free_pages;
use granule::mm::slab::slabinfo;
use granule::sched::msleep;
use granule::workload::{DEFAULT_SEED, Objects, fragment};

/// Memory filled to the last page with movable ones, of which half goes, spread evenly:
/// not two free pages are neighbours.
fn scattered() -> Objects {
    let mut objects = Objects::new().expect("memory for the list");
    while objects.add() {}
    objects.retain(|frame| !frame.pfn().get().is_multiple_of(2));
    objects
}

kernel_tests! {
    fn scattered_to_the_last_block() {
        set_compaction_proactiveness(0);
        let objects = scattered();
        let order = Order::new(9).expect("an order");
        // But for what the watermarks keep back.
        let before = ContigPageInfo::of(zone(), order);
        assert!(before.unusable_free_index() > 950, "memory is scattered: {before:?}");
        for order in [order, Order::MAX] {
            let free = free_pages_now();
            let blocks = take_all(KERNEL, order);
            let most = free >> order.get();
            granule::kprintln!("order {order}: {} of {most} blocks", blocks.len());
            assert!(blocks.len() as u32 * 100 >= most * 95, "{} of {most}", blocks.len());
            objects.check();
            give_back(blocks, order);
        }
        assert!(compact_stat().success > 0);
    }

    /// An allocation that can't wait fails, and wakes the thread that compacts for the next
    /// time.
    fn kcompactd_helps_those_who_cannot_wait() {
        set_compaction_proactiveness(0);
        let objects = scattered();
        let order = Order::new(9).expect("an order");
        let now = || alloc_pages(Gfp::GFP_NOWAIT, order);
        let blocks: Vec<_> = core::iter::from_fn(now).collect();
        let mut helped = None;
        for _ in 0..500 {
            helped = now();
            if helped.is_some() {
                break;
            }
            msleep(20);
        }
        // SAFETY: allocated here, and nobody uses it any more.
        unsafe { free_pages(helped.expect("a block, when the thread has run"), order) };
        // SAFETY: allocated here, and nobody uses it any more.
        blocks.into_iter().for_each(|block| unsafe { free_pages(block, order) });
        objects.check();
    }

    /// The thread compacts without a request once memory is fragmented.
    fn kcompactd_compacts_unasked() {
        set_compaction_proactiveness(0);
        let objects = scattered();
        let before = fragmentation_score(NodeId::FIRST);
        assert!(before > 90, "{before}");
        set_compaction_proactiveness(20);
        let mut score = before;
        for _ in 0..2000 {
            score = fragmentation_score(NodeId::FIRST);
            // The pages that are being moved count when they are let go.
            if score <= 85 {
                break;
            }
            msleep(20);
        }
        assert!(score <= 85, "the score went from {before} to {score}");
        objects.check();
    }

    /// Allocates blocks after the ageing trace: at least 95 % of what is free and movable can be
    /// had as blocks, though a seventh of memory is the kernel's own; and it is most of what is
    /// free, because those pages lie together.
    fn after_an_ageing_trace() {
        for seed in [DEFAULT_SEED, 7, 0xdead_beef] {
            let aged = Fragmented::new(seed, With::PAGES).expect("memory for the lists");
            let order = Order::new(9).expect("an order");
            let census = census();
            let before = ContigPageInfo::of(zone(), order).unusable_free_index();
            let most = census.free_and_movable >> order.get();
            let blocks = take_all(MOVABLE, order);
            granule::kprintln!(
                "{} kernel pages, unusable before {before}/1000, {} of {most} blocks, {census:?}",
                aged.kernel_pages(), blocks.len()
            );
            aged.objects.check();
            assert!(aged.kernel_pages() * 10 > census.pageblocks * order.pages());
            assert!(before > 700, "memory is scattered");
            assert!(blocks.len() as u32 * 100 >= most * 95, "{} of {most}", blocks.len());
            assert!(census.free_and_movable * 4 > census.free * 3, "{census:?}");
            give_back(blocks, order);
        }
    }

    /// The trace is hard on who doesn't keep kinds apart: there is a page that can't be moved
    /// in nearly all pageblocks.
    fn after_an_ageing_trace_without_migratetypes() {
        let with = With { migratetypes: false, ..With::PAGES };
        let aged = Fragmented::new(DEFAULT_SEED, with).expect("memory for the lists");
        let census = census();
        granule::kprintln!("{census:?}");
        assert!(census.emptiable * 10 < census.pageblocks, "{census:?}");
        let order = Order::new(9).expect("an order");
        let blocks = take_all(MOVABLE, order);
        aged.objects.check();
        assert!(blocks.len() as u32 <= census.free / 4 / order.pages(), "{}", blocks.len());
        give_back(blocks, order);
    }

    /// Fragmented memory keeps to its share; unmovable, reclaimable and movable pages and
    /// objects of slabs stay. The harness checks that all are freed.
    fn a_fragmented_machine() {
        let free = free_pages_now();
        let figures = || {
            let aged = fragment(7, 50).expect("memory for the lists");
            aged.objects.check();
            assert_eq!(compaction_proactiveness(), 0);
            let of = |name: &str| slabinfo().find(|info| info.name == name).expect("it is there");
            let caches = [of("kmalloc-2k"), of("kmalloc-rcl-1k")];
            let census = census();
            let used = free - free_pages_now();
            (aged.kernel_pages(), aged.slab_objects(), aged.movable_pages(), caches, census, used)
        };
        set_compaction_proactiveness(20);
        let first = figures();
        let (pages, small, movable, caches, census, used) = &first;
        granule::kprintln!("{first:?}");
        assert!((free / 4..free / 2).contains(used), "{used} of {free}");
        assert!(*pages * 20 > *used && *movable as u32 * 2 > *used && *small > 1000, "{used}");
        assert!(caches.iter().all(|cache| cache.active_objects > 100), "{caches:?}");
        assert!(census.emptiable < census.pageblocks);
        assert_eq!(compaction_proactiveness(), 20);
    }
}
