//! Wait queues (Linux: include/linux/wait.h, kernel/sched/wait.c).
//!
//! The order in which both sides act is what loses no wake-up; the module above tells why.
#![deny(unsafe_code)]

use super::current::current;
use super::task::{TASK_NORMAL, TaskState};
use super::wait_list::{WaitList, wait_on};
use super::{
    cond_resched, has_threads, may_sleep, might_sleep, schedule, schedule_timeout,
    set_current_state, wake_up_state,
};
use crate::arch::cpu;
use crate::arch::irq::with_masked;
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
    #[track_caller]
    pub fn wait_event(&self, mut condition: impl FnMut() -> bool) {
        might_sleep();
        let _ = self.wait(UNINTERRUPTIBLE, None, &mut condition);
    }

    /// [`WaitQueue::wait_event`], also for the idle thread, which may not sleep and lets others
    /// run until `condition` holds, and for a CPU without threads, which asks again and again.
    ///
    /// # Panics
    /// In builds with debug assertions, with interrupts masked or a lock held.
    #[track_caller]
    pub fn wait_event_or_yield(&self, mut condition: impl FnMut() -> bool) {
        might_sleep();
        if must_poll() {
            return poll(condition);
        }
        let _ = self.wait(UNINTERRUPTIBLE, None, &mut condition);
    }

    /// [`WaitQueue::wait_event_or_yield`] as one of many waiters of which one can go on: a
    /// [`WaitQueue::wake_up`] is for the one that has waited longest. A `condition` that takes what
    /// made it hold is asked until it does (Linux: wait_event_exclusive_cmd).
    ///
    /// # Panics
    /// As there.
    #[track_caller]
    pub fn wait_event_exclusive(&self, mut condition: impl FnMut() -> bool) {
        might_sleep();
        if must_poll() {
            return poll(condition);
        }
        let _ = self.wait(UNINTERRUPTIBLE.exclusive(), None, &mut condition);
    }

    /// [`WaitQueue::wait_event`], until this thread is asked to end or gets SIGKILL.
    ///
    /// # Errors
    /// It was, and `condition` does not hold.
    #[track_caller]
    pub fn wait_event_interruptible(
        &self,
        mut condition: impl FnMut() -> bool,
    ) -> Result<(), Interrupted> {
        might_sleep();
        self.wait(INTERRUPTIBLE, None, &mut condition).map(drop)
    }

    /// [`WaitQueue::wait_event`], until this thread gets SIGKILL.
    ///
    /// # Errors
    /// It did, and `condition` does not hold.
    #[track_caller]
    pub fn wait_event_killable(
        &self,
        mut condition: impl FnMut() -> bool,
    ) -> Result<(), Interrupted> {
        might_sleep();
        self.wait(KILLABLE, None, &mut condition).map(drop)
    }

    /// [`WaitQueue::wait_event_killable`] as [`WaitQueue::wait_event_exclusive`]. Whoever gives up
    /// leaves its wake-up to the next (Linux: wait_event_killable_exclusive).
    ///
    /// # Errors
    /// The thread got SIGKILL, and `condition` does not hold.
    #[track_caller]
    pub fn wait_event_killable_exclusive(
        &self,
        mut condition: impl FnMut() -> bool,
    ) -> Result<(), Interrupted> {
        might_sleep();
        self.wait(KILLABLE.exclusive(), None, &mut condition).map(drop)
    }

    /// Variant of [`WaitQueue::wait_event`] that waits at most `jiffies`. Returns the jiffies
    /// left, at least 1, if `condition` came to hold; `None` if it did not.
    #[track_caller]
    pub fn wait_event_timeout(
        &self,
        mut condition: impl FnMut() -> bool,
        jiffies: u64,
    ) -> Option<u64> {
        might_sleep();
        self.wait(UNINTERRUPTIBLE, Some(jiffies), &mut condition).unwrap_or(None)
    }

    /// [`WaitQueue::wait_event_timeout`], until this thread gets SIGKILL.
    ///
    /// # Errors
    /// It did, and `condition` does not hold.
    #[track_caller]
    pub fn wait_event_killable_timeout(
        &self,
        mut condition: impl FnMut() -> bool,
        jiffies: u64,
    ) -> Result<Option<u64>, Interrupted> {
        might_sleep();
        self.wait(KILLABLE, Some(jiffies), &mut condition)
    }

    /// [`WaitQueue::wait_event_killable_timeout`] as [`WaitQueue::wait_event_exclusive`], with a
    /// limit of `jiffies` if there is one, which SIGKILL ends only where `killable`.
    pub(super) fn wait_exclusive(
        &self,
        killable: bool,
        jiffies: Option<u64>,
        mut condition: impl FnMut() -> bool,
    ) -> Result<Option<u64>, Interrupted> {
        let how = if killable { KILLABLE } else { UNINTERRUPTIBLE };
        self.wait(how.exclusive(), jiffies, &mut condition)
    }

    /// Wakes those that wait, to ask their conditions again: all but the exclusive ones, and one of
    /// these. What made a condition true must be stored before. Any context, under any lock of
    /// lower rank.
    pub fn wake_up(&self) {
        self.wake(TASK_NORMAL, 1);
    }

    /// Variant of [`WaitQueue::wake_up`] that wakes `nr` of the exclusive ones.
    pub fn wake_up_nr(&self, nr: usize) {
        self.wake(TASK_NORMAL, nr);
    }

    /// Variant of [`WaitQueue::wake_up`] that wakes all of the exclusive ones.
    pub fn wake_up_all(&self) {
        self.wake(TASK_NORMAL, usize::MAX);
    }

    /// Wakes those that wait in [`WaitQueue::wait_event_interruptible`].
    pub fn wake_up_interruptible(&self) {
        self.wake(TaskState::Interruptible.bit(), 1);
    }

    /// Returns true if a task waits; it may be about to stop. For reports and tests.
    #[must_use]
    pub fn is_active(&self) -> bool {
        with_masked(|irq| !self.waiters.lock(irq).is_empty())
    }

    /// Waits until `condition` holds, for at most `timeout` jiffies if there is a limit. Returns
    /// the jiffies left, at least 1 if it holds; `None` when they are over (Linux: ___wait_event).
    ///
    /// The two steps into sleep are that the task is on the queue and in a state, and then asks
    /// again. Whoever leaves had a wake-up spent on it that it did not need, if one came after it was
    /// last put on the queue: the next one gets that.
    #[track_caller]
    fn wait(
        &self,
        how: How,
        timeout: Option<u64>,
        condition: &mut dyn FnMut() -> bool,
    ) -> Result<Option<u64>, Interrupted> {
        let mut left = timeout;
        let at_least_one = |left: Option<u64>| Some(left.map_or(1, |left| left.max(1)));
        if condition() {
            return Ok(at_least_one(left));
        }
        wait_on(&self.waiters, |waiter| {
            let gave_up = loop {
                waiter.prepare(how.exclusive);
                set_current_state(how.state);
                if condition() {
                    break None;
                }
                if left == Some(0) {
                    break Some(Ok(None));
                }
                if current().signal_pending_state(how.state) {
                    break Some(Err(Interrupted));
                }
                match left {
                    None => schedule(),
                    Some(jiffies) => left = Some(schedule_timeout(jiffies)),
                }
            };
            set_current_state(TaskState::Running);
            let was_woken = waiter.finish();
            // Off the queue: who makes it hold from here on wakes another.
            let holds = gave_up.is_none() || condition();
            if was_woken && (gave_up.is_none() || !holds) {
                self.wake_up();
            }
            if holds { Ok(at_least_one(left)) } else { gave_up.unwrap_or(Ok(None)) }
        })
    }

    fn wake(&self, states: u8, mut nr_exclusive: usize) {
        with_masked(|irq| {
            for entry in self.waiters.lock(irq).entries() {
                let woken = wake_up_state(entry.task(), states, irq);
                if woken && entry.is_exclusive() {
                    entry.note_woken();
                    nr_exclusive -= 1;
                    if nr_exclusive == 0 {
                        break;
                    }
                }
            }
        });
    }
}

/// Kind of a wait.
#[derive(Clone, Copy)]
struct How {
    state: TaskState,
    exclusive: bool,
}

const UNINTERRUPTIBLE: How = How { state: TaskState::Uninterruptible, exclusive: false };
const INTERRUPTIBLE: How = How { state: TaskState::Interruptible, exclusive: false };
const KILLABLE: How = How { state: TaskState::Killable, exclusive: false };

impl How {
    const fn exclusive(self) -> Self {
        Self { exclusive: true, ..self }
    }
}

/// Returns true where nobody sleeps who waits: in the idle thread, and on a CPU without threads.
pub(super) fn must_poll() -> bool {
    !has_threads() || !may_sleep()
}

/// Lets others run until `condition` holds.
fn poll(mut condition: impl FnMut() -> bool) {
    while !condition() {
        if !cond_resched() {
            cpu::relax();
        }
    }
}

impl Default for WaitQueue {
    fn default() -> Self {
        Self::new()
    }
}
