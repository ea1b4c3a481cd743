//! An ageing trace: what months of use leave of memory, from a seed (after Linux's mmtests,
//! and Gorman, "Anti-fragmentation").
//!
//! Memory fills and empties in turns. Pages that can be moved come and go, and among them,
//! from the first turn to the last, pages of the kernel's own that can't be: some for a
//! moment, some for good. At the end memory is half empty, and a seventh of it the kernel's.
//! Where kinds are not kept apart there is such a page in nearly every pageblock.

#![allow(dead_code, reason = "not every image uses all of it")]

use super::Random;
use alloc::vec::Vec;
use granule::addr::{Order, PAGE_SIZE, Pfn};
use granule::mm::compaction::set_compaction_proactiveness;
use granule::mm::gfp::Gfp;
use granule::mm::migrate::is_movable;
use granule::mm::mmzone::ZoneId;
use granule::mm::page::Frame;
use granule::mm::page_alloc::{
    State, alloc_pages, drain_all_pages, free_pages, set_group_by_mobility, state_of, zones,
};
use granule::mm::zsmalloc::{ZsHandle, ZsPool};

pub const MOVABLE: Gfp = Gfp::GFP_HIGHUSER_MOVABLE.union(Gfp::__GFP_NOWARN);
pub const KERNEL: Gfp = Gfp::GFP_KERNEL.union(Gfp::__GFP_NOWARN);

/// Turns of filling and emptying.
const TURNS: usize = 20;
/// Percent of memory in use at the top of a turn, of odd ones and of even ones.
const FULL: [u32; 2] = [95, 70];
/// Percent in use when it ends.
const LEFT: u32 = 55;
/// Percent that are the kernel's own.
const KERNEL_SHARE: u32 = 15;

/// Objects of a page each, which say their number.
pub struct Objects {
    pub pool: ZsPool,
    pub all: Vec<(u64, ZsHandle)>,
    next: u64,
}

impl Objects {
    /// None so far.
    pub fn new() -> Self {
        // There will be no memory left for it to grow.
        let all = Vec::with_capacity(free_pages_now() as usize);
        Self { pool: ZsPool::new().expect("a pool"), all, next: 0 }
    }

    /// One more; whether there was memory.
    pub fn add(&mut self) -> bool {
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

    /// Panics if one was lost.
    pub fn check(&self) {
        for &(number, object) in &self.all {
            self.pool.with(object, |bytes| {
                assert_eq!(bytes[..8], number.to_le_bytes(), "object {number} was lost");
                assert_eq!(bytes[PAGE_SIZE - 8..], number.to_le_bytes());
            });
        }
    }
}

/// The same for who has no compaction: neither at once nor in the background.
const fn without_compaction(gfp: Gfp) -> Gfp {
    gfp.difference(Gfp::__GFP_IO).difference(Gfp::__GFP_KSWAPD_RECLAIM)
}

/// What of the machine's is used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct With {
    /// Kinds of pages are kept apart.
    pub migratetypes: bool,
    /// Memory is compacted when a block is wanted.
    pub compaction: bool,
}

impl With {
    /// All.
    pub const ALL: Self = Self { migratetypes: true, compaction: true };

    /// `gfp` of a request for a block.
    pub fn gfp(self, gfp: Gfp) -> Gfp {
        if self.compaction { gfp } else { without_compaction(gfp) }
    }
}

/// Memory after the trace.
pub struct Aged {
    pub objects: Objects,
    with: With,
    kernel: Vec<(Frame, Order)>,
    kernel_pages: u32,
}

impl Aged {
    /// Runs the trace. The same seed on the same machine leaves the same memory.
    pub fn new(seed: u64, with: With) -> Self {
        set_compaction_proactiveness(0);
        set_group_by_mobility(with.migratetypes);
        let objects = Objects::new();
        let all = free_pages_now();
        let kernel = Vec::with_capacity((all / 4) as usize);
        let mut aged = Self { objects, with, kernel, kernel_pages: 0 };
        let mut random = Random::new(seed);
        let in_use = || all - free_pages_now();
        for turn in 0..TURNS {
            while in_use() < all / 100 * FULL[turn % 2] && aged.allocate(&mut random, all) {}
            while in_use() > all / 100 * LEFT {
                aged.free(&mut random, all);
            }
        }
        aged
    }

