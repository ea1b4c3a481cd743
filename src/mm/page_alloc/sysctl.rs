//! Setting watermarks and reserves while the kernel runs (Linux: the vm.* sysctls of
//! mm/page_alloc.c). Each at boot, or while no other CPU allocates.
#![deny(unsafe_code)]

use super::setup_watermarks;
use crate::mm::mmzone::{self, MAX_NR_ZONES};

/// Keeps the watermarks of a zone `factor` 10000ths of it apart, 1 to 3000, where that is
/// more than a quarter of min; 10 at first (Linux: vm.watermark_scale_factor).
pub fn set_watermark_scale_factor(factor: u32) {
    mmzone::set_scale_factor(factor);
    setup_watermarks();
}

/// Keeps 1/n of the wider zones' pages of a node back in its zones of each kind, from
/// allocations that could go there; 0 for nothing. 256, 256, 32 and 0 at first (Linux:
/// vm.lowmem_reserve_ratio).
pub fn set_lowmem_reserve_ratio(ratio: [u32; MAX_NR_ZONES]) {
    mmzone::set_reserve_ratio(ratio);
    setup_watermarks();
}
