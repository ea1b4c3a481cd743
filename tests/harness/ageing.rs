//! Memory as use leaves it (`workload`), and what of it can be had as large blocks.

#![allow(dead_code, reason = "not every image uses all of it")]

use alloc::vec::Vec;
use granule::addr::{Order, Pfn};
use granule::mm::alloc_pages::alloc_pages;
use granule::mm::gfp::Gfp;
use granule::mm::migrate::is_movable;
use granule::mm::mmzone::ZoneId;
use granule::mm::page::Frame;
use granule::mm::page_alloc::{State, drain_all_pages, free_pages, state_of, zones};

pub use granule::workload::{Fragmented, With};

pub const MOVABLE: Gfp = Gfp::GFP_HIGHUSER_MOVABLE.union(Gfp::__GFP_NOWARN);
pub const KERNEL: Gfp = Gfp::GFP_KERNEL.union(Gfp::__GFP_NOWARN);

/// The first zone, which is the only one on machines of less than 3 GiB.
pub fn zone() -> ZoneId {
    zones().next().expect("a zone").id
}

pub fn free_pages_now() -> u32 {
    zones().map(|zone| zone.free()).sum()
}

/// Count of the memory that could be allocated as whole pageblocks.
#[derive(Clone, Copy, Debug)]
pub struct Census {
    /// Free pages.
    pub free: u32,
    /// Pageblocks.
    pub pageblocks: u32,
    /// Pageblocks among them that could be emptied: none of their pages is in use except by an
    /// owner who can move it.
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
    // SAFETY: allocated here, and nobody uses it any more.
    blocks.into_iter().for_each(|block| unsafe { free_pages(block, order) });
}
