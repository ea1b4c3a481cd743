//! Changes of the translation tables as a whole (Arm ARM D8.17).

use core::arch::asm;

/// Stops walks of the lower half: the identity map has served. Nothing of the kernel
/// lies there until processes come.
pub(super) fn drop_identity_map() {
    // SAFETY: the kernel runs in the upper half by now; EPD0 makes each access to the
    // lower half a fault, and the TLB forgets what it knew of it.
    unsafe {
        asm!(
            "mrs {t}, tcr_el1",
            "orr {t}, {t}, #(1 << 7)",
            "msr tcr_el1, {t}",
            "msr ttbr0_el1, xzr",
            "isb",
            "tlbi vmalle1",
            "dsb nsh",
            "isb",
            t = out(reg) _,
            options(nostack)
        );
    }
}