    /// Pages that can't be moved.
    pub fn kernel_pages(&self) -> u32 {
        self.kernel_pages
    }

    fn allocate(&mut self, random: &mut Random, all: u32) -> bool {
        // More than its share at the top of a turn: it goes in proportion to all.
        if random.below(7) != 0 || self.kernel_pages > all / 100 * (KERNEL_SHARE + 5) {
            return self.objects.add();
        }
        let order = [0, 0, 0, 0, 0, 1, 2, 3][random.below(8)];
        let order = Order::new(order).expect("an order");
        let kind = if random.below(3) == 0 { Gfp::__GFP_RECLAIMABLE } else { Gfp::empty() };
        let frame = alloc_pages(self.with.gfp(KERNEL | kind), order);
        if let Some(frame) = frame {
            self.kernel.push((frame, order));
            self.kernel_pages += order.pages();
        }
        frame.is_some()
    }

    fn free(&mut self, random: &mut Random, all: u32) {
        let which = random.below(usize::MAX);
        let much = self.kernel_pages > all / 100 * KERNEL_SHARE;
        // One in twenty comes and goes whatever its share, as short-lived ones do.
        if self.kernel.is_empty() || !(much && random.below(5) == 0 || random.below(20) == 0) {
            return self.objects.remove(which);
        }
        let (frame, order) = self.kernel.swap_remove(which % self.kernel.len());
        self.kernel_pages -= order.pages();
        free_pages(frame, order);
    }
}

impl Drop for Aged {
    fn drop(&mut self) {
        for (frame, order) in self.kernel.drain(..) {
            free_pages(frame, order);
        }
        set_group_by_mobility(true);
    }
}

/// The first zone, which is the only one on machines of less than 3 GiB.
pub fn zone() -> ZoneId {
    zones().next().expect("a zone").id
}

pub fn free_pages_now() -> u32 {
    zones().map(|zone| zone.free()).sum()
}

/// What of memory could be had as whole pageblocks.
#[derive(Clone, Copy, Debug)]
pub struct Census {
    /// Free pages.
    pub free: u32,
    /// Pageblocks.
    pub pageblocks: u32,
    /// Those of them that could be emptied: no page of theirs is in use but by an owner who
    /// can move it.
    pub emptiable: u32,
    /// Free pages of the emptiable pageblocks: what is free and movable. Their pages in use
    /// can be packed, and fill as many pageblocks as they fill; the rest can be had whole. A
    /// free page beside one that stays is not counted, as no pageblock with it can be whole.
    pub free_and_movable: u32,
}

/// Looks at every frame.
pub fn census() -> Census {
    drain_all_pages();
    let span = zones().next().expect("a zone").spanned;
    let mut census = Census { free: 0, pageblocks: 0, emptiable: 0, free_and_movable: 0 };
    for start in (span.start().get()..span.end().get()).step_by(512) {
        let (mut free, mut held) = (0, false);
        for frame in (start..start + 512).filter_map(|pfn| Frame::new(Pfn::new(pfn))) {
            match state_of(frame) {
                State::Free { .. } => free += 1,
                _ => held |= !is_movable(frame),
            }
        }
        census.pageblocks += 1;
        census.free += free;
        if !held {
            census.emptiable += 1;
            census.free_and_movable += free;
        }
    }
    census
}

/// Allocates blocks until there are no more.
pub fn take_all(gfp: Gfp, order: Order) -> Vec<Frame> {
    core::iter::from_fn(|| alloc_pages(gfp, order)).collect()
}

pub fn give_back(blocks: Vec<Frame>, order: Order) {
    blocks.into_iter().for_each(|block| free_pages(block, order));
}
