//! The clocks of the kernel (Linux: kernel/time/timekeeping.c).

use crate::arch::cpu::sched_clock;
use crate::machine_local;
use crate::sync::Once;
use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Nanoseconds in a second.
pub const NSEC_PER_SEC: u64 = 1_000_000_000;

/// The latest time, in nanoseconds: 292 years (Linux: KTIME_MAX).
pub const KTIME_MAX: u64 = i64::MAX as u64;

machine_local! {
    /// Realtime at which the kernel started, in nanoseconds since 1970.
    static BOOT_TIME: AtomicU64 = AtomicU64::new(0);
}

/// Function that is called when the realtime clock was set.
pub type UpdateVsyscall = fn();

static UPDATE_VSYSCALL: Once<UpdateVsyscall> = Once::new();

/// Registers the function that tells programs when the realtime clock was set (Linux:
/// update_vsyscall). Any context is its context. Once.
pub fn set_update_vsyscall(update: UpdateVsyscall) {
    UPDATE_VSYSCALL.call_once(|| update);
}

/// Error of [`do_settimeofday64`]: the time that was asked for, in nanoseconds since 1970, lies
/// beyond [`KTIME_MAX`] or before the kernel's start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InvalidTime(pub u64);

impl fmt::Display for InvalidTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ns since 1970 is no time that the clock can have", self.0)
    }
}

impl core::error::Error for InvalidTime {}

/// The monotonic clock: nanoseconds since the kernel's start. It never goes back, is not set, and
/// is the same on all CPUs; 0 where nobody knows how fast the counter runs. Any context (Linux:
/// ktime_get, CLOCK_MONOTONIC).
#[must_use]
pub fn ktime_get() -> u64 {
    sched_clock()
}

/// The realtime clock: nanoseconds since 1970-01-01 UTC, leap seconds not counted. On a machine
/// without an RTC it starts at 1970. Any context (Linux: ktime_get_real, CLOCK_REALTIME).
#[must_use]
pub fn ktime_get_real() -> u64 {
    getboottime64() + ktime_get()
}

/// The realtime at which the kernel started, in nanoseconds since 1970. Any context (Linux:
/// getboottime64; `btime` of /proc/stat).
#[must_use]
pub fn getboottime64() -> u64 {
    BOOT_TIME.load(Relaxed)
}

/// Sets the realtime clock to `time`, in nanoseconds since 1970. The monotonic clock stays. Any
/// context (Linux: do_settimeofday64).
///
/// # Errors
/// [`InvalidTime`] for a time beyond [`KTIME_MAX`], and for one that would put the kernel's start
/// before 1970; the clock is as before.
pub fn do_settimeofday64(time: u64) -> Result<(), InvalidTime> {
    // Both clocks stay below 2^63, so no sum of two times overflows.
    let boot_time = Some(time).filter(|&time| time <= KTIME_MAX);
    let boot_time = boot_time.and_then(|time| time.checked_sub(ktime_get()));
    BOOT_TIME.store(boot_time.ok_or(InvalidTime(time))?, Relaxed);
    if let Some(update) = UPDATE_VSYSCALL.get() {
        update();
    }
    super::hrtimer::clock_was_set();
    Ok(())
}
