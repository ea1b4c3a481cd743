//! Wait queues (Linux: include/linux/wait.h, kernel/sched/wait.c).
//!
//! The order in which both sides act is what loses no wake-up; the module above tells why.
#![deny(unsafe_code)]

use super::task::{Slot, TASK_NORMAL, TaskState};
use super::{
    cond_resched, current, may_sleep, schedule, schedule_timeout, set_current_state, should_stop,
    wake_slot,
};
use crate::arch::irq::{is_masked, with_masked};
use crate::arch::{NR_CPUS, cpu};
use crate::percpu::possible_cpus;
use crate::sync::{Rank, SpinLock};
use core::fmt;

/// Threads that wait for something to become true. A waiting thread is a bit here: waiting
/// takes no memory.
pub struct WaitQueue {
    waiters: SpinLock<[u32; NR_CPUS]>,
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
        Self { waiters: SpinLock::new(Rank::WaitQueue, [0; NR_CPUS]) }
    }

    /// Sleeps until `condition` holds. It is asked again after each [`WaitQueue::wake_up`],
    /// by this thread, and may sleep itself no more than that. Process context.
    ///
    /// # Panics
    /// Where sleeping is not allowed; see [`schedule()`].
    pub fn wait_event(&self, mut condition: impl FnMut() -> bool) {
        while !condition() {
            self.prepare_to_wait(TaskState::Uninterruptible);
            if condition() {
                break;
            }
            schedule();
        }
        self.finish_wait();
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
        let alone = current().is_none();
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
        let mut result = Ok(());
        while !condition() {
            self.prepare_to_wait(TaskState::Interruptible);
            if condition() {
                break;
            }
            if should_stop() {
                result = Err(Interrupted);
                break;
            }
            schedule();
        }
        self.finish_wait();
        result
    }

    /// Variant of [`WaitQueue::wait_event`] that waits at most `jiffies`. Returns the jiffies
    /// left, at least 1, if `condition` came to hold; `None` if it did not.
    pub fn wait_event_timeout(
        &self,
        mut condition: impl FnMut() -> bool,
        jiffies: u64,
    ) -> Option<u64> {
        let mut left = jiffies;
        let held = loop {
            if condition() {
                break true;
            }
            if left == 0 {
                break false;
            }
            self.prepare_to_wait(TaskState::Uninterruptible);
            if condition() {
                break true;
            }
            left = schedule_timeout(left);
        };
        self.finish_wait();
        held.then_some(left.max(1))
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

    /// Returns true if a thread waits; it may be about to stop. For reports and tests.
    #[must_use]
    pub fn is_active(&self) -> bool {
        with_masked(|irq| self.waiters.lock(irq).iter().any(|&cpu| cpu != 0))
    }

    /// First of the two steps into sleep: this thread is on the queue and in `state`. The
    /// condition has to be asked after it, and [`schedule()`] called only if it doesn't hold.
    pub fn prepare_to_wait(&self, state: TaskState) {
        if let Some(this) = current() {
            with_masked(|irq| self.waiters.lock(irq)[this.cpu.index()] |= this.slot.bit());
        }
        set_current_state(state);
    }

    /// Ends what [`WaitQueue::prepare_to_wait`] began.
    pub fn finish_wait(&self) {
        set_current_state(TaskState::Running);
        if let Some(this) = current() {
            with_masked(|irq| self.waiters.lock(irq)[this.cpu.index()] &= !this.slot.bit());
        }
    }

    fn wake(&self, states: u8) {
        with_masked(|irq| {
            let waiters = *self.waiters.lock(irq);
            for cpu in possible_cpus() {
                let bits = waiters[cpu.index()];
                for slot in Slot::all().filter(|slot| bits & slot.bit() != 0) {
                    wake_slot(cpu, slot, states, irq);
                }
            }
        });
    }
}

impl Default for WaitQueue {
    fn default() -> Self {
        Self::new()
    }
}
