//! The sleeping locks that a task holds (Linux: kernel/locking/lockdep.c).
//!
//! Builds with debug assertions check at each lock that its rank is above those of the locks that
//! the task holds. A task may go to another CPU while it holds them, so they are noted in the
//! task. An interrupt handler notes what it takes in the task that it interrupted, and gives it up
//! before that goes on.
#![deny(unsafe_code)]

use super::current::current;
use crate::sync::SleepRank;
use crate::sync::rank::{with_acquired, with_noted, with_released};
use core::marker::PhantomData;
use core::sync::atomic::Ordering::Relaxed;

/// Note that the current task holds a lock. It stays with the task.
pub(super) struct Held {
    rank: SleepRank,
    /// Address of the task.
    #[cfg(debug_assertions)]
    task: usize,
    of_this_task: PhantomData<*mut ()>,
}

impl Held {
    /// The note of a lock that the current task holds already, by a note that was forgotten.
    pub(super) fn kept(rank: SleepRank) -> Self {
        Self {
            rank,
            #[cfg(debug_assertions)]
            task: core::ptr::from_ref(&*current()).addr(),
            of_this_task: PhantomData,
        }
    }

    /// Notes a lock that was taken without waiting, out of order maybe.
    pub(super) fn note(rank: SleepRank) -> Self {
        if cfg!(debug_assertions) {
            let task = current();
            task.held().store(with_noted(task.held().load(Relaxed), rank), Relaxed);
        }
        Self::kept(rank)
    }

    /// Notes a lock that is about to be taken.
    ///
    /// # Panics
    /// In builds with debug assertions, where the task holds one of the same or a higher rank.
    #[inline]
    #[track_caller]
    pub(super) fn acquire(rank: SleepRank) -> Self {
        if cfg!(debug_assertions) {
            let task = current();
            task.held().store(with_acquired(task.held().load(Relaxed), rank), Relaxed);
        }
        Self::kept(rank)
    }

    /// Checks that it is the task's own, before it gives up the lock.
    ///
    /// # Panics
    /// In builds with debug assertions, where another task took the lock.
    #[inline]
    pub(super) fn assert_own(&self) {
        #[cfg(debug_assertions)]
        assert!(
            core::ptr::from_ref(&*current()).addr() == self.task,
            "{:?}: {} gives up a lock that another task holds",
            self.rank,
            current().comm()
        );
    }
}

impl Drop for Held {
    #[inline]
    fn drop(&mut self) {
        if cfg!(debug_assertions) {
            let task = current();
            task.held().store(with_released(task.held().load(Relaxed), self.rank), Relaxed);
        }
    }
}
