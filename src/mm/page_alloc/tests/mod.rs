//! The allocator on small machines, against what it promises and against a model.

mod api;
mod bulk;
mod chain;
mod contig;
mod fallback;
mod gfp;
mod hotplug;
mod hotplug_faults;
mod hotplug_model;
mod isolation;
mod memmap;
mod misuse;
mod model;
mod numa;
mod owned;
mod pcp_lists;
mod poison;
mod report;
mod sections;
mod sixteen_nodes;
mod spare;
mod sysctl;

use super::*;
// The policy itself, beneath the raw layer: misuse is part of what is tested.
use super::bulk::free_pages_exact;
use super::chain::free_pages_chain;
use super::compound::{put_page, split_page};
use super::contig::free_contig_range;
use super::free_block as free_pages;
use super::listed::free_pcp;
use crate::addr::{Pfn, PhysAddr, PhysRange};
use crate::arch::CpuId;
use crate::arch::hosted::Machine;
use crate::mm::alloc_pages::{
    FailPageAlloc, alloc_pages, alloc_pages_bulk, alloc_pages_exact, alloc_pages_node,
    set_fail_page_alloc,
};
use crate::mm::contig::alloc_contig_range;
use crate::mm::mmzone::Migratetype;
use crate::mm::page::{REFCOUNT_MAX, REFCOUNT_SATURATED};
use crate::mm::validate::validate;
use sections::on_three_nodes;
use std::format;
use std::vec::Vec;

const MIB: u64 = 1 << 20;
const KERNEL: Gfp = Gfp::GFP_KERNEL;
const MOVABLE: Gfp = Gfp::GFP_HIGHUSER_MOVABLE;

fn order(n: u8) -> Order {
    Order::new(n).unwrap()
}

/// `size` bytes of RAM at `start`.
fn ram(start: u64, size: u64) -> PhysRange {
    PhysRange::from_size(PhysAddr::new(start), size)
}

fn frames(start: u64, size: u64) -> PfnRange {
    ram(start, size).whole_pages()
}

/// Runs `f` on a machine with this RAM, all of it free, and checks all at the end.
fn on(ranges: &[PhysRange], f: impl FnOnce(&Machine)) {
    Machine::run(ranges, |m| {
        init(ranges);
        check_sums();
        f(m);
        check_sums();
    });
}

/// Every invariant, and the sums to the page.
fn check_sums() {
    if let Err(invalid) = validate() {
        panic!("{invalid}");
    }
    for zone in zones() {
        assert_eq!(zone.present, zone.managed + zone.reserved(), "{zone}");
        assert_eq!(zone.managed, zone.free() + zone.used(), "{zone}");
        let blocks: u32 = Order::ZERO.and_up().map(|o| zone.blocks(o) * o.pages()).sum();
        assert_eq!(blocks, zone.buddy + zone.isolated, "{zone}");
    }
}

/// The bytes of a frame.
fn bytes(frame: Frame) -> &'static mut [u8; 4096] {
    let at = core::ptr::with_exposed_provenance_mut(frame.virt().get());
    // SAFETY: tests look at frames that they own.
    unsafe { &mut *at }
}

/// Allocates blocks of `order` until there are none.
fn exhaust(gfp: Gfp, order: Order) -> Vec<Frame> {
    core::iter::from_fn(|| alloc_pages(gfp | Gfp::__GFP_NOWARN, order)).collect()
}
