//! Allocation of pages (Linux: alloc_pages of mm/page_alloc.c).
//!
//! Read from here on: [`alloc_pages`] takes a block off this CPU's own lists (`page_alloc/pcp.rs`);
//! where they have none, `slowpath` goes through the zones (`page_alloc/buddy.rs`), and reclaims
//! and compacts where those are short.
//!
//! | file | contents |
//! | --- | --- |
//! | `slowpath` | which zone, how deep into its reserves, what to try when all fails |
//! | `report` | the report of an allocation that failed |
//! | `fail` | which allocations fail on purpose |
//! | `bulk`, `exact` | several pages at once, and sizes that are no power of two |
//! | `owned` | pages that give themselves back |
//!
//! [`super::page_alloc`] has the lists, and frees. It never reclaims.
//!
//! Lock order: none is held here.
#![deny(unsafe_code)]

mod bulk;
#[expect(unsafe_code, reason = "frees what it has just allocated")]
mod exact;
mod fail;
#[expect(unsafe_code, reason = "owns what it has just allocated")]
mod owned;
mod report;
mod slowpath;

pub use bulk::alloc_pages_bulk;
pub use exact::alloc_pages_exact;
pub use fail::{FailPageAlloc, set_fail_page_alloc};

use crate::addr::Order;
use crate::arch::irq::with_masked;
use crate::mm::gfp::{Gfp, might_alloc};
use crate::mm::mmzone::NodeId;
use crate::mm::page::Frame;
use crate::mm::page_alloc::{dress_new_page, numa_node_id, pcp};

/// Allocates 2^order contiguous frames, aligned to as much, and returns the first, with
/// one reference; `None` where memory is short of what `gfp` may use. Any context as
/// `gfp` says: without `__GFP_DIRECT_RECLAIM` from interrupt handlers and under locks of
/// lower rank than `Rank::Section` too (Linux: alloc_pages).
///
/// Orders 0 to 5 and 9 come from this CPU's own lists without a lock or an atomic
/// instruction; the watermarks are looked at when those are refilled.
///
/// # Panics
/// With debug assertions, where `gfp` allows to sleep while interrupts are masked.
#[inline]
#[track_caller]
pub fn alloc_pages(gfp: Gfp, order: Order) -> Option<Frame> {
    might_alloc(gfp);
    if pcp::has_lists(order)
        && !gfp.contains(Gfp::__GFP_THISNODE)
        && let Some(frame) = with_masked(|irq| pcp::alloc_fast(irq, gfp, order))
    {
        // Where others are to be told, nothing comes this way.
        dress_new_page(frame, order, gfp, || ());
        return Some(frame);
    }
    slowpath::alloc(gfp, order)
}

/// Allocates as [`alloc_pages`] does, from the memory of `node` first, and with `__GFP_THISNODE`
/// only from it (Linux: alloc_pages_node).
///
/// # Panics
/// As [`alloc_pages`].
#[track_caller]
pub fn alloc_pages_node(node: NodeId, gfp: Gfp, order: Order) -> Option<Frame> {
    if node == numa_node_id() {
        return alloc_pages(gfp, order);
    }
    might_alloc(gfp);
    slowpath::alloc_on(node, gfp, order)
}
