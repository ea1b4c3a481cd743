//! Memory that a device shares with the CPUs, for one that snoops their caches and reaches
//! all memory.

use crate::harness::{Bench, OPERATIONS};
use core::hint::black_box;
use granule::dma::{DmaDevice, dma_alloc_coherent, dma_free_coherent};
use granule::mm::gfp::Gfp;

const DEVICE: DmaDevice<'static> =
    DmaDevice { name: "benchmark", mask: u64::MAX, ranges: &[], coherent: true };

/// All of this file. What is allocated is filled with zeros, as Linux does it.
pub fn run(bench: &Bench) {
    for (name, size, ops) in [
        ("dma_alloc_coherent_1p_pair", 4 << 10, OPERATIONS),
        ("dma_alloc_coherent_256p_pair", 1 << 20, 100),
        ("dma_alloc_coherent_4096p_pair", 16 << 20, 20),
    ] {
        bench.pair_of(name, ops, || {
            if let Ok(memory) = black_box(dma_alloc_coherent(&DEVICE, size, Gfp::GFP_KERNEL)) {
                dma_free_coherent(memory);
            }
        });
    }
}
