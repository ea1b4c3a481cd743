//! `init_mm::unmap`, `unmap_pages`, `unmap_cached` and `unmap_mapped`: take away what others use.
#![no_std]
#![forbid(unsafe_code)]

use granule::addr::VirtRange;
use granule::arch::irq::with_masked;
use granule::mm::init_mm::{self, TlbFlush};

pub fn unmap(va: VirtRange) {
    let owed;
    owed = init_mm::unmap(va); //~ E0133
    owed.flush();
}

pub fn unmap_some(va: VirtRange, owed: &mut TlbFlush) {
    with_masked(|irq| {
        init_mm::unmap_pages(irq, va.start(), 1, owed); //~ E0133
        init_mm::unmap_cached(irq, va.start(), 1, owed); //~ E0133
        init_mm::unmap_mapped(irq, va.start(), 1, owed); //~ E0133
    });
}

pub fn free_tables(va: VirtRange) {
    init_mm::free_tables(va); //~ E0133
}
