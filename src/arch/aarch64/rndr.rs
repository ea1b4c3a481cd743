//! RNDR: random numbers of the CPU's own (Arm ARM D24.2.149, FEAT_RNG).

use super::sysreg::{field, id_register};
use core::arch::asm;

/// ID_AA64ISAR0_EL1.RNDR.
const RNDR_SHIFT: u32 = 60;

/// A random number; `None` where the CPU has no generator, or it has none ready.
#[must_use]
pub fn rndr() -> Option<u64> {
    if field(id_register!("id_aa64isar0_el1"), RNDR_SHIFT) == 0 {
        return None;
    }
    let (value, given): (u64, u64);
    // SAFETY: reads RNDR, by its number since assemblers know the name only from Armv8.5 on;
    // the CPU has it. It sets the flags: Z where there was no number.
    unsafe {
        asm!("mrs {}, s3_3_c2_c4_0", "cset {}, ne", out(reg) value, out(reg) given,
            options(nomem, nostack));
    }
    (given != 0).then_some(value)
}
