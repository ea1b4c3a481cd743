//! All tasks but the idle ones, by their pids (Linux: kernel/pid.c).
#![deny(unsafe_code)]

use super::pid::{BadPidMax, PidTable, TaskCounts};
use super::task::Task;
use super::task_ref::TaskRef;
use crate::arch::irq::with_masked;
use crate::machine_local;
use crate::sync::{Rank, SpinLock};

machine_local! {
    static PIDS: SpinLock<PidTable> = SpinLock::new(Rank::Pids, PidTable::new());
}

/// Gives a new task its pid. Returns false where none is free.
pub(super) fn alloc_pid(task: &Task) -> bool {
    with_masked(|irq| PIDS.lock(irq).insert(task))
}

/// Takes a task's pid away. Returns the table's reference.
pub(super) fn free_pid(task: &Task) -> Option<TaskRef> {
    with_masked(|irq| PIDS.lock(irq).remove(task))
}

/// Returns the task that has a pid. Any context.
#[must_use]
pub fn find_task_by_pid(pid: u32) -> Option<TaskRef> {
    with_masked(|irq| PIDS.lock(irq).find(pid))
}

/// Returns the counts of tasks. Any context.
#[must_use]
pub fn task_counts() -> TaskCounts {
    with_masked(|irq| PIDS.lock(irq).counts())
}

/// Returns the limit of pids: all are below it (Linux: /proc/sys/kernel/pid_max).
#[must_use]
pub fn pid_max() -> u32 {
    with_masked(|irq| PIDS.lock(irq).map.max())
}

/// Sets the limit of pids. Tasks that have one above it keep it.
///
/// # Errors
/// It is out of range.
pub fn set_pid_max(max: u32) -> Result<(), BadPidMax> {
    with_masked(|irq| PIDS.lock(irq).map.set_max(max))
}

/// Iterates over all tasks but the idle ones, by rising pids. Tasks may come and go meanwhile: one
/// that lives from the first step to the last is met once. Any context (Linux: for_each_process).
pub fn tasks() -> impl Iterator<Item = TaskRef> {
    let mut next = 1;
    core::iter::from_fn(move || {
        let task = with_masked(|irq| PIDS.lock(irq).find_from(next))?;
        // A task that ended since has no pid any more.
        next = task.pid().max(next) + 1;
        Some(task)
    })
}
