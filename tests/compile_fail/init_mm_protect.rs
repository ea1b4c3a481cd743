//! `init_mm::protect` and `change`: text and .rodata would become writable.
#![no_std]
#![forbid(unsafe_code)]

use granule::addr::VirtRange;
use granule::arch::pgtable::KernelAttrs;
use granule::mm::init_mm;

pub fn protect(va: VirtRange) {
    let owed;
    owed = init_mm::protect(va, KernelAttrs::KERNEL); //~ E0133
    let _ = owed;
    let owed;
    owed = init_mm::change(va, Some); //~ E0133
    let _ = owed;
}
