//! Counting instructions (Arm ARM D13, the Performance Monitors Extension).

use super::features::{self, Features};
use core::arch::asm;

/// The event INST_RETIRED: an instruction was executed, architecturally.
const INST_RETIRED: u64 = 0x08;

/// Instructions that this CPU has executed since it was first asked; `None` where it does not
/// count them. The first call of a CPU sets its first event counter up.
#[inline]
#[must_use]
pub fn instructions() -> Option<u64> {
    if !features::features().contains(Features::PMU) {
        return None;
    }
    let (has, control): (u64, u64);
    // SAFETY: the registers are there.
    unsafe {
        asm!("mrs {}, pmceid0_el0", "mrs {}, pmcr_el0", out(reg) has, out(reg) control,
            options(nomem, nostack, preserves_flags));
    }
    let counters = control >> 11 & 0x1f;
    if has >> INST_RETIRED & 1 == 0 || counters == 0 {
        return None;
    }
    let (event, enabled): (u64, u64);
    // SAFETY: there is a first event counter.
    unsafe {
        asm!("mrs {}, pmevtyper0_el0", "mrs {}, pmcntenset_el0", out(reg) event, out(reg) enabled,
            options(nomem, nostack, preserves_flags));
    }
    if event != INST_RETIRED || enabled & 1 == 0 {
        // SAFETY: the first event counter is there, and nobody else's.
        unsafe {
            asm!("msr pmevtyper0_el0, {}", "msr pmcntenset_el0, {}", "isb",
                in(reg) INST_RETIRED, in(reg) 1u64, options(nomem, nostack, preserves_flags));
        }
    }
    let n: u64;
    // SAFETY: reads a counter. No `nomem`: it must stay where it was put.
    unsafe { asm!("isb", "mrs {}, pmevcntr0_el0", out(reg) n, options(nostack, preserves_flags)) };
    Some(n)
}
