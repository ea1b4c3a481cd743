//! A sleeping lock for many readers or one writer (Linux: kernel/locking/rwsem.c).
//!
//! Threads that have to wait get it in the order in which they came: while one waits, readers that
//! come later wait behind it. So no writer starves, and readers that wait together go together. A
//! reader that meets neither a writer nor a waiter makes one atomic addition.
#![deny(unsafe_code)]

mod word;

#[cfg(test)]
mod tests;

use super::WaitQueue;
use core::sync::atomic::{AtomicU64, Ordering};
use word::{READER, TICKET, WRITER, Want};

/// A lock for readers or a writer, which may sleep while they hold it (Linux: struct
/// rw_semaphore).
///
/// It protects no data by itself, as [`Mutex`](super::Mutex). It is taken with no
/// [`SpinLock`](crate::sync::SpinLock) held. A reader must not take it again: a writer may have
/// come meanwhile, and each would wait for the other.
pub struct RwSemaphore {
    word: AtomicU64,
    waiters: WaitQueue,
}

/// A semaphore that is held for reading; dropping the guard gives it back (Linux: up_read).
#[must_use = "the semaphore is given back at once where the guard is not kept"]
pub struct RwReadGuard<'a>(&'a RwSemaphore);

/// A semaphore that is held for writing; dropping the guard gives it back (Linux: up_write).
#[must_use = "the semaphore is given back at once where the guard is not kept"]
pub struct RwWriteGuard<'a>(&'a RwSemaphore);

impl RwSemaphore {
    /// A semaphore that nobody holds.
    #[must_use]
    pub const fn new() -> Self {
        Self { word: AtomicU64::new(0), waiters: WaitQueue::new() }
    }

    /// Takes it for reading; sleeps while a writer holds it or threads wait for it. The idle thread
    /// does not sleep: it lets others run and asks again. For threads with interrupts on (Linux:
    /// down_read).
    ///
    /// # Panics
    /// Where a thread has to wait with interrupts masked or a spin lock held.
    #[inline]
    #[track_caller]
    pub fn read(&self) -> RwReadGuard<'_> {
        if !word::may_read(self.word.fetch_add(READER, Ordering::Acquire)) {
            self.forget_reader();
            self.wait(Want::Read);
        }
        RwReadGuard(self)
    }

    /// Takes it for reading if that needs no waiting. Any context (Linux: down_read_trylock).
    pub fn try_read(&self) -> Option<RwReadGuard<'_>> {
        let take = |word| word::may_read(word).then(|| word + READER);
        let taken = self.word.fetch_update(Ordering::Acquire, Ordering::Relaxed, take).is_ok();
        taken.then(|| RwReadGuard(self))
    }

    /// Takes it for writing; sleeps while others hold it or wait for it. Context and panics as
    /// [`RwSemaphore::read`] (Linux: down_write).
    #[inline]
    #[track_caller]
    pub fn write(&self) -> RwWriteGuard<'_> {
        self.try_write().unwrap_or_else(|| {
            self.wait(Want::Write);
            RwWriteGuard(self)
        })
    }

    /// Takes it for writing if that needs no waiting. Any context (Linux: down_write_trylock).
    pub fn try_write(&self) -> Option<RwWriteGuard<'_>> {
        let free =
            |word| !word::has_waiters(word) && word & WRITER == 0 && word::readers(word) == 0;
        let take = |word| free(word).then(|| word + WRITER);
        let taken = self.word.fetch_update(Ordering::Acquire, Ordering::Relaxed, take).is_ok();
        taken.then(|| RwWriteGuard(self))
    }

    /// Returns true if somebody holds it. The answer may be out of date at once (Linux:
    /// rwsem_is_locked).
    #[must_use]
    pub fn is_locked(&self) -> bool {
        let word = self.word.load(Ordering::Relaxed);
        word & WRITER != 0 || word::readers(word) != 0
    }

    /// Returns true if threads wait for it. The answer may be out of date at once (Linux:
    /// rwsem_is_contended).
    #[must_use]
    pub fn is_contended(&self) -> bool {
        word::has_waiters(self.word.load(Ordering::Relaxed))
    }

    /// Takes back the reader that was added where none may be: whoever saw it did not get the
    /// semaphore for it, and asks again.
    #[cold]
    fn forget_reader(&self) {
        self.leave(READER);
    }

    /// Waits for its turn and takes it for what is wanted.
    #[cold]
    #[inline(never)]
    #[track_caller]
    fn wait(&self, want: Want) {
        let ticket = word::next_ticket(self.word.fetch_add(TICKET, Ordering::Relaxed));
        let claim = |word| word::claim(word, want, ticket);
        self.waiters.wait_event_or_yield(|| {
            self.word.fetch_update(Ordering::Acquire, Ordering::Relaxed, claim).is_ok()
        });
        // The next one may be a reader too: it is its turn now.
        if want == Want::Read {
            self.waiters.wake_up();
        }
    }

    /// Takes off `held`, and wakes those that wait for it to go.
    #[inline]
    fn leave(&self, held: u64) {
        let before = self.word.fetch_sub(held, Ordering::Release);
        if word::has_waiters(before) {
            self.waiters.wake_up();
        }
    }
}

impl Default for RwSemaphore {
    fn default() -> Self {
        Self::new()
    }
}

impl<'a> RwWriteGuard<'a> {
    /// Goes on as a reader, with no writer between (Linux: downgrade_write).
    pub fn downgrade(self) -> RwReadGuard<'a> {
        let semaphore = self.0;
        core::mem::forget(self);
        semaphore.leave(WRITER - READER);
        RwReadGuard(semaphore)
    }
}

impl Drop for RwReadGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        self.0.leave(READER);
    }
}

impl Drop for RwWriteGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        self.0.leave(WRITER);
    }
}
