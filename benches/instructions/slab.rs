//! The slab allocator: kmalloc, caches and pools.

use crate::batch_names;
use crate::harness::{Bench, OPERATIONS, slots};
use core::hint::black_box;
use core::ptr::NonNull;
use granule::addr::Order;
use granule::arch::irq::with_masked;
use granule::mm::gfp::Gfp;
use granule::mm::mempool::{KmallocPool, PagePool, SlabPool};
use granule::mm::slab::{
    RawCache, SlabFlags, kfree, kmalloc, kmem_cache_create, kmem_cache_destroy, krealloc, kzalloc,
};

const GFP: Gfp = Gfp::GFP_KERNEL;

fn free(object: NonNull<u8>) {
    // SAFETY: the benchmarks free what they allocated, once.
    unsafe { kfree(object.as_ptr()) }
}

/// kmalloc of a size known at compile time, a pair and a batch.
macro_rules! size {
    ($bench:expr, $slots:expr, $($size:literal)*) => {$(
        $bench.masked_pair(concat!("kmalloc_", $size, "_pair"), || {
            if let Some(object) = black_box(kmalloc($size, GFP)) {
                free(object);
            }
        });
        $bench.masked_batch(
            batch_names!("kmalloc_", $size),
            $slots,
            || kmalloc($size, GFP),
            free,
        );
    )*};
}

fn cache_of_104() -> Option<&'static RawCache> {
    kmem_cache_create("bench_104", 104, 8, SlabFlags::NO_MERGE, None).ok()
}

fn destroy(cache: &'static RawCache) {
    // SAFETY: nobody else knows it.
    assert_eq!(unsafe { kmem_cache_destroy(cache) }, Ok(()));
}

/// An object that grows to the next size class and is freed.
fn resized(bench: &Bench) {
    bench.masked_pair("krealloc_64_128_pair", || {
        if let Some(object) = kmalloc(64, GFP) {
            // SAFETY: allocated above; the old pointer is used no more.
            if let Some(object) = black_box(unsafe { krealloc(object.as_ptr(), 128, GFP) }) {
                free(object);
            }
        }
    });
}

/// 64 objects in one call, and freed in one; per object.
fn bulk(bench: &Bench, cache: &'static RawCache) {
    const N: usize = 64;
    const TIMES: usize = 100;
    with_masked(|_| {
        bench.work("kmem_cache_104_bulk64_pair_per_object", N * TIMES, || {
            let mut objects = [None; N];
            for _ in 0..TIMES {
                assert!(cache.alloc_bulk(GFP, black_box(&mut objects)), "memory is short");
                // SAFETY: no slot is `None`, as it said; the layouts are the same.
                let objects = unsafe { &*(&raw const objects).cast::<[NonNull<u8>; N]>() };
                // SAFETY: allocated above.
                unsafe { cache.free_bulk(objects) }
            }
        });
    });
}

/// Pools of kmalloc memory and of pages.
fn pools(bench: &Bench) {
    if let Ok(pool) = KmallocPool::of_size(16, 64) {
        bench.masked_pair("mempool_kmalloc_64_pair", || {
            if let Some(element) = black_box(pool.alloc(GFP)) {
                // SAFETY: allocated above.
                unsafe { pool.free(element) }
            }
        });
    }
    if let Ok(pool) = PagePool::of_order(16, Order::ZERO) {
        bench.masked_pair("mempool_page_o0_pair", || {
            if let Some(element) = black_box(pool.alloc(GFP)) {
                // SAFETY: allocated above.
                unsafe { pool.free(element) }
            }
        });
    }
}

fn caches(bench: &Bench, slots: &mut [Option<NonNull<u8>>]) {
    let Some(cache) = cache_of_104() else { return };
    // SAFETY: the benchmarks free what they allocated, once.
    let free = |object| unsafe { cache.free(object) };
    bench.masked_pair("kmem_cache_104_pair", || {
        if let Some(object) = black_box(cache.alloc(GFP)) {
            free(object);
        }
    });
    bench.masked_batch(batch_names!("kmem_cache_104"), slots, || cache.alloc(GFP), free);
    let mut many = self::slots(10_000);
    bench.masked_batch(batch_names!("kmem_cache_104_10k"), &mut many, || cache.alloc(GFP), free);
    drop(many);
    bench.masked_pair("kmem_cache_zalloc_104_pair", || {
        if let Some(object) = black_box(cache.zalloc(GFP)) {
            free(object);
        }
    });
    bulk(bench, cache);
    // SAFETY: the pool is dropped before the cache.
    if let Ok(pool) = unsafe { SlabPool::of_cache(16, cache) } {
        // SAFETY: allocated from it, freed once.
        let free = |element| unsafe { pool.free(element) };
        bench.masked_pair("mempool_slab_104_pair", || {
            if let Some(element) = black_box(pool.alloc(GFP)) {
                free(element);
            }
        });
        bench.masked_batch(batch_names!("mempool_slab_104"), slots, || pool.alloc(GFP), free);
    }
    destroy(cache);
    bench.pair_of("kmem_cache_create_destroy", 100, || {
        if let Some(cache) = black_box(cache_of_104()) {
            destroy(cache);
        }
    });
}

/// All of this file.
pub fn run(bench: &Bench) {
    let mut slots = slots(OPERATIONS);
    size!(bench, &mut slots, 8 16 32 64 96 128 192 256 512 1024 2048 4096 8192 65536);
    bench.masked_pair("kmalloc_64_runtime_size_pair", || {
        if let Some(object) = black_box(kmalloc(black_box(64), GFP)) {
            free(object);
        }
    });
    bench.masked_pair("kzalloc_64_pair", || {
        if let Some(object) = black_box(kzalloc(64, GFP)) {
            free(object);
        }
    });
    bench.masked_pair("kmalloc_64_account_pair", || {
        if let Some(object) = black_box(kmalloc(64, GFP | Gfp::__GFP_ACCOUNT)) {
            free(object);
        }
    });
    resized(bench);
    caches(bench, &mut slots);
    pools(bench);
}
