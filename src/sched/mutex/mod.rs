//! A sleeping lock (Linux: kernel/locking/mutex.c, include/linux/mutex.h).
//!
//! A thread stays on its CPU until it yields, and whoever holds a mutex may sleep. So a
//! thread that waits for a mutex has to give its CPU away: the holder may be another thread
//! of the same CPU.
#![deny(unsafe_code)]

use super::WaitQueue;
use core::sync::atomic::{AtomicU8, Ordering};

#[cfg(test)]
mod tests;

/// State of a mutex that nobody holds.
const FREE: u8 = 0;
/// A thread holds the mutex, and none has waited for it since.
const LOCKED: u8 = 1;
/// A thread holds the mutex, and others may be asleep until it is free.
const CONTENDED: u8 = 2;

/// A lock for one thread at a time, which may sleep while it holds it (Linux: struct mutex).
///
/// It protects no data by itself: the code between [`Mutex::lock`] and the end of the guard
/// is what excludes others. It is taken with no [`SpinLock`](crate::sync::SpinLock) held.
pub struct Mutex {
    state: AtomicU8,
    waiters: WaitQueue,
}

/// A mutex that is held; dropping the guard unlocks it (Linux: mutex_unlock).
#[must_use = "the mutex is unlocked at once where the guard is not kept"]
pub struct MutexGuard<'a> {
    mutex: &'a Mutex,
}

impl Mutex {
    /// A mutex that is free.
    #[must_use]
    pub const fn new() -> Self {
        Self { state: AtomicU8::new(FREE), waiters: WaitQueue::new() }
    }

    /// Takes the mutex; sleeps while another thread holds it. The idle thread does not sleep:
    /// it lets others run and asks again. For threads with interrupts on (Linux: mutex_lock).
    ///
    /// # Panics
    /// Where a thread has to wait with interrupts masked or a spin lock held. One that takes a
    /// mutex which it holds itself waits for ever.
    #[track_caller]
    pub fn lock(&self) -> MutexGuard<'_> {
        self.try_lock().unwrap_or_else(|| self.lock_slowpath())
    }

    /// Takes the mutex if it is free. Any context (Linux: mutex_trylock).
    pub fn try_lock(&self) -> Option<MutexGuard<'_>> {
        let taken =
            self.state.compare_exchange(FREE, LOCKED, Ordering::Acquire, Ordering::Relaxed).is_ok();
        // Not made before: a guard that is dropped unlocks.
        taken.then(|| MutexGuard { mutex: self })
    }

    #[cold]
    #[inline(never)]
    #[track_caller]
    fn lock_slowpath(&self) -> MutexGuard<'_> {
        // Marks the mutex, so that the holder wakes this thread, or takes it: with the mark,
        // since others may be asleep as well.
        self.waiters.wait_event_or_yield(|| self.state.swap(CONTENDED, Ordering::Acquire) == FREE);
        MutexGuard { mutex: self }
    }

    /// Returns true if a thread holds the mutex. The answer may be out of date at once.
    #[must_use]
    pub fn is_locked(&self) -> bool {
        self.state.load(Ordering::Relaxed) != FREE
    }
}

impl Default for Mutex {
    fn default() -> Self {
        Self::new()
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
    fn drop(&mut self) {
        if self.mutex.state.swap(FREE, Ordering::Release) == CONTENDED {
            self.unlock_slowpath();
        }
    }
}
