//! Timer of the calling CPU: the virtual timer of EL1 (Arm ARM D12.2.4).

use super::clock;
use super::sysreg::isb;
use aarch64_cpu::registers::{CNTV_CTL_EL0, CNTV_CVAL_EL0, Writeable};

/// The GIC's number of its interrupt where the device tree names none: PPI 11.
pub const DEFAULT_INTERRUPT: u32 = 27;

/// Fires once, `ticks` from now, and again until the next call.
///
/// The timer compares unsigned numbers (Arm ARM D12.2.4.1): where the counter wraps before the
/// time has come it fires at once, and again and again until the counter has wrapped, and then
/// in time. So a tick may come early, once in the counter's life, and none is lost.
pub fn fire_in(ticks: u64) {
    let at = clock::counter().wrapping_add(ticks);
    CNTV_CVAL_EL0.set(at);
    CNTV_CTL_EL0.write(CNTV_CTL_EL0::ENABLE::SET); // and not IMASK
    isb();
}
