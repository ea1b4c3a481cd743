//! Waiting until something is done (Linux: kernel/sched/completion.c).
#![deny(unsafe_code)]

use super::{Interrupted, WaitQueue, might_sleep};
use crate::sync::atomic::{AtomicU32, Ordering};

#[cfg(test)]
mod tests;

/// Count of a completion that stays done, however many wait for it (Linux: UINT_MAX).
const DONE_FOR_ALL: u32 = u32::MAX;

/// An event that threads wait for (Linux: struct completion). Each [`Completion::complete`] lets
/// one thread go on, one that waits already or one that comes later.
pub struct Completion {
    done: AtomicU32,
    waiters: WaitQueue,
}

impl Completion {
    /// A completion that is not done.
    #[must_use]
    pub const fn new() -> Self {
        Self { done: AtomicU32::new(0), waiters: WaitQueue::new() }
    }

    /// Lets one thread go on. What was stored before is seen by that thread. Any context, under
    /// any lock of lower rank (Linux: complete).
    pub fn complete(&self) {
        // One less than for all, so that many calls don't add up to that.
        let add = |done| (done < DONE_FOR_ALL - 1).then(|| done + 1);
        // At the largest count nothing is added, and nobody waits.
        let _ = self.done.fetch_update(Ordering::Release, Ordering::Relaxed, add);
        self.waiters.wake_up();
    }

    /// Lets all threads go on, those that come later too, until [`Completion::reinit`]. Context as
    /// [`Completion::complete`] (Linux: complete_all).
    pub fn complete_all(&self) {
        self.done.store(DONE_FOR_ALL, Ordering::Release);
        self.waiters.wake_up_all();
    }

    /// Makes it not done again. Only while nobody waits and nobody completes it (Linux:
    /// reinit_completion).
    pub fn reinit(&self) {
        self.done.store(0, Ordering::Relaxed);
    }

    /// Sleeps until it is done. Process context; the idle thread lets others run instead (Linux:
    /// wait_for_completion).
    ///
    /// # Panics
    /// In builds with debug assertions, with interrupts masked or a spin lock held.
    #[track_caller]
    pub fn wait(&self) {
        self.waiters.wait_event_exclusive(|| self.try_wait());
    }

    /// Sleeps until it is done, for at most `jiffies`. Returns the jiffies left, at least 1;
    /// `None` if it is not done. Process context (Linux: wait_for_completion_timeout).
    #[track_caller]
    pub fn wait_timeout(&self, jiffies: u64) -> Option<u64> {
        might_sleep();
        self.waiters.wait_exclusive(false, Some(jiffies), || self.try_wait()).unwrap_or(None)
    }

    /// Sleeps until it is done, or the task gets SIGKILL. Process context (Linux:
    /// wait_for_completion_killable).
    ///
    /// # Errors
    /// The task has got SIGKILL, and it is not done.
    #[track_caller]
    pub fn wait_killable(&self) -> Result<(), Interrupted> {
        might_sleep();
        self.waiters.wait_exclusive(true, None, || self.try_wait()).map(drop)
    }

    /// [`Completion::wait_killable`] for at most `jiffies`. Returns the jiffies left, at least 1;
    /// `None` if it is not done (Linux: wait_for_completion_killable_timeout).
    ///
    /// # Errors
    /// As [`Completion::wait_killable`].
    #[track_caller]
    pub fn wait_killable_timeout(&self, jiffies: u64) -> Result<Option<u64>, Interrupted> {
        might_sleep();
        self.waiters.wait_exclusive(true, Some(jiffies), || self.try_wait())
    }

    /// Sleeps until it is done, or this thread is asked to end. Process context (Linux:
    /// wait_for_completion_interruptible).
    ///
    /// # Errors
    /// The thread was asked to end, and it is not done.
    #[track_caller]
    pub fn wait_interruptible(&self) -> Result<(), Interrupted> {
        self.waiters.wait_event_interruptible(|| self.try_wait())
    }

    /// Goes on if it is done, without waiting; returns true if it was. Any context (Linux:
    /// try_wait_for_completion).
    #[must_use]
    pub fn try_wait(&self) -> bool {
        let take = |done| match done {
            0 => None,
            DONE_FOR_ALL => Some(DONE_FOR_ALL),
            done => Some(done - 1),
        };
        self.done.fetch_update(Ordering::Acquire, Ordering::Relaxed, take).is_ok()
    }

    /// Returns true if a thread could go on. The answer may be out of date at once (Linux:
    /// completion_done).
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.done.load(Ordering::Relaxed) != 0
    }
}

impl Default for Completion {
    fn default() -> Self {
        Self::new()
    }
}
