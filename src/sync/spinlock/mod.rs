//! A spin lock that asks for proof that interrupts are masked.
//!
//! An interrupt handler that takes a lock which its own CPU holds would wait for
//! ever; so [`SpinLock::lock`] takes an [`IrqMasked`], and the guard can't outlive it. That
//! proof ends with a closure and not with a guard, so guards may be dropped in any order:
//! none switches interrupts on. It can't leave its CPU, and so neither can the guard.
//!
//! A CPU that waits sleeps until the lock's word changes. The word is the holder's number:
//! builds with debug assertions check that no CPU takes a lock twice, and none gives up
//! another's.

use super::Rank;
use super::rank as order;
use crate::arch::{IrqMasked, cpu};
use crate::sync::atomic::{AtomicU32, Ordering};
use core::cell::UnsafeCell;
use core::fmt;
use core::ops::{Deref, DerefMut};

#[cfg(test)]
mod tests;
mod word;

pub use word::{WordGuard, init_word, lock_word, lock_word_nested};

/// Mutual exclusion between CPUs; see the module's documentation.
pub struct SpinLock<T: ?Sized> {
    /// [`cpu::holder`] of the CPU that holds it, 0 while it is open.
    locked: AtomicU32,
    rank: Rank,
    value: UnsafeCell<T>,
}

// SAFETY: the lock hands `&mut T` to one CPU at a time.
unsafe impl<T: ?Sized + Send> Sync for SpinLock<T> {}
// SAFETY: it owns its value.
unsafe impl<T: ?Sized + Send> Send for SpinLock<T> {}

impl<T> SpinLock<T> {
    /// An open lock of `rank` around `value`.
    pub const fn new(rank: Rank, value: T) -> Self {
        Self { locked: AtomicU32::new(OPEN), rank, value: UnsafeCell::new(value) }
    }
}

impl<T: ?Sized> SpinLock<T> {
    /// Waits for the lock and takes it. Any context; never sleeps.
    ///
    /// # Panics
    /// With debug assertions, where a lock of the same or a higher rank is held, this one
    /// itself above all.
    #[track_caller]
    pub fn lock<'a>(&'a self, irq: &'a IrqMasked) -> SpinGuard<'a, T> {
        let holder = cpu::holder(irq);
        if cfg!(debug_assertions) {
            self.assert_not_held_by(holder, irq);
        }
        order::acquire(self.rank, irq);
        self.acquire(holder);
        SpinGuard { lock: self, irq }
    }

    /// Waits for this lock and takes it as the second of its rank, while `first` is held. Two CPUs
    /// that need both take them in the order of their addresses, so that neither waits for the
    /// other. The guards may be dropped in either order (Linux: spin_lock_nested, double_lock).
    ///
    /// # Panics
    /// Where this lock has another rank than the first, or its address is not above that one's:
    /// it is the first itself, or the two are to be taken the other way round. With debug
    /// assertions also where a lock of a higher rank is held, or two of this one.
    #[track_caller]
    pub fn lock_nested<'a, U: ?Sized>(&'a self, first: &SpinGuard<'a, U>) -> SpinGuard<'a, T> {
        let (rank, irq) = (self.rank, first.irq);
        let (own, other) = (self.address(), first.lock.address());
        assert!(
            rank == first.lock.rank,
            "lock order: {rank:?} nested into a lock of {:?}",
            first.lock.rank
        );
        assert!(
            own > other,
            "lock order: {rank:?} at {own:#x} taken while {rank:?} at {other:#x} is held"
        );
        order::acquire_nested(rank, irq);
        self.acquire(cpu::holder(irq));
        SpinGuard { lock: self, irq }
    }

    #[inline(always)]
    fn acquire(&self, holder: u32) {
        while self
            .locked
            .compare_exchange_weak(OPEN, holder, Ordering::Acquire, Ordering::Relaxed)
            .is_err()
        {
            let seen = self.locked.load(Ordering::Relaxed);
            if seen != OPEN {
                cpu::wait_changed(&self.locked, seen);
            }
        }
        cpu::lock_taken(self.address());
    }

    #[track_caller]
    fn assert_not_held_by(&self, holder: u32, irq: &IrqMasked) {
        assert!(
            self.locked.load(Ordering::Relaxed) != holder,
            "{:?}: CPU {} takes a lock that it holds",
            self.rank,
            cpu::id(irq).index()
        );
    }

    /// Takes the lock if it is open, out of order too: for panics and reports.
    pub fn try_lock<'a>(&'a self, irq: &'a IrqMasked) -> Option<SpinGuard<'a, T>> {
        self.locked
            .compare_exchange(OPEN, cpu::holder(irq), Ordering::Acquire, Ordering::Relaxed)
            .ok()?;
        order::note(self.rank, irq);
        cpu::lock_taken(self.address());
        Some(SpinGuard { lock: self, irq })
    }

    /// Address of the lock's word.
    fn address(&self) -> usize {
        core::ptr::from_ref(&self.locked).addr()
    }

    /// The value, without locking: `&mut` proves that nobody else is there.
    pub fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }
}

impl<T: ?Sized> fmt::Debug for SpinLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SpinLock({:?}, ", self.rank)?;
        match self.locked.load(Ordering::Relaxed) {
            OPEN => f.write_str("open)"),
            holder => write!(f, "held by CPU {})", holder - 1),
        }
    }
}

/// The word of a lock that nobody holds.
const OPEN: u32 = 0;

/// The lock is held while this lives.
pub struct SpinGuard<'a, T: ?Sized> {
    lock: &'a SpinLock<T>,
    irq: &'a IrqMasked,
}

impl<'a, T: ?Sized> SpinGuard<'a, T> {
    /// The proof that the lock was taken with.
    #[must_use]
    pub fn irq(&self) -> &'a IrqMasked {
        self.irq
    }

    /// Returns true if it is `lock` that is held.
    #[must_use]
    pub fn is_of(&self, lock: &SpinLock<T>) -> bool {
        self.lock.address() == lock.address()
    }
}

impl<T: ?Sized> SpinGuard<'_, T> {
    fn assert_held(&self) {
        let (holder, own) = (self.lock.locked.load(Ordering::Relaxed), cpu::holder(self.irq));
        assert!(
            holder == own,
            "{:?}: CPU {} gives up a lock that it does not hold, {holder} does",
            self.lock.rank,
            cpu::id(self.irq).index()
        );
    }
}

impl<T: ?Sized> Deref for SpinGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: the guard means that this CPU holds the lock.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T: ?Sized> DerefMut for SpinGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the guard means that this CPU holds the lock, and it is borrowed mutably.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T: ?Sized> Drop for SpinGuard<'_, T> {
    fn drop(&mut self) {
        order::release(self.lock.rank, self.irq);
        if cfg!(debug_assertions) {
            self.assert_held();
        }
        cpu::lock_given_up(self.lock.address());
        self.lock.locked.store(OPEN, Ordering::Release);
    }
}
