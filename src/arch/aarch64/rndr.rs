//! RNDR: random numbers of the CPU's own (Arm ARM D24.2.149, FEAT_RNG).

use super::sysreg;
use aarch64_cpu::registers::{ID_AA64ISAR0_EL1, Readable};

/// A random number; `None` where the CPU has no generator, or it has none ready.
#[must_use]
pub fn rndr() -> Option<u64> {
    if !ID_AA64ISAR0_EL1.is_set(ID_AA64ISAR0_EL1::RNDR) {
        return None;
    }
    sysreg::random_number()
}
