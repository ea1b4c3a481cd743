//! Large blocks on a machine whose memory is scattered.

#![no_std]
#![no_main]

extern crate alloc;

mod harness;

use alloc::vec::Vec;
use granule::addr::{Order, PAGE_SIZE, Pfn};
use granule::mm::compaction::{
    ContigPageInfo, compact_stat, fragmentation_score, set_compaction_proactiveness,
};
use granule::mm::gfp::Gfp;
use granule::mm::migrate::is_movable;
use granule::mm::mmzone::{NodeId, ZoneId};
use granule::mm::page::Frame;
use granule::mm::page_alloc::{State, alloc_pages, drain_all_pages, free_pages, state_of, zones};
use granule::mm::zsmalloc::{ZsHandle, ZsPool};
use granule::sched::msleep;
use harness::Random;

const MOVABLE: Gfp = Gfp::GFP_HIGHUSER_MOVABLE.union(Gfp::__GFP_NOWARN);
const KERNEL: Gfp = Gfp::GFP_KERNEL.union(Gfp::__GFP_NOWARN);

/// Objects of a page each, which say their number.
struct Objects {
    pool: ZsPool,
    all: Vec<(u64, ZsHandle)>,
    next: u64,
}

impl Objects {
    fn new() -> Self {
        // There will be no memory left for it to grow.
        let all = Vec::with_capacity(free_pages_now() as usize);
        Self { pool: ZsPool::new().expect("a pool"), all, next: 0 }
    }

    fn add(&mut self) -> bool {
        let Some(object) = self.pool.malloc(PAGE_SIZE, MOVABLE) else { return false };
        let number = self.next;
        self.next += 1;
        self.pool.with(object, |bytes| {
            bytes[..8].copy_from_slice(&number.to_le_bytes());
            bytes[PAGE_SIZE - 8..].copy_from_slice(&number.to_le_bytes());
        });
        self.all.push((number, object));
        true
    }

    fn remove(&mut self, which: usize) {
        let (_, object) = self.all.swap_remove(which % self.all.len());
        self.pool.free(object);
    }

    fn check(&self) {
        for &(number, object) in &self.all {
            self.pool.with(object, |bytes| {
                assert_eq!(bytes[..8], number.to_le_bytes(), "object {number} was lost");
                assert_eq!(bytes[PAGE_SIZE - 8..], number.to_le_bytes());
            });
        }
    }
}

/// Memory filled to the last page with movable ones, of which half goes, spread evenly:
/// not two free pages are neighbours.
fn scattered() -> Objects {
    let mut objects = Objects::new();
    while objects.add() {}
    let pool = &objects.pool;
    objects.all.retain(|&(_, object)| {
        let stays = !pool.frame(object).pfn().get().is_multiple_of(2);
        if !stays {
            pool.free(object);
        }
        stays
    });
    objects
}

fn zone() -> ZoneId {
    zones().next().expect("a zone").id
}

fn free_pages_now() -> u32 {
    zones().map(|zone| zone.free()).sum()
}

/// Free pages of the pageblocks that can be emptied: what is in use there can be moved.
fn free_and_movable() -> u32 {
    drain_all_pages();
    let span = zones().next().expect("a zone").spanned;
    let mut sum = 0;
    for start in (span.start().get()..span.end().get()).step_by(512) {
        let (mut free, mut held) = (0, false);
        for frame in (start..start + 512).filter_map(|pfn| Frame::new(Pfn::new(pfn))) {
            match state_of(frame) {
                State::Free { .. } => free += 1,
                _ => held |= !is_movable(frame),
            }
        }
        sum += if held { 0 } else { free };
    }
    sum
}

fn take_all(gfp: Gfp, order: Order) -> Vec<Frame> {
    core::iter::from_fn(|| alloc_pages(gfp, order)).collect()
}

fn give_back(blocks: Vec<Frame>, order: Order) {
    blocks.into_iter().for_each(|block| free_pages(block, order));
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

    /// Who can't wait gets nothing, and wakes the thread that sees to it for the next time.
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
        free_pages(helped.expect("a block, when the thread has run"), order);
        blocks.into_iter().for_each(|block| free_pages(block, order));
        objects.check();
    }

    /// Nobody asks for a block; the thread sees that memory is scattered.
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

    /// An ageing trace: rounds of random allocations and frees, movable and not, large and
    /// small, that leave memory half full. What can be had as blocks afterwards is at least
    /// 95 % of what is free and movable.
    fn after_an_ageing_trace() {
        set_compaction_proactiveness(0);
        let mut random = Random::new(20_261_121);
        let mut objects = Objects::new();
        let mut kernel: Vec<(Frame, Order)> = Vec::with_capacity(1 << 16);
        let all = free_pages_now();
        for round in 0..20 {
            let full = all / 100 * if round % 2 == 0 { 95 } else { 50 };
            while all - free_pages_now() < full {
                match random.below(16) {
                    0 if kernel.len() < kernel.capacity() => {
                        let order = Order::new(random.below(4) as u8).expect("an order");
                        if let Some(frame) = alloc_pages(KERNEL, order) {
                            kernel.push((frame, order));
                        }
                    }
                    _ => if !objects.add() { break },
                }
            }
            let floor = all / 100 * 50;
            while all - free_pages_now() > floor && !objects.all.is_empty() {
                let which = random.below(usize::MAX);
                if random.below(12) == 0 && !kernel.is_empty() {
                    let (frame, order) = kernel.swap_remove(which % kernel.len());
                    free_pages(frame, order);
                } else {
                    objects.remove(which);
                }
            }
        }
        let order = Order::new(9).expect("an order");
        let before = ContigPageInfo::of(zone(), order);
        let free = free_pages_now();
        let most = free_and_movable() >> order.get();
        let blocks = take_all(MOVABLE, order);
        granule::kprintln!(
            "unusable before {}/1000, {} of {most} blocks, {free} pages were free",
            before.unusable_free_index(), blocks.len()
        );
        objects.check();
        assert!(blocks.len() as u32 * 100 >= most * 95, "{} of {most}", blocks.len());
        give_back(blocks, order);
        kernel.into_iter().for_each(|(frame, order)| free_pages(frame, order));
    }
}
