//! The clock: CNTVCT_EL0, which counts the same on all CPUs (Arm ARM D12.1; Linux:
//! drivers/clocksource/arm_arch_timer.c, kernel/time/sched_clock.c).
//!
//! Ticks count from the kernel's start, so that no sum or product of them comes near 2^64,
//! whatever the counter held. How many there are in a second is told by CNTFRQ_EL0 of the boot
//! CPU, or by the device tree: each core has a CNTFRQ_EL0 of its own, and firmware may have
//! forgotten some of them.

use super::sysreg;
use crate::arch::clocksource::{self, mult, nanoseconds, settled};
use aarch64_cpu::registers::{CNTFRQ_EL0, Readable};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Value of the counter when the kernel started.
static START: AtomicU64 = AtomicU64::new(0);
/// Ticks in a second; 0 while nobody knows.
static FREQUENCY: AtomicU64 = AtomicU64::new(0);
/// Nanoseconds in a tick, as [`mult`] has them.
static MULT: AtomicU64 = AtomicU64::new(0);

/// Ticks that a second is taken for where nobody knows, so that waiting ends: system counters
/// run at 1 MHz to 1 GHz (Arm ARM D12.1.1).
const ASSUMED_FREQUENCY: u64 = 100_000_000;

/// Starts the clock. Boot CPU, once, before anything asks it.
pub(super) fn init() {
    START.store(counter(), Relaxed);
    set_frequency(cntfrq());
}

/// Says how many ticks a second has, where the device tree knows better than the register. Boot
/// CPU, while it is alone.
pub(crate) fn set_frequency(hz: u64) {
    FREQUENCY.store(hz, Relaxed);
    MULT.store(mult(hz), Relaxed);
}

/// The counter as it is, CNTVCT_EL0, which may be anything and wrap at any time.
///
/// Read twice, for the Cortex-A73's erratum 858921: see [`settled`].
#[must_use]
pub fn counter() -> u64 {
    let (first, second) = sysreg::virtual_counter_twice();
    settled(first, second)
}

/// Reads CNTFRQ_EL0 of this core: the counter's frequency in Hz, 0 if firmware left it unset.
fn cntfrq() -> u64 {
    CNTFRQ_EL0.get() & 0xffff_ffff
}

/// Value of the counter when the kernel started, and nanoseconds in a tick, times 2^32, 0 where
/// nobody knows: for programs that read the clock by themselves.
#[must_use]
pub fn parameters() -> (u64, u64) {
    (START.load(Relaxed), MULT.load(Relaxed))
}

/// Ticks since the kernel's start.
#[must_use]
pub fn ticks() -> u64 {
    counter().wrapping_sub(START.load(Relaxed))
}

/// Ticks in a second; 0 where neither firmware nor device tree say.
#[must_use]
pub fn tick_frequency() -> u64 {
    FREQUENCY.load(Relaxed)
}

/// Ticks that `seconds` take, for a wait that has to end some time: where nobody knows how fast
/// the counter runs, some number of that kind.
#[must_use]
pub fn timeout(seconds: u64) -> u64 {
    let hz = match tick_frequency() {
        0 => ASSUMED_FREQUENCY,
        hz => hz,
    };
    hz.saturating_mul(seconds)
}

/// Nanoseconds since the kernel's start; 0 where nobody knows how fast the counter runs (Linux:
/// sched_clock).
#[must_use]
pub fn sched_clock() -> u64 {
    nanoseconds(ticks(), MULT.load(Relaxed))
}

/// Ticks since the kernel's start at which [`sched_clock`] shows `ns` nanoseconds; those of all 64
/// bits, which never come, where nobody knows how fast the counter runs.
#[must_use]
pub fn ticks_at(ns: u64) -> u64 {
    clocksource::ticks(ns, MULT.load(Relaxed))
}

/// Value of the counter at so many ticks since the kernel's start.
#[must_use]
pub(super) fn counter_at(ticks: u64) -> u64 {
    ticks.wrapping_add(START.load(Relaxed))
}
