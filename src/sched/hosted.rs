//! What `schedule` offers, where threads are the host's.

use super::task::{Slot, TaskState, ThreadId};
use crate::arch::{CpuId, IrqMasked, cpu};

/// The calling thread is none of this room's.
#[must_use]
pub fn current() -> Option<ThreadId> {
    None
}

/// As [`current`].
#[must_use]
pub fn try_current() -> Option<(ThreadId, super::Comm)> {
    None
}

/// Nor has it a name here.
#[must_use]
pub fn current_comm() -> Option<super::Comm> {
    None
}

/// Lets others run.
pub fn schedule() {
    cpu::relax();
}

/// Lets others run; whether it did.
pub fn cond_resched() -> bool {
    cpu::relax();
    true
}

/// Lets others run, and counts that as a jiffy.
pub fn schedule_timeout(timeout: u64) -> u64 {
    cpu::relax();
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

/// Nobody sleeps.
pub fn set_current_state(_: TaskState) {}

/// Nobody is asked to end.
#[must_use]
pub fn should_stop() -> bool {
    false
}

/// Nobody sleeps.
pub(super) fn wake_slot(_: CpuId, _: Slot, _: u8, _: &IrqMasked) {}
