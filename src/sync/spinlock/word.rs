//! A spin lock that is a word of an object, such as the descriptor of a page table (Linux: ptl of
//! struct ptdesc). Whoever gives the object up closes the lock for good.
#![deny(unsafe_code)]

use super::OPEN;
use crate::arch::{IrqMasked, cpu};
use crate::sync::Rank;
use crate::sync::atomic::{AtomicU32, Ordering};
use crate::sync::rank as order;

/// The word of a lock whose object is given up.
const CLOSED: u32 = u32::MAX;

/// Gives the word of an object that nobody else has an open lock.
#[inline(always)]
pub fn init_word(word: &AtomicU32) {
    word.store(OPEN, Ordering::Relaxed);
}

/// Waits for the lock of `rank` in `word` and takes it; `None` if it is closed. Any context; never
/// sleeps.
///
/// # Panics
/// As [`SpinLock::lock`](super::SpinLock::lock).
#[inline(always)]
#[track_caller]
pub fn lock_word<'a>(word: &'a AtomicU32, rank: Rank, irq: &'a IrqMasked) -> Option<WordGuard<'a>> {
    order::acquire(rank, irq);
    take(word, rank, irq)
}

/// Waits for this lock and takes it as the second of its rank, while `first` is held; `None` if it
/// is closed.
///
/// # Panics
/// Where its address is not above that of the first. Otherwise as
/// [`SpinLock::lock_nested`](super::SpinLock::lock_nested).
#[track_caller]
pub fn lock_word_nested<'a>(word: &'a AtomicU32, first: &WordGuard<'a>) -> Option<WordGuard<'a>> {
    let (own, other) = (address(word), address(first.word));
    assert!(own > other, "lock order: a word at {own:#x} locked while that at {other:#x} is");
    order::acquire_nested(first.rank, first.irq);
    take(word, first.rank, first.irq)
}

#[inline(always)]
fn take<'a>(word: &'a AtomicU32, rank: Rank, irq: &'a IrqMasked) -> Option<WordGuard<'a>> {
    let holder = cpu::holder(irq);
    while word.compare_exchange_weak(OPEN, holder, Ordering::Acquire, Ordering::Relaxed).is_err() {
        match word.load(Ordering::Relaxed) {
            OPEN => {}
            CLOSED => {
                order::release(rank, irq);
                return None;
            }
            seen => cpu::wait_changed(word, seen),
        }
    }
    cpu::lock_taken(address(word));
    Some(WordGuard { word, rank, irq, after: OPEN })
}

fn address(word: &AtomicU32) -> usize {
    core::ptr::from_ref(word).addr()
}

/// The lock is held while this lives.
pub struct WordGuard<'a> {
    word: &'a AtomicU32,
    rank: Rank,
    irq: &'a IrqMasked,
    after: u32,
}

impl<'a> WordGuard<'a> {
    /// The proof that the lock was taken with.
    #[inline(always)]
    #[must_use]
    pub fn irq(&self) -> &'a IrqMasked {
        self.irq
    }

    /// Gives the lock up, so that nobody takes it again before [`init_word`].
    pub fn close(mut self) {
        self.after = CLOSED;
    }
}

impl Drop for WordGuard<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        order::release(self.rank, self.irq);
        cpu::lock_given_up(address(self.word));
        self.word.store(self.after, Ordering::Release);
    }
}
