//! Time (Linux: kernel/time).
//!
//! | file | what it has | Linux |
//! | --- | --- | --- |
//! | `timekeeping` | the monotonic and the realtime clock | kernel/time/timekeeping.c |
//! | `hrtimer` | timers that fire once | kernel/time/hrtimer.c |
//! | `date` | seconds since 1970 as a date, and back | drivers/rtc/lib.c |
//!
//! Both clocks count nanoseconds in a `u64`, which is enough until the year 2554. The monotonic
//! clock is that of the log; the realtime clock is as far ahead of it as the machine's RTC said at
//! boot. The clocks take no lock, and nothing here sleeps.
#![deny(unsafe_code)]

mod date;
#[expect(unsafe_code, reason = "the mechanism: it reaches timers where their owners put them")]
pub mod hrtimer;
mod timekeeping;

#[cfg(test)]
mod tests;

pub use date::Date;
pub use timekeeping::{
    InvalidTime, KTIME_MAX, NSEC_PER_SEC, do_settimeofday64, getboottime64, ktime_get,
    ktime_get_real, set_update_vsyscall,
};
