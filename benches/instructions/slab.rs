//! The slab allocator.

use crate::batch_names;
use crate::harness::{Bench, OPERATIONS, slots};
use core::hint::black_box;
use core::ptr::NonNull;
use granule::mm::gfp::Gfp;
use granule::mm::slab::{kfree, kmalloc, kzalloc};

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
}
