//! `kmemleak_alloc` and `add_root`: kmemleak would scan memory that nobody keeps.
#![no_std]
#![forbid(unsafe_code)]

use granule::addr::{VirtAddr, VirtRange};
use granule::mm::debug;

pub fn watch(at: VirtAddr, range: VirtRange) {
    debug::kmemleak_ignore(at);
    debug::kmemleak::kmemleak_alloc(at, range.len(), 1); //~ E0603
    debug::add_root(range); //~ E0603
}
