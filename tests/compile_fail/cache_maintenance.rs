//! `cache::dcache_inval_poc` and its siblings: what was written and is not in memory yet is lost, or unmapped memory faults.
#![no_std]
#![forbid(unsafe_code)]

use granule::addr::{PhysRange, VirtAddr};
use granule::arch::cache::{dcache_clean_inval_poc_at, dcache_clean_poc, dcache_inval_poc};

pub fn any(ram: PhysRange, va: VirtAddr) {
    dcache_inval_poc(ram); //~ E0133
    dcache_clean_poc(ram); //~ E0133
    dcache_clean_inval_poc_at(va, ram); //~ E0133
}
