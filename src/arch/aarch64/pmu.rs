//! Counting instructions (Arm ARM D13, the Performance Monitors Extension).

use super::features::{self, Features};
use super::sysreg::{self, PMCEID0_EL0, PMCNTENSET_EL0, PMCR, PMCR_EL0, PMEVTYPER0_EL0};
use tock_registers::interfaces::{Readable, Writeable};

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
    let there = PMCEID0_EL0.get() >> INST_RETIRED & 1 != 0;
    if !there || !PMCR_EL0.is_set(PMCR::N) {
        return None;
    }
    // There is a first event counter, and nobody else's.
    if PMEVTYPER0_EL0.get() != INST_RETIRED || PMCNTENSET_EL0.get() & 1 == 0 {
        PMEVTYPER0_EL0.set(INST_RETIRED);
        PMCNTENSET_EL0.set(1);
        sysreg::isb();
    }
    Some(sysreg::event_counter())
}
