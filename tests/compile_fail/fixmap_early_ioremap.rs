//! `fixmap::early_ioremap` and `early_iounmap`: a slot that is in use could be taken away.
#![no_std]
#![forbid(unsafe_code)]

use granule::addr::{PhysRange, VirtAddr};
use granule::arch::fixmap;
use granule::arch::pgtable::KernelAttrs;

pub fn map(range: PhysRange) {
    let device = KernelAttrs::DEVICE;
    fixmap::early_ioremap(range, device); //~ E0133
}

pub fn unmap(va: VirtAddr) {
    fixmap::early_iounmap(va); //~ E0133
}

pub fn unmap_the_tree() {
    fixmap::unmap_fdt(); //~ E0133 E0603
}
