//! Hosted counterpart of `schedule`, where threads are the host's.

use super::might_sleep::might_sleep;
use super::task::{Task, TaskState};
use crate::arch::{CpuId, IrqMasked, cpu};

#[cfg(test)]
std::thread_local! {
    /// The other thread of this CPU, as tests have it: it runs when the CPU's own gives way.
    static OTHER: core::cell::RefCell<Option<std::boxed::Box<dyn FnMut()>>> =
        const { core::cell::RefCell::new(None) };
}

/// Lets `other` be what runs each time that the calling thread lets others run (what it calls
/// does not come back here), while `f` runs.
#[cfg(test)]
pub(crate) fn with_other_thread<R>(other: impl FnMut() + 'static, f: impl FnOnce() -> R) -> R {
    OTHER.set(Some(std::boxed::Box::new(other)));
    let result = f();
    OTHER.set(None);
    result
}

fn let_others_run() {
    #[cfg(test)]
    if let Some(mut other) = OTHER.take() {
        other();
        OTHER.set(Some(other));
    }
    cpu::relax();
}

/// Lets others run.
#[track_caller]
pub fn schedule() {
    might_sleep();
    let_others_run();
}

/// Lets others run.
#[track_caller]
pub fn sched_yield() {
    might_sleep();
    let_others_run();
}

/// Lets other threads run. Returns true.
#[track_caller]
pub fn cond_resched() -> bool {
    might_sleep();
    let_others_run();
    true
}

/// Lets others run, and counts that as a jiffy.
#[track_caller]
pub fn schedule_timeout(timeout: u64) -> u64 {
    might_sleep();
    let_others_run();
    timeout.saturating_sub(1)
}

/// No time passes.
#[must_use]
pub fn jiffies() -> u64 {
    0
}

/// No CPU can be interrupted.
pub fn kick(_: CpuId) -> bool {
    false
}

/// Returns false: the threads are the host's.
#[must_use]
pub fn has_threads() -> bool {
    false
}

/// Returns true if the calling context may sleep: interrupts are not masked, and it is not in an
/// RCU read-side section.
#[must_use]
pub fn may_sleep() -> bool {
    !crate::arch::irq::is_masked() && !super::rcu::rcu_read_lock_held()
}

/// Does nothing: no thread sleeps.
pub fn set_current_state(_: TaskState) {}

/// Returns false: no thread is asked to end.
#[must_use]
pub fn should_stop() -> bool {
    false
}

/// Does nothing: no thread sleeps.
pub(super) fn wake_up_state(_: &Task, _: u8, _: &IrqMasked) -> bool {
    false
}
