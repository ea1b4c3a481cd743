//! A spin lock that asks for proof that interrupts are masked.
//!
//! An interrupt handler that takes a lock which its own CPU holds would wait for
//! ever; so [`SpinLock::lock`] takes an [`IrqMasked`], and the guard can't outlive it.

use crate::arch::{IrqMasked, cpu};
use core::cell::UnsafeCell;
use core::fmt;
use core::ops::{Deref, DerefMut};
use core::sync::atomic::{AtomicBool, Ordering};

/// The lock order: a lock may be taken while locks of lower rank are held.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum Rank {
    /// memblock's arrays (boot only).
    Memblock,
    /// A pool of movable objects (Linux: zs_pool.lock).
    ZsPool,
    /// The list of all kmem caches (Linux: slab_mutex).
    SlabCaches,
    /// The address allocator of the vmalloc area (Linux: vmap_area_lock).
    Vmap,
    /// The kernel's page tables (Linux: init_mm.page_table_lock).
    PageTable,
    /// A kmem cache's partial slabs and spare sheaves (Linux: kmem_cache_node.list_lock).
    SlabNode,
    /// A CMA area's bitmap (Linux: cma.lock).
    Cma,
    /// The bringing up of sections of frame descriptors (Linux: pgdat.node_size_lock).
    Section,
    /// A zone's free lists (Linux: zone.lock).
    Zone,
    /// The heap that serves before SLUB is up.
    BootHeap,
    /// The console.
    Console,
}

/// Mutual exclusion between CPUs; see the module's documentation.
pub struct SpinLock<T: ?Sized> {
    locked: AtomicBool,
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
        Self { locked: AtomicBool::new(false), rank, value: UnsafeCell::new(value) }
    }
}

impl<T: ?Sized> SpinLock<T> {
    /// Waits for the lock and takes it. Any context; never sleeps.
    ///
    /// # Panics
    /// With debug assertions, where a lock of the same or a higher rank is held.
    pub fn lock<'a>(&'a self, irq: &'a IrqMasked) -> SpinGuard<'a, T> {
        order::acquire(self.rank, irq);
        while self
            .locked
            .compare_exchange_weak(false, true, Ordering::Acquire, Ordering::Relaxed)
            .is_err()
        {
            while self.locked.load(Ordering::Relaxed) {
                cpu::relax();
            }
        }
        SpinGuard { lock: self, irq }
    }

    /// Takes the lock if it is open, out of order too: for panics and reports.
    pub fn try_lock<'a>(&'a self, irq: &'a IrqMasked) -> Option<SpinGuard<'a, T>> {
        if self.locked.swap(true, Ordering::Acquire) {
            return None;
        }
        order::note(self.rank, irq);
        Some(SpinGuard { lock: self, irq })
    }

    /// The value, without locking: `&mut` proves that nobody else is there.
    pub fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }
}

impl<T: ?Sized> fmt::Debug for SpinLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SpinLock({:?}, locked {})", self.rank, self.locked.load(Ordering::Relaxed))
    }
}

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
        self.lock.locked.store(false, Ordering::Release);
    }
}

#[cfg(debug_assertions)]
mod order {
    use super::{IrqMasked, Rank, cpu};

    pub fn acquire(rank: Rank, irq: &IrqMasked) {
        cpu::held_ranks(irq, |held| {
            let above = held.get() >> rank as u32;
            assert!(
                above == 0,
                "lock order: {rank:?} (rank {}) taken while rank {} is held",
                rank as u32,
                held.get().ilog2()
            );
            held.set(held.get() | 1 << rank as u32);
        });
    }
    pub fn note(rank: Rank, irq: &IrqMasked) {
        cpu::held_ranks(irq, |held| held.set(held.get() | 1 << rank as u32));
    }
    pub fn release(rank: Rank, irq: &IrqMasked) {
        cpu::held_ranks(irq, |held| held.set(held.get() & !(1 << rank as u32)));
    }
}

#[cfg(not(debug_assertions))]
mod order {
    use super::{IrqMasked, Rank};

    pub fn acquire(_: Rank, _: &IrqMasked) {}
    pub fn note(_: Rank, _: &IrqMasked) {}
    pub fn release(_: Rank, _: &IrqMasked) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::irq::with_masked;

    #[test]
    fn excludes_between_threads() {
        let lock = SpinLock::new(Rank::Zone, 0u32);
        let rounds = if cfg!(miri) { 20 } else { 2000 };
        std::thread::scope(|s| {
            for _ in 0..4 {
                s.spawn(|| {
                    for _ in 0..rounds {
                        with_masked(|irq| {
                            let mut n = lock.lock(irq);
                            let seen = *n;
                            cpu::relax();
                            *n = seen + 1;
                        });
                    }
                });
            }
        });
        with_masked(|irq| assert_eq!(*lock.lock(irq), 4 * rounds));
    }

    #[test]
    #[should_panic(expected = "lock order: SlabNode")]
    fn falling_rank_is_caught() {
        let zone = SpinLock::new(Rank::Zone, ());
        let node = SpinLock::new(Rank::SlabNode, ());
        with_masked(|irq| {
            let _zone = zone.lock(irq);
            let _node = node.lock(irq);
        });
    }

    #[test]
    fn rising_rank_and_reuse_pass() {
        let zone = SpinLock::new(Rank::Zone, ());
        let node = SpinLock::new(Rank::SlabNode, ());
        for _ in 0..2 {
            with_masked(|irq| {
                let _node = node.lock(irq);
                let _zone = zone.lock(irq);
                assert!(zone.try_lock(irq).is_none());
            });
        }
    }
}
