//! `vfree`: frees an area under a `VVec`, or the own stack.
#![no_std]
#![forbid(unsafe_code)]

use granule::addr::VirtAddr;
use granule::mm::vmalloc;

pub fn free(at: VirtAddr) {
    vmalloc::vfree(at); //~ E0133
}
