//! A sleeping lock for many readers or one writer (Linux: kernel/locking/rwsem.c).
//!
//! Threads that have to wait are handed it in the order in which they came: while one waits, readers
//! that come later wait behind it. So no writer starves, and readers that wait together go
//! together. A reader that meets neither a writer nor a waiter makes one atomic addition.
#![deny(unsafe_code)]

mod word;

#[cfg(test)]
mod tests;

use super::current::current;
use super::held::Held;
use super::task::{TASK_NORMAL, TaskState};
use super::wait::must_poll;
use super::wait_list::{WaitEntry, WaitList, wait_on};
use super::{Interrupted, cond_resched, might_sleep, schedule, set_current_state, wake_up_state};
use crate::arch::irq::with_masked;
use crate::arch::{IrqMasked, cpu};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Rank, SleepRank, SpinLock};
use word::{READER, WAITERS, WRITER, Want};

/// A lock for readers or a writer, which may sleep while they hold it (Linux: struct
/// rw_semaphore).
///
/// It protects no data by itself, as [`Mutex`](super::Mutex). It is taken with no
/// [`SpinLock`] held. A reader must not take it again: a writer may have come meanwhile, and each
/// would wait for the other.
pub struct RwSemaphore {
    rank: SleepRank,
    word: AtomicU64,
    waiters: SpinLock<WaitList>,
}

/// A semaphore that is held for reading; dropping the guard gives it back (Linux: up_read). It
/// stays with the task that took the semaphore.
#[must_use = "the semaphore is given back at once where the guard is not kept"]
pub struct RwReadGuard<'a> {
    semaphore: &'a RwSemaphore,
    held: Held,
}

/// A semaphore that is held for writing; dropping the guard gives it back (Linux: up_write). It
/// stays with the task that took the semaphore.
#[must_use = "the semaphore is given back at once where the guard is not kept"]
pub struct RwWriteGuard<'a> {
    semaphore: &'a RwSemaphore,
    held: Held,
}

impl RwSemaphore {
    /// A semaphore of `rank` that nobody holds.
    #[must_use]
    pub const fn new(rank: SleepRank) -> Self {
        let waiters = SpinLock::new(Rank::WaitQueue, WaitList::new());
        Self { rank, word: AtomicU64::new(0), waiters }
    }

