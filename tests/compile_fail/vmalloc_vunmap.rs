//! `vunmap`: takes away a mapping that others use.
#![no_std]
#![forbid(unsafe_code)]

use granule::addr::VirtAddr;
use granule::mm::vmalloc;

pub fn unmap(at: VirtAddr) {
    vmalloc::vunmap(at); //~ E0133
}
