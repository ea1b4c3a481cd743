//! Wait queues (Linux: include/linux/wait.h, kernel/sched/wait.c).
//!
//! The order in which both sides act is what loses no wake-up; the module above tells why.
#![deny(unsafe_code)]

use super::task::{TASK_NORMAL, TaskState};
use super::wait_list::{WaitList, wait_on};
use super::{
    cond_resched, has_threads, may_sleep, schedule, schedule_timeout, set_current_state,
    should_stop, wake_up_state,
};
use crate::arch::cpu;
use crate::arch::irq::{is_masked, with_masked};
use crate::sync::{Rank, SpinLock};
use core::fmt;

/// Tasks that wait for something to become true. A waiting task has an entry on its stack:
/// waiting takes no memory.
pub struct WaitQueue {
    waiters: SpinLock<WaitList>,
}

/// A wait ended because the thread was asked to (Linux: -ERESTARTSYS).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Interrupted;

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the thread was asked to end")
    }
}

impl core::error::Error for Interrupted {}

impl WaitQueue {
    /// Creates a queue without waiters.
    #[must_use]
    pub const fn new() -> Self {
        Self { waiters: SpinLock::new(Rank::WaitQueue, WaitList::new()) }
    }

    /// Sleeps until `condition` holds. It is asked again after each [`WaitQueue::wake_up`],
    /// by this thread, and may sleep itself no more than that. Process context.
    ///
    /// # Panics
    /// Where sleeping is not allowed; see [`schedule()`].
    pub fn wait_event(&self, mut condition: impl FnMut() -> bool) {
        self.wait(|prepare| {
            while !condition() {
                prepare(TaskState::Uninterruptible);
                if condition() {
                    break;
                }
                schedule();
            }
        });
    }

    /// [`WaitQueue::wait_event`], also for the idle thread, which may not sleep and lets others
    /// run until `condition` holds, and for a CPU without threads, which asks again and again.
    ///
    /// # Panics
    /// Where a thread has to wait with interrupts masked or a lock held.
    #[track_caller]
    pub fn wait_event_or_yield(&self, mut condition: impl FnMut() -> bool) {
        if condition() {
            return;
        }
        let alone = !has_threads();
        assert!(alone || !is_masked(), "scheduling while atomic: waits with interrupts masked");
        if !alone && may_sleep() {
            return self.wait_event(condition);
        }
        while !condition() {
            if !cond_resched() {
                cpu::relax();
            }
        }
    }

    /// [`WaitQueue::wait_event`], until this thread is asked to end.
    ///
    /// # Errors
    /// It was, and `condition` does not hold.
    pub fn wait_event_interruptible(
        &self,
        mut condition: impl FnMut() -> bool,
    ) -> Result<(), Interrupted> {
        self.wait(|prepare| {
            while !condition() {
                prepare(TaskState::Interruptible);
                if condition() {
                    break;
                }
                if should_stop() {
                    return Err(Interrupted);
                }
                schedule();
            }
            Ok(())
        })
    }

    /// Variant of [`WaitQueue::wait_event`] that waits at most `jiffies`. Returns the jiffies
    /// left, at least 1, if `condition` came to hold; `None` if it did not.
    pub fn wait_event_timeout(
        &self,
        mut condition: impl FnMut() -> bool,
        jiffies: u64,
    ) -> Option<u64> {
        self.wait(|prepare| {
            let mut left = jiffies;
            loop {
                if condition() {
                    return Some(left.max(1));
                }
                if left == 0 {
                    return None;
                }
                prepare(TaskState::Uninterruptible);
                if condition() {
                    return Some(left.max(1));
                }
                left = schedule_timeout(left);
            }
        })
    }

    /// Wakes all that wait, to ask their conditions again. What made a condition true must
    /// be stored before. Any context, under any lock of lower rank.
    pub fn wake_up(&self) {
        self.wake(TASK_NORMAL);
    }

    /// Wakes those that wait in [`WaitQueue::wait_event_interruptible`].
    pub fn wake_up_interruptible(&self) {
        self.wake(TaskState::Interruptible.bit());
    }

    /// Returns true if a task waits; it may be about to stop. For reports and tests.
    #[must_use]
    pub fn is_active(&self) -> bool {
        with_masked(|irq| !self.waiters.lock(irq).is_empty())
    }

    /// Runs `f` with the first of the two steps into sleep: it puts this task on the queue and in
    /// a state. The condition has to be asked after it, and [`schedule()`] called only if it
    /// doesn't hold. Afterwards the task is `Running`, and off the queue (Linux: prepare_to_wait,
    /// finish_wait).
    fn wait<R>(&self, f: impl FnOnce(&dyn Fn(TaskState)) -> R) -> R {
        wait_on(&self.waiters, |link| {
            let result = f(&|state| {
                link();
                set_current_state(state);
            });
            set_current_state(TaskState::Running);
            result
        })
    }

    fn wake(&self, states: u8) {
        with_masked(|irq| {
            for task in self.waiters.lock(irq).tasks() {
                wake_up_state(task, states, irq);
            }
        });
    }
}

impl Default for WaitQueue {
    fn default() -> Self {
        Self::new()
    }
}
