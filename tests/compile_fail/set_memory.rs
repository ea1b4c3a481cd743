//! `set_memory_*`: a change of memory in use ends the machine.
#![no_std]
#![forbid(unsafe_code)]

use granule::addr::VirtAddr;
use granule::mm::set_memory;

pub fn change(va: VirtAddr) -> [Result<(), set_memory::SetMemoryError>; 5] {
    [
        set_memory::set_memory_ro(va, 1), //~ E0133
        set_memory::set_memory_rw(va, 1), //~ E0133
        set_memory::set_memory_x(va, 1), //~ E0133
        set_memory::set_memory_nx(va, 1), //~ E0133
        set_memory::set_memory_valid(va, 1, false), //~ E0133
    ]
}
