//! Allocations that fail, each in turn, on the running kernel.
//!
//! Command line: cma=16M

#![no_std]
#![no_main]

extern crate alloc;

mod harness;
#[path = "harness/scenario.rs"]
mod scenario;

use alloc::vec::Vec;
use granule as root;
use granule::addr::Order;
use granule::arch::CpuId;
use granule::arch::irq::with_masked;
use granule::dma;
use granule::init::secondary;
use granule::mm::alloc_pages::{FailPageAlloc, set_fail_page_alloc};
use granule::mm::compaction::set_compaction_proactiveness;
use granule::mm::kthread::{kthread_create_on_cpu, kthread_run};
use granule::mm::slab::{RawCache, SlabFlags, kmem_cache_create, kmem_cache_destroy};
use granule::mm::{page_alloc, percpu, slab};
use scenario::{Failing, had};

/// Calls that only the kernel has: its own heap, and threads.
fn extras() -> Option<()> {
    let mut vectors: [Vec<u8>; 3] = [const { Vec::new() }; 3];
    for (vector, size) in vectors.iter_mut().zip([100, 5000, 150_000]) {
        vector.try_reserve_exact(size).ok()?;
        vector.resize(size.min(5000), 1);
        vector.try_reserve(2 * size).ok()?;
    }
    let thread = had("kthread_run", kthread_run("scenario", || 7)).ok()?;
    let stopped = kthread_create_on_cpu("never ran", CpuId::BOOT, || 8);
    let stopped = had("kthread_create_on_cpu", stopped).ok();
    assert_eq!(thread.join(), 7);
    stopped?.stop();
    Some(())
}

fn give_up_caches(_: CpuId) {
    slab::shrink_all();
    with_masked(page_alloc::drain_local_pages);
}

fn settle() {
    dma::shrink();
    percpu::shrink();
    harness::settled_pages();
    secondary::on_each(give_up_caches);
    harness::settled_pages();
}

/// Creates caches for as long as there are places for them: one more needs a page.
fn fill_places() -> Vec<&'static RawCache> {
    let mut caches = Vec::with_capacity(100);
    let (skip, interval, times, min_order) = (0, 1, u32::MAX, Order::ZERO);
    set_fail_page_alloc(Some(FailPageAlloc { skip, interval, times, min_order }));
    while caches.len() < caches.capacity()
        && let Ok(cache) = kmem_cache_create("filler", 1300, 64, SlabFlags::NO_MERGE, None)
    {
        caches.push(cache);
    }
    set_fail_page_alloc(None);
    assert!(caches.len() < caches.capacity(), "caches need no memory");
    caches
}

/// Threads in the background would be failed in the scenario's place.
fn in_peace(failing: Failing) {
    let caches = fill_places();
    set_compaction_proactiveness(0);
    scenario::fail_each_call(failing);
    set_compaction_proactiveness(20);
    for cache in caches {
        // SAFETY: created above, without objects, and known to nobody else.
        unsafe { kmem_cache_destroy(cache) }.expect("it has no objects");
    }
}

kernel_tests! {
    fn each_allocation_fails_and_nothing_is_lost() {
        in_peace(Failing::Pages);
    }

    fn each_object_fails_and_nothing_is_lost() {
        in_peace(Failing::Objects);
    }
}
