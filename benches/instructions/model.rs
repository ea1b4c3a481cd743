//! Rows with known misses, for a test of the cache model (`scripts/test bench::cache`). One
//! operation reads one line, unless its name says otherwise. They run for `granule.bench=model`.

use crate::harness::Bench;
use alloc::vec::Vec;
use core::hint::black_box;
use granule::addr::PAGE_SIZE;
use granule::mm::alloc::VVec;
use granule::mm::gfp::Gfp;

const LINE: usize = 64;
/// The distance of lines in one set of a Cortex-A72's L1D: 256 sets.
const L1D_SET: usize = 16 << 10;
/// Twice the L2.
const BEYOND_L2: usize = 2 << 20;

/// Reads the lines at these offsets of `memory`, in this order.
fn read(memory: &[u8], offsets: impl Iterator<Item = usize>) {
    for offset in offsets {
        black_box(memory[offset]);
    }
}

/// Row of `n` reads a round.
fn row(bench: &Bench, name: &str, memory: &[u8], n: usize, offset: impl Fn(usize) -> usize) {
    bench.work(name, n, || read(memory, (0..n).map(&offset)));
}

/// A page of vmalloc, an entry of the TLB of its own.
fn page() -> Option<VVec<u8>> {
    let mut page = VVec::with_capacity(PAGE_SIZE, Gfp::GFP_KERNEL).ok()?;
    page.resize(PAGE_SIZE, 1, Gfp::GFP_KERNEL).ok()?;
    Some(page)
}

/// All of this file. Memory comes from the linear map, in one block of 4 MiB, and from vmalloc.
pub fn run(bench: &Bench) {
    let mut block = Vec::with_capacity(4 << 20);
    block.resize(4 << 20, 1u8);
    let skew = block.as_ptr().align_offset(BEYOND_L2);
    let memory = &block[skew..][..BEYOND_L2];
    row(bench, "model_in_l1", memory, 256, |i| i * LINE);
    row(bench, "model_in_l2", memory, 8192, |i| i * 5 % 8192 * LINE);
    row(bench, "model_one_set", memory, 300, |i| i % 3 * L1D_SET);
    let lines = BEYOND_L2 / LINE;
    row(bench, "model_in_order", memory, lines, |i| i * LINE);
    row(bench, "model_shuffled", memory, lines, |i| i * 7919 % lines * LINE);
    let pages: Vec<_> = (0..64).map_while(|_| page()).collect();
    assert_eq!(pages.len(), 64, "memory is short");
    // A set of its own in the L1D for each page.
    let read_page = |i: usize| {
        black_box(pages[i][i * LINE]);
    };
    bench.work("model_16_pages", 160, || (0..160).for_each(|i| read_page(i % 16)));
    bench.work("model_64_pages", 640, || (0..640).for_each(|i| read_page(i % 64)));
}
