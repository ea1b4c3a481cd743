//! vmalloc and vfree with many areas in use.

use super::bench;
use core::hint::black_box;
use granule::addr::{Order, PAGE_SIZE};
use granule::arch::pgtable::KernelAttrs;
use granule::kprintln;
use granule::mm::gfp::Gfp;
use granule::mm::page_alloc::alloc_pages;
use granule::mm::vmalloc::{vfree, vmalloc, vmap};

/// Prints what a page of vmalloc takes with 100, 10,000 and 1,000,000 areas in use.
///
/// All areas map the same page, so that memory is needed for records and page tables alone.
/// They stay until the machine ends: taking a million down again would take as long as all
/// other benchmarks.
pub fn vmalloc_by_live_areas() {
    let Some(frame) = alloc_pages(Gfp::GFP_KERNEL, Order::ZERO) else { return };
    let mut live = 0;
    for (name, areas) in [
        ("vmalloc_4k_of_100", 100),
        ("vmalloc_4k_of_10000", 10_000),
        ("vmalloc_4k_of_1000000", 1_000_000),
    ] {
        while live < areas {
            if vmap(&[frame; 2], KernelAttrs::KERNEL_RO).is_none() {
                kprintln!("error: no memory for {areas} areas");
                return;
            }
            live += 1;
        }
        bench(name, || {
            if let Some(area) = black_box(vmalloc(PAGE_SIZE, Gfp::GFP_KERNEL)) {
                vfree(area);
            }
        });
    }
}
