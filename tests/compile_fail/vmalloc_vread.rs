//! `vread`: reads the stack of a thread while it runs.
#![no_std]
#![forbid(unsafe_code)]

use granule::addr::VirtAddr;
use granule::mm::vmalloc;

pub fn read(at: VirtAddr, buffer: &mut [u8]) {
    let found;
    found = vmalloc::vread(at, buffer); //~ E0133
    let _ = found;
}
