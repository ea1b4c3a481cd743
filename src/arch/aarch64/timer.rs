//! Timer of the calling CPU: the virtual timer of EL1 (Arm ARM D12.2.4).

use super::clock;
use core::arch::asm;

/// The GIC's number of its interrupt where the device tree names none: PPI 11.
pub const DEFAULT_INTERRUPT: u32 = 27;

/// Fires once, `ticks` from now, and again until the next call.
///
/// The timer compares unsigned numbers (Arm ARM D12.2.4.1): where the counter wraps before the
/// time has come it fires at once, and again and again until the counter has wrapped, and then
/// in time. So a tick may come early, once in the counter's life, and none is lost.
pub fn fire_in(ticks: u64) {
    let at = clock::counter().wrapping_add(ticks);
    // SAFETY: the timer is this CPU's own, and the kernel's alone.
    unsafe {
        asm!(
            "msr cntv_cval_el0, {at}",
            "msr cntv_ctl_el0, {on}", // ENABLE, not IMASK
            "isb",
            at = in(reg) at,
            on = in(reg) 1u64,
            options(nostack, preserves_flags)
        );
    }
}
