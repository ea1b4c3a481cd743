//! Cost of kmalloc and vmalloc with many objects in use.

use crate::harness::Bench;
use core::hint::black_box;
use granule::addr::{Order, PAGE_SIZE};
use granule::arch::pgtable::KernelAttrs;
use granule::kprintln;
use granule::mm::alloc::KVVec;
use granule::mm::alloc_pages::alloc_pages;
use granule::mm::gfp::Gfp;
use granule::mm::slab::{kfree, kmalloc};
use granule::mm::vmalloc::{vfree, vmalloc, vmap};

/// Prints what a page of vmalloc takes with 100, 10,000 and 1,000,000 areas in use.
///
/// All areas map the same page, so that memory is needed for records and page tables alone.
/// They stay until the machine ends: taking a million down again would take as long as all
/// other benchmarks.
fn vmalloc_by_live_areas(bench: &Bench) {
    let Some(frame) = alloc_pages(Gfp::GFP_KERNEL, Order::ZERO) else { return };
    let mut live = 0;
    if !bench.wants("vmalloc_4k_of_") {
        return;
    }
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
        bench.pair(name, || {
            if let Some(area) = black_box(vmalloc(PAGE_SIZE, Gfp::GFP_KERNEL)) {
                // SAFETY: allocated just now, and nobody uses it.
                unsafe { vfree(area) };
            }
        });
    }
}

/// Replaces objects in a random order while so many are live, a run at a time: what one
/// free and one allocation take.
fn kmalloc_by_live_objects(bench: &Bench, name: &str, live: usize) {
    /// Objects that are freed before as many are allocated.
    const RUN: usize = 100;
    /// Runs of a round.
    const RUNS: usize = 64;
    if !bench.wants(name) {
        return;
    }
    let Ok(mut all) = KVVec::with_capacity(live, Gfp::GFP_KERNEL) else { return };
    while all.len() < live
        && let Some(object) = kmalloc(64, Gfp::GFP_KERNEL)
    {
        // There is room for all.
        let _ = all.push_within_capacity(object);
    }
    let mut state = 1u32;
    bench.work(name, RUN * RUNS, || {
        for _ in 0..RUNS {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            // Steps of an odd number reach far apart objects, none of them twice.
            let place = |n: usize| ((state >> 8) as usize + n * 7919) % live;
            for n in 0..RUN {
                // SAFETY: each is allocated, and is replaced below.
                unsafe { kfree(all[place(n)].as_ptr()) }
            }
            for n in 0..RUN {
                if let Some(object) = kmalloc(64, Gfp::GFP_KERNEL) {
                    all[place(n)] = object;
                }
            }
        }
    });
    for object in all {
        // SAFETY: allocated, and nobody else's.
        unsafe { kfree(object.as_ptr()) }
    }
}

/// All of this file. The areas of vmalloc stay.
pub fn run(bench: &Bench) {
    kmalloc_by_live_objects(bench, "kmalloc_64_live_100", 100);
    kmalloc_by_live_objects(bench, "kmalloc_64_live_10000", 10_000);
    kmalloc_by_live_objects(bench, "kmalloc_64_live_1000000", 1_000_000);
    vmalloc_by_live_areas(bench);
}
