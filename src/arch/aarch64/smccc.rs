//! Calls of firmware and hypervisor: the SMC Calling Convention (Arm DEN 0028).
//!
//! What answers is not known before it has: the device tree may name a conduit that leads
//! nowhere. An instruction that is undefined here (there is no EL3, or no EL2, or what runs
//! there has switched it off) is as a call that is not known; so is a call that ends in this
//! kernel's own vectors at EL2 or EL3, where it was entered there (vectors.S).

use super::extable::ex_table_entry;
use core::arch::asm;

/// Instruction that makes a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Conduit {
    /// HVC, to EL2.
    Hvc,
    /// SMC, to EL3.
    Smc,
}

macro_rules! call {
    ($instruction:literal, $function:expr, $args:expr) => {{
        let [x1, x2, x3]: [u64; 3] = $args;
        let result: i64;
        // Where the instruction is undefined the entry leads behind it, with -1 in x0.
        asm!(
            concat!("2:  ", $instruction, " #0"),
            "3:",
            ex_table_entry!("2b", "3b"),
            inout("x0") u64::from($function) => result,
            inout("x1") x1 => _,
            inout("x2") x2 => _,
            inout("x3") x3 => _,
            // Version 1.0 of the convention preserves none of these.
            out("x4") _, out("x5") _, out("x6") _, out("x7") _, out("x8") _, out("x9") _,
            out("x10") _, out("x11") _, out("x12") _, out("x13") _, out("x14") _, out("x15") _,
            out("x16") _, out("x17") _,
            options(nostack),
        );
        result
    }};
}

/// Calls `function` with three arguments; what comes back in x0, -1 (Arm DEN 0028, 5.2:
/// NOT_SUPPORTED) where nobody is there to be called.
///
/// # Safety
/// The function, if there is one, does nothing to this CPU's registers and to memory that the
/// kernel's code does not expect.
#[must_use]
pub unsafe fn call(conduit: Conduit, function: u32, args: [u64; 3]) -> i64 {
    // SAFETY: as the caller says; registers are changed as the convention allows.
    unsafe {
        match conduit {
            Conduit::Hvc => call!("hvc", function, args),
            Conduit::Smc => call!("smc", function, args),
        }
    }
}
