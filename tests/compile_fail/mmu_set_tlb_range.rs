//! `mmu::set_tlb_range(true)`: an undefined instruction on a CPU without FEAT_TLBIRANGE.
#![no_std]
#![forbid(unsafe_code)]

use granule::arch::mmu;

pub fn range() {
    mmu::dsb_ish();
    mmu::set_tlb_range(true); //~ E0603
    mmu::begin_bbm(); //~ E0603
}
