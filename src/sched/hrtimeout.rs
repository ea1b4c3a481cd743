//! Sleeping until a time (Linux: schedule_hrtimeout, kernel/time/sleep_timeout.c).
#![deny(unsafe_code)]

use super::current::current;
use super::task::{TASK_NORMAL, TaskState};
use super::wait::must_poll;
use super::{cond_resched, might_sleep, schedule, set_current_state, wake_up_state};
use crate::arch::cpu;
use crate::arch::irq::with_masked;
use crate::time::hrtimer::{ClockId, HrTimer, HrTimerRestart};
use core::pin::pin;

/// Calls [`schedule()`], to be woken when `clock` shows `expires` nanoseconds, if not before.
/// Returns true if the time has come. In the state `Running` it returns once the other tasks had
/// their turn. Process context (Linux: schedule_hrtimeout).
#[track_caller]
pub fn schedule_hrtimeout(clock: ClockId, expires: u64) -> bool {
    might_sleep();
    let task = current().get();
    let timer = pin!(HrTimer::new(clock, move |_| {
        with_masked(|irq| wake_up_state(&task, TASK_NORMAL, irq));
        HrTimerRestart::NoRestart
    }));
    timer.as_ref().start(expires);
    schedule();
    timer.cancel();
    set_current_state(TaskState::Running);
    clock.now() >= expires
}

/// Sleeps until `clock` shows `expires` nanoseconds; the idle thread, and a CPU without threads, look
/// at the clock instead. Process context (Linux: hrtimer_nanosleep).
#[track_caller]
pub fn sleep_until(clock: ClockId, expires: u64) {
    might_sleep();
    let polls = must_poll();
    while clock.now() < expires {
        if !polls {
            set_current_state(TaskState::Uninterruptible);
            schedule_hrtimeout(clock, expires);
        } else if !cond_resched() {
            cpu::relax();
        }
    }
}

/// Sleeps for at least so many microseconds, and little longer. Process context (Linux: usleep_range,
/// fsleep).
#[track_caller]
pub fn usleep(us: u64) {
    let ns = us.saturating_mul(1000);
    sleep_until(ClockId::Monotonic, ClockId::Monotonic.now().saturating_add(ns));
}
