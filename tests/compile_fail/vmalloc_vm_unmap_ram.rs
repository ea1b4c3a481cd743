//! `vm_unmap_ram`: takes away a mapping that others use.
#![no_std]
#![forbid(unsafe_code)]

use granule::addr::VirtAddr;
use granule::mm::vmalloc;

pub fn unmap(at: VirtAddr) {
    vmalloc::vm_unmap_ram(at, 1); //~ E0133
}
