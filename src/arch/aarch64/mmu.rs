//! Barriers and TLB invalidation.

use crate::addr::VirtAddr;
use core::arch::asm;
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};

macro_rules! op {
    ($name:ident, $text:literal) => {
        #[doc = $text]
        #[inline(always)]
        pub fn $name() {
            // SAFETY: a barrier or an invalidation, which loses nothing.
            unsafe { asm!($text, options(nostack, preserves_flags)) }
        }
    };
}
op!(dsb_ishst, "dsb ishst");
op!(dsb_ish, "dsb ish");
op!(isb, "isb");
op!(tlbi_vmalle1is, "tlbi vmalle1is");

/// tlbi vaale1is
#[inline(always)]
pub fn tlbi_vaale1is(va: VirtAddr) {
    let operand = va.get() as u64 >> 12 & ((1 << 44) - 1);
    // SAFETY: an invalidation loses nothing.
    unsafe { asm!("tlbi vaale1is, {}", in(reg) operand, options(nostack, preserves_flags)) }
}

static RANGE: AtomicBool = AtomicBool::new(false);
/// FEAT_TLBIRANGE.
pub fn set_tlb_range(there: bool) {
    RANGE.store(there, Relaxed);
}
