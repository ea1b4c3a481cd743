//! Pairs and batches of the slab allocator, and how they stay flat.

use super::{bench, black_box, count_once, print};
use core::ptr::NonNull;
use granule::mm::alloc::KVVec;
use granule::mm::gfp::Gfp;
use granule::mm::mempool::SlabPool;
use granule::mm::slab::{
    RawCache, SlabFlags, kfree, kmalloc, kmem_cache_create, kmem_cache_destroy,
};

const K: Gfp = Gfp::GFP_KERNEL;

fn free(object: NonNull<u8>) {
    // SAFETY: the benchmarks free what they allocated, once.
    unsafe { kfree(object.as_ptr()) }
}

/// Objects of a batch, and its rounds after a warm-up.
const BATCH: usize = 1000;
const ROUNDS: u64 = 5;

/// Allocates a batch, then frees it: instructions for one of each.
fn batch(name: &str, alloc: impl Fn() -> Option<NonNull<u8>>, free: impl Fn(NonNull<u8>)) {
    let mut objects = [None; BATCH];
    let mut round = || {
        objects.fill_with(&alloc);
        objects.iter_mut().filter_map(Option::take).for_each(&free);
    };
    round();
    let took = count_once(|| (0..ROUNDS).for_each(|_| round()));
    print(name, took * 100 / (ROUNDS * BATCH as u64));
}

fn cache_of_104() -> Option<&'static RawCache> {
    kmem_cache_create("bench_104", 104, 8, SlabFlags::NO_MERGE, None).ok()
}

fn caches() {
    let Some(cache) = cache_of_104() else { return };
    bench("kmem_cache_104_pair", || {
        if let Some(object) = black_box(cache.alloc(K)) {
            // SAFETY: allocated just now.
            unsafe { cache.free(object) }
        }
    });
    // SAFETY: the benchmark frees what it allocated, once.
    batch("kmem_cache_104_batch", || cache.alloc(K), |object| unsafe { cache.free(object) });
    // SAFETY: the pool is dropped before the cache.
    if let Ok(pool) = unsafe { SlabPool::of_cache(16, cache) } {
        bench("mempool_slab_104_pair", || {
            if let Some(element) = black_box(pool.alloc(K)) {
                // SAFETY: allocated just now.
                unsafe { pool.free(element) }
            }
        });
    }
    // SAFETY: nobody else knows it.
    let _ = unsafe { kmem_cache_destroy(cache) };
    bench("kmem_cache_create_destroy", || {
        if let Some(cache) = black_box(cache_of_104()) {
            // SAFETY: nobody else knows it.
            let _ = unsafe { kmem_cache_destroy(cache) };
        }
    });
}

/// Replaces objects in a random order while so many are live: instructions for one.
fn flat(name: &str, live: usize) {
    /// Objects that are freed before as many are allocated.
    const RUN: usize = 256;
    let Ok(mut all) = KVVec::with_capacity(live, K) else { return };
    while all.len() < live
        && let Some(object) = kmalloc(64, K)
    {
        // There is room for all.
        let _ = all.push_within_capacity(object);
    }
    let mut state = 1u32;
    let mut replace = |runs: usize| {
        let run = RUN.min(live);
        for _ in 0..runs * (RUN / run) {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            // Steps of an odd number reach far apart objects, none of them twice.
            let place = |n: usize| ((state >> 8) as usize + n * 7919) % live;
            for n in 0..run {
                free(all[place(n)]);
            }
            for n in 0..run {
                if let Some(object) = kmalloc(64, K) {
                    all[place(n)] = object;
                }
            }
        }
    };
    replace(64);
    const RUNS: usize = 64;
    let took = count_once(|| replace(RUNS));
    let each = RUN.min(live) * (RUN / RUN.min(live));
    print(name, took * 100 / (RUNS * each) as u64);
    all.into_iter().for_each(free);
}

pub fn all() {
    let size = black_box(64);
    bench("kmalloc_64_run_time_size", || {
        if let Some(object) = black_box(kmalloc(black_box(size), K)) {
            free(object);
        }
    });
    batch("kmalloc_64_batch", || kmalloc(64, K), free);
    caches();
    flat("kmalloc_64_live_100", 100);
    flat("kmalloc_64_live_10000", 10_000);
    flat("kmalloc_64_live_1000000", 1_000_000);
}
