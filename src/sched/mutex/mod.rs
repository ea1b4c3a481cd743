//! A sleeping lock (Linux: kernel/locking/mutex.c, include/linux/mutex.h).
//!
//! A thread stays on its CPU until it yields, and whoever holds a mutex may sleep. So a
//! thread that waits for a mutex has to give its CPU away: the holder may be another thread
//! of the same CPU.
#![deny(unsafe_code)]

use super::held::Held;
use super::{Interrupted, WaitQueue, might_sleep};
use crate::sync::SleepRank;
use crate::sync::atomic::{AtomicU32, Ordering};

#[cfg(test)]
mod tests;

/// State of a mutex that nobody holds.
const FREE: u32 = 0;
/// A thread holds the mutex, and none has waited for it since.
const LOCKED: u32 = 1;
/// A thread holds the mutex, and others may be asleep until it is free.
const CONTENDED: u32 = 2;

/// A lock for one thread at a time, which may sleep while it holds it (Linux: struct mutex).
///
/// It protects no data by itself: the code between [`Mutex::lock`] and the end of the guard
/// is what excludes others. It is taken with no [`SpinLock`](crate::sync::SpinLock) held.
pub struct Mutex {
    rank: SleepRank,
    state: AtomicU32,
    waiters: WaitQueue,
}

/// A mutex that is held; dropping the guard unlocks it (Linux: mutex_unlock). It stays with the
/// task that took the mutex.
#[must_use = "the mutex is unlocked at once where the guard is not kept"]
pub struct MutexGuard<'a> {
    mutex: &'a Mutex,
    held: Held,
}

impl Mutex {
    /// A mutex of `rank` that is free.
    #[must_use]
    pub const fn new(rank: SleepRank) -> Self {
        Self { rank, state: AtomicU32::new(FREE), waiters: WaitQueue::new() }
    }

    /// Takes the mutex; sleeps while another thread holds it. The idle thread does not sleep:
    /// it lets others run and asks again. For threads with interrupts on (Linux: mutex_lock).
    ///
    /// # Panics
    /// In builds with debug assertions, with interrupts masked or a spin lock held, and where the
    /// task holds a sleeping lock of the same or a higher rank, this one itself above all.
    #[inline]
    #[track_caller]
    pub fn lock(&self) -> MutexGuard<'_> {
        might_sleep();
        let held = Held::acquire(self.rank);
        if !self.acquire_fast() {
            self.lock_slowpath();
        }
        MutexGuard { mutex: self, held }
    }

    /// Variant of [`Mutex::lock`] that SIGKILL ends (Linux: mutex_lock_killable).
    ///
    /// # Errors
    /// The task has got SIGKILL, and another thread holds the mutex.
    ///
    /// # Panics
    /// As [`Mutex::lock`].
    #[track_caller]
    pub fn lock_killable(&self) -> Result<MutexGuard<'_>, Interrupted> {
        might_sleep();
        let held = Held::acquire(self.rank);
        if !self.acquire_fast() {
            self.waiters.wait_event_killable_exclusive(|| self.acquire_or_mark())?;
        }
        Ok(MutexGuard { mutex: self, held })
    }

    /// Takes the mutex if it is free. Any context (Linux: mutex_trylock).
    pub fn try_lock(&self) -> Option<MutexGuard<'_>> {
        // Not made before: a guard that is dropped unlocks.
        self.acquire_fast().then(|| MutexGuard { mutex: self, held: Held::note(self.rank) })
    }

    #[inline]
    fn acquire_fast(&self) -> bool {
        self.state.compare_exchange(FREE, LOCKED, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    /// Marks the mutex, so that its holder wakes a waiter, or takes it: with the mark, since others
    /// may be asleep as well.
    fn acquire_or_mark(&self) -> bool {
        self.state.swap(CONTENDED, Ordering::Acquire) == FREE
    }

    #[cold]
    #[inline(never)]
    #[track_caller]
    fn lock_slowpath(&self) {
        self.waiters.wait_event_exclusive(|| self.acquire_or_mark());
    }

    /// Returns true if a thread holds the mutex. The answer may be out of date at once.
    #[must_use]
    pub fn is_locked(&self) -> bool {
        self.state.load(Ordering::Relaxed) != FREE
    }
}

impl MutexGuard<'_> {
    #[cold]
    #[inline(never)]
    fn unlock_slowpath(&self) {
        self.mutex.waiters.wake_up();
    }
}

impl Drop for MutexGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        self.held.assert_own();
        if self.mutex.state.swap(FREE, Ordering::Release) == CONTENDED {
            self.unlock_slowpath();
        }
    }
}
