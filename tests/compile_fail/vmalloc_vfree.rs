//! `vfree` and `vrealloc`: free an area under a `VVec`, or the own stack.
#![no_std]
#![forbid(unsafe_code)]

use granule::addr::VirtAddr;
use granule::mm::gfp::Gfp;
use granule::mm::vmalloc;

pub fn free(at: VirtAddr) {
    vmalloc::vfree(at); //~ E0133
}

pub fn resize(at: VirtAddr) -> Option<VirtAddr> {
    let new;
    new = vmalloc::vrealloc(at, 0, Gfp::GFP_KERNEL); //~ E0133
    new
}
