//! Timer of the calling CPU: the virtual timer of EL1 (Arm ARM D12.2.4).

use super::clock;
use super::sysreg::isb;
use aarch64_cpu::registers::{CNTV_CTL_EL0, CNTV_CVAL_EL0, Writeable};

/// The GIC's number of its interrupt where the device tree names none: PPI 11.
pub const DEFAULT_INTERRUPT: u32 = 27;

/// Fires when the clock shows `at` ticks since the kernel's start, and again and again until the next
/// call; at once where it does already.
///
/// The timer compares unsigned numbers (Arm ARM D12.2.4.1). A time that comes after the counter wraps
/// would have come already: until then it is the counter's last value, at which the next call tells
/// the time again. So it may fire early.
pub fn fire_at(at: u64) {
    let (counter, time) = (clock::counter(), clock::counter_at(at));
    let is_later = time.wrapping_sub(counter) < 1 << 63;
    CNTV_CVAL_EL0.set(if is_later && time < counter { u64::MAX } else { time });
    CNTV_CTL_EL0.write(CNTV_CTL_EL0::ENABLE::SET); // and not IMASK
    isb();
}
