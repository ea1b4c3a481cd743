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
    let (has, event): (u64, u64);
    // SAFETY: the registers are there.
    unsafe {
        asm!("mrs {}, pmceid0_el0", "mrs {}, pmevtyper0_el0", out(reg) has, out(reg) event,
            options(nomem, nostack, preserves_flags));
    }
    if has >> INST_RETIRED & 1 == 0 {
        return None;
    }
    if event != INST_RETIRED {
        let control: u64;
        // SAFETY: as above.
        unsafe {
            asm!("mrs {}, pmcr_el0", out(reg) control, options(nomem, nostack, preserves_flags))
        };
        if control >> 11 & 0x1f == 0 {
            return None;
        }
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
