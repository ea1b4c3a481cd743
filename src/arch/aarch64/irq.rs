//! Interrupt masking: PSTATE.I and PSTATE.F.

use crate::arch::IrqMasked;
use core::arch::asm;

/// Runs `f` with interrupts masked on this CPU, and restores the mask afterwards.
#[inline(always)]
pub fn with_masked<R>(f: impl FnOnce(&IrqMasked) -> R) -> R {
    let daif: u64;
    // SAFETY: masking interrupts breaks nobody's assumption. No `nomem`: memory
    // accesses inside must not move out.
    unsafe { asm!("mrs {}, daif", "msr daifset, #3", out(reg) daif, options(nostack)) };
    // SAFETY: masked just now, until the mask is restored after `f`.
    let result = f(&unsafe { IrqMasked::assume() });
    // SAFETY: restores the mask that was there.
    unsafe { asm!("msr daif, {}", in(reg) daif, options(nostack)) };
    result
}

/// Whether interrupts are masked on this CPU.
#[must_use]
pub fn is_masked() -> bool {
    let daif: u64;
    // SAFETY: reads a flag.
    unsafe { asm!("mrs {}, daif", out(reg) daif, options(nomem, nostack, preserves_flags)) };
    daif & (1 << 7) != 0
}

/// Lets interrupts in on this CPU, for good: once its handler and controller are ready.
pub fn enable() {
    // SAFETY: as said; handlers run on the current stack, which has room.
    unsafe { asm!("msr daifclr, #3", options(nostack)) };
}