    /// Takes it for reading; sleeps while a writer holds it or threads wait for it. The idle thread
    /// does not sleep: it lets others run and asks again. For threads with interrupts on (Linux:
    /// down_read).
    ///
    /// # Panics
    /// In builds with debug assertions, with interrupts masked or a spin lock held, and where the
    /// task holds a sleeping lock of the same or a higher rank, this one itself above all.
    #[inline]
    #[track_caller]
    pub fn read(&self) -> RwReadGuard<'_> {
        might_sleep();
        let held = Held::acquire(self.rank);
        if !self.enter_reader() {
            self.down(Want::Read);
        }
        RwReadGuard { semaphore: self, held }
    }

    /// Variant of [`RwSemaphore::read`] that SIGKILL ends (Linux: down_read_killable).
    ///
    /// # Errors
    /// The task has got SIGKILL, and would have to wait.
    ///
    /// # Panics
    /// As [`RwSemaphore::read`].
    #[track_caller]
    pub fn read_killable(&self) -> Result<RwReadGuard<'_>, Interrupted> {
        might_sleep();
        let held = Held::acquire(self.rank);
        if !self.enter_reader() {
            self.wait(Want::Read, TaskState::Killable)?;
        }
        Ok(RwReadGuard { semaphore: self, held })
    }

    /// Takes it for reading if that needs no waiting. Any context (Linux: down_read_trylock).
    pub fn try_read(&self) -> Option<RwReadGuard<'_>> {
        let taken = self.enter(Want::Read);
        taken.then(|| RwReadGuard { semaphore: self, held: Held::note(self.rank) })
    }

    /// Takes it for writing; sleeps while others hold it or wait for it. Context and panics as
    /// [`RwSemaphore::read`] (Linux: down_write).
    #[inline]
    #[track_caller]
    pub fn write(&self) -> RwWriteGuard<'_> {
        might_sleep();
        let held = Held::acquire(self.rank);
        if !self.enter(Want::Write) {
            self.down(Want::Write);
        }
        RwWriteGuard { semaphore: self, held }
    }

    /// Variant of [`RwSemaphore::write`] that SIGKILL ends (Linux: down_write_killable).
    ///
    /// # Errors
    /// The task has got SIGKILL, and would have to wait.
    ///
    /// # Panics
    /// As [`RwSemaphore::read`].
    #[track_caller]
    pub fn write_killable(&self) -> Result<RwWriteGuard<'_>, Interrupted> {
        might_sleep();
        let held = Held::acquire(self.rank);
        if !self.enter(Want::Write) {
            self.wait(Want::Write, TaskState::Killable)?;
        }
        Ok(RwWriteGuard { semaphore: self, held })
    }

    /// Takes it for writing if that needs no waiting. Any context (Linux: down_write_trylock).
    pub fn try_write(&self) -> Option<RwWriteGuard<'_>> {
        let taken = self.enter(Want::Write);
        taken.then(|| RwWriteGuard { semaphore: self, held: Held::note(self.rank) })
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

    #[inline]
    fn enter(&self, want: Want) -> bool {
        let enter = |word| word::enter(word, want);
        self.word.fetch_update(Ordering::Acquire, Ordering::Relaxed, enter).is_ok()
    }

    /// Becomes one more reader. One that is refused has to go again: whoever saw it meanwhile did
    /// not get the semaphore for it, and is asked for again.
    #[inline]
    fn enter_reader(&self) -> bool {
        let before = self.word.fetch_add(READER, Ordering::Acquire);
        let entered = word::enter(before, Want::Read).is_some();
        if !entered {
            self.leave(READER);
        }
        entered
    }

    #[cold]
    #[inline(never)]
    #[track_caller]
    fn down(&self, want: Want) {
        // Nothing ends this wait but the semaphore.
        let _ = self.wait(want, TaskState::Uninterruptible);
    }

    /// Waits in `state` for its turn, and takes it for what is wanted.
    #[cold]
    #[inline(never)]
    #[track_caller]
    fn wait(&self, want: Want, state: TaskState) -> Result<(), Interrupted> {
        wait_on(&self.waiters, |waiter| {
            with_masked(|irq| {
                let mut list = self.waiters.lock(irq);
                waiter.enqueue(&mut list, want == Want::Write);
                self.word.fetch_or(WAITERS, Ordering::Relaxed);
                self.grant(&mut list, irq);
            });
            let polls = must_poll();
            let result = loop {
                if !polls {
                    set_current_state(state);
                }
                if waiter.is_granted() {
                    break Ok(());
                }
                if current().signal_pending_state(state) {
                    break Err(Interrupted);
                }
                if !polls {
                    schedule();
                } else if !cond_resched() {
                    cpu::relax();
                }
            };
            if !polls {
                set_current_state(TaskState::Running);
            }
            result.or_else(|interrupted| {
                with_masked(|irq| {
                    let mut list = self.waiters.lock(irq);
                    if !waiter.dequeue(&mut list) {
                        // It was its turn meanwhile.
                        return Ok(());
                    }
                    // Those behind it may go together with who holds it.
                    self.grant(&mut list, irq);
                    Err(interrupted)
                })
            })
        })
    }

    /// Hands it to those who wait, as long as the first of them can have it.
    fn grant(&self, list: &mut WaitList, irq: &IrqMasked) {
        let is_writer = |list: &WaitList| list.entries().next().map(WaitEntry::is_exclusive);
        while let Some(writes) = is_writer(list) {
            let want = if writes { Want::Write } else { Want::Read };
            let grant = |word| word::grant(word, want);
            if self.word.fetch_update(Ordering::AcqRel, Ordering::Relaxed, grant).is_err() {
                return;
            }
            list.grant_first(|task| {
                wake_up_state(task, TASK_NORMAL, irq);
            });
        }
        self.word.fetch_and(!WAITERS, Ordering::Relaxed);
    }

    /// Takes off `held`, and hands it to those that wait for that to go.
    #[inline]
    fn leave(&self, held: u64) {
        let before = self.word.fetch_sub(held, Ordering::Release);
        if word::has_waiters(before) {
            self.wake();
        }
    }

    #[cold]
    #[inline(never)]
    fn wake(&self) {
        with_masked(|irq| self.grant(&mut self.waiters.lock(irq), irq));
    }
}

impl<'a> RwWriteGuard<'a> {
    /// Goes on as a reader, with no writer between (Linux: downgrade_write).
    pub fn downgrade(self) -> RwReadGuard<'a> {
        self.held.assert_own();
        let semaphore = self.semaphore;
        core::mem::forget(self);
        semaphore.leave(WRITER - READER);
        RwReadGuard { semaphore, held: Held::kept(semaphore.rank) }
    }
}

impl Drop for RwReadGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        self.held.assert_own();
        self.semaphore.leave(READER);
    }
}

impl Drop for RwWriteGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        self.held.assert_own();
        self.semaphore.leave(WRITER);
    }
}
