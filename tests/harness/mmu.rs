//! Asks the MMU itself, by AT S1E1R and AT S1E1W, what an access would do.

use core::arch::asm;
use granule::addr::{PhysAddr, VirtAddr};

/// PAR_EL1.F: the translation failed.
const FAULT: u64 = 1;
/// PAR_EL1.PA.
const PA: u64 = 0x000f_ffff_ffff_f000;

fn physical(va: VirtAddr, par: u64) -> Option<PhysAddr> {
    (par & FAULT == 0).then(|| PhysAddr::new((par & PA) + va.page_offset() as u64))
}

/// Translates a read at `va`; `None` if it would fault.
pub fn read_at(va: VirtAddr) -> Option<PhysAddr> {
    let par: u64;
    // SAFETY: translates an address and changes nothing but PAR_EL1.
    unsafe {
        asm!("at s1e1r, {va}", "isb", "mrs {par}, par_el1", va = in(reg) va.get(), par = out(reg) par,
            options(nostack, preserves_flags));
    }
    physical(va, par)
}

/// Translates a write at `va`; `None` if it would fault.
pub fn write_at(va: VirtAddr) -> Option<PhysAddr> {
    let par: u64;
    // SAFETY: as above.
    unsafe {
        asm!("at s1e1w, {va}", "isb", "mrs {par}, par_el1", va = in(reg) va.get(), par = out(reg) par,
            options(nostack, preserves_flags));
    }
    physical(va, par)
}
