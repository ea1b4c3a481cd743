//! Pools of elements that always have one for a caller that may sleep (Linux: mm/mempool.c).
//!
//! A pool keeps a reserve of `min_nr` elements. An allocation asks the pool's backing
//! first; where that has nothing, it takes from the reserve, and where that is empty too,
//! it waits for a free, if it may. A free refills the reserve first. So whoever frees what
//! he allocated before long lets everybody go on, however short memory is.
//!
//! A reserve of no elements has room for one all the same, which a free leaves there for
//! whoever waits: it would pass by him otherwise.
//!
//! Invariant: `missing` is what the reserve lacks of its room; both change under the lock
//! alone, and a fast free reads `missing` without it. An element that is freed after
//! another was taken from the reserve by the same CPU, or handed over from there, sees
//! that it is missing.
//! Lock order: the reserve's lock is held over nothing else.
#![deny(unsafe_code)]

#[expect(unsafe_code, reason = "the mechanism: memory from an allocator and back")]
mod backing;
#[cfg(test)]
mod tests;

pub use backing::{Backing, KmallocBacking, PageBacking, SlabBacking};

use crate::arch::irq::with_masked;
use crate::mm::alloc::{AllocError, KVec};
use crate::mm::gfp::{Gfp, might_alloc};
use crate::sched::{HZ, WaitQueue};
use crate::sync::{Rank, SpinLock};
use backing::Element;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicUsize, Ordering};

/// Time to wait before the backing is asked again, in ticks (Linux: 5 seconds).
const WAIT: u64 = 5 * HZ;

/// A pool of elements of one kind. Dropping it gives its reserve back; what is allocated
/// from it must have been freed before.
pub struct Mempool<B: Backing> {
    backing: B,
    reserve: SpinLock<Reserve>,
    missing: AtomicUsize,
    wait: WaitQueue,
}

struct Reserve {
    /// Reserve of elements. It has room for `min_nr`.
    elements: KVec<Element>,
    /// Element for a waiter if `min_nr` is 0. It takes no memory.
    spare: Option<Element>,
    min_nr: usize,
}

impl Reserve {
    const fn new() -> Self {
        Self { elements: KVec::new(), spare: None, min_nr: 0 }
    }

    /// Number of elements that a free may add to the reserve.
    fn room(&self) -> usize {
        self.min_nr.max(1)
    }

    fn len(&self) -> usize {
        self.elements.len() + usize::from(self.spare.is_some())
    }

    fn pop(&mut self) -> Option<Element> {
        self.elements.pop().or_else(|| self.spare.take())
    }

    /// Puts `element` here, if there is room for it; else hands it back.
    fn push(&mut self, element: Element) -> Result<(), Element> {
        if self.len() >= self.room() {
            return Err(element);
        }
        if self.min_nr == 0 {
            self.spare = Some(element);
            return Ok(());
        }
        self.elements.push_within_capacity(element).map_err(|back| back.0)
    }
}

/// A pool of objects of a kmem cache.
pub type SlabPool = Mempool<SlabBacking>;
/// A pool of kmalloc memory.
pub type KmallocPool = Mempool<KmallocBacking>;
/// A pool of blocks of pages.
pub type PagePool = Mempool<PageBacking>;

impl<B: Backing> Mempool<B> {
    /// A pool with `min_nr` elements of `backing` in reserve. Process context (Linux:
    /// mempool_create).
    ///
    /// # Errors
    /// There is no memory for the reserve; nothing is kept.
    pub fn new(min_nr: usize, backing: B) -> Result<Self, AllocError> {
        let pool = Self {
            backing,
            reserve: SpinLock::new(Rank::Mempool, Reserve::new()),
            missing: AtomicUsize::new(0),
            wait: WaitQueue::new(),
        };
        pool.resize(min_nr)?;
        Ok(pool)
    }

    /// Allocates an element. With `__GFP_DIRECT_RECLAIM` it never fails, and waits for a
    /// free where need be: then process context. `None` otherwise, where memory is short and
    /// the reserve is empty. The content is of any value: `__GFP_ZERO` has no say, as an
    /// element of the reserve would not obey it.
    #[inline]
    #[must_use]
    #[track_caller]
    pub fn alloc(&self, gfp: Gfp) -> Option<NonNull<u8>> {
        might_alloc(gfp);
        // The reserve is for him who finds nothing: no other reserve is touched for him, and
        // the backing does not sleep before that.
        let gfp = (gfp | Gfp::__GFP_NOMEMALLOC | Gfp::__GFP_NORETRY | Gfp::__GFP_NOWARN)
            & !(Gfp::__GFP_ZERO | Gfp::__GFP_NOFAIL);
        let light = gfp & !(Gfp::__GFP_DIRECT_RECLAIM | Gfp::__GFP_IO);
        match self.backing.alloc(light) {
            Some(element) => Some(element),
            None => self.alloc_slow(gfp),
        }
    }

    #[cold]
    #[inline(never)]
    fn alloc_slow(&self, gfp: Gfp) -> Option<NonNull<u8>> {
        loop {
            if let Some(element) = self.alloc_preallocated() {
                return Some(element);
            }
            if !gfp.allows_blocking() {
                return None;
            }
            if let Some(element) = self.backing.alloc(gfp) {
                return Some(element);
            }
            // Others may free to the backing itself, past the pool: so not for ever.
            let _ = self.wait.wait_event_timeout(|| self.reserved() > 0, WAIT);
        }
    }

    /// Takes an element of the reserve, if there is one, without asking the backing. Any
    /// context (Linux: mempool_alloc_preallocated).
    #[must_use]
    pub fn alloc_preallocated(&self) -> Option<NonNull<u8>> {
        with_masked(|irq| {
            let mut reserve = self.reserve.lock(irq);
            let element = reserve.pop()?;
            self.count(&reserve);
            Some(element.0)
        })
    }

    /// Says what the reserve lacks. The lock is held.
    fn count(&self, reserve: &Reserve) {
        self.missing.store(reserve.room() - reserve.len(), Ordering::Release);
    }

    /// Puts `element` into the reserve, if that lacks one, and wakes who waits; else hands
    /// it back.
    fn refill(&self, element: NonNull<u8>) -> Result<(), NonNull<u8>> {
        with_masked(|irq| {
            let mut reserve = self.reserve.lock(irq);
            reserve.push(Element(element)).map_err(|back| back.0)?;
            self.count(&reserve);
            Ok::<_, NonNull<u8>>(())
        })?;
        self.wait.wake_up();
        Ok(())
    }

    #[cold]
    #[inline(never)]
    fn free_slow(&self, element: NonNull<u8>) {
        if let Err(element) = self.refill(element) {
            self.backing.give_back(Element(element));
        }
    }

    /// Takes back an element: into the reserve if that lacks one, else to the backing.
    pub(super) fn take_back(&self, element: Element) {
        if self.missing.load(Ordering::Acquire) != 0 {
            self.free_slow(element.0);
        } else {
            self.backing.give_back(element);
        }
    }

    /// Lets the reserve be of `min_nr` elements. Process context.
    ///
    /// # Errors
    /// There is no memory for a larger one: it keeps its old size, or, if there was memory
    /// for the new size but not for all of its elements, frees will fill it.
    pub fn resize(&self, min_nr: usize) -> Result<(), AllocError> {
        let mut elements = KVec::with_capacity(min_nr, Gfp::GFP_KERNEL)?;
        let (mut surplus, spare) = with_masked(|irq| {
            let mut reserve = self.reserve.lock(irq);
            while elements.len() < min_nr
                && let Some(element) = reserve.pop()
            {
                // There is room for `min_nr`.
                let _ = elements.push_within_capacity(element);
            }
            reserve.min_nr = min_nr;
            let surplus = core::mem::replace(&mut reserve.elements, elements);
            let spare = reserve.spare.take();
            self.count(&reserve);
            (surplus, spare)
        });
        for element in core::iter::from_fn(|| surplus.pop()).chain(spare) {
            self.backing.give_back(element);
        }
        while self.reserved() < self.min_nr() {
            let element = self.backing.alloc(Gfp::GFP_KERNEL).ok_or(AllocError)?;
            self.free_slow(element);
        }
        Ok(())
    }

    /// Number of elements that the reserve is to hold.
    #[must_use]
    pub fn min_nr(&self) -> usize {
        with_masked(|irq| self.reserve.lock(irq).min_nr)
    }

    /// Number of elements in the reserve now.
    #[must_use]
    pub fn reserved(&self) -> usize {
        with_masked(|irq| self.reserve.lock(irq).len())
    }

    /// Checks the counts; for tests.
    ///
    /// # Panics
    /// Where they disagree.
    pub fn validate(&self) {
        with_masked(|irq| {
            let reserve = self.reserve.lock(irq);
            let (len, missing) = (reserve.len(), self.missing.load(Ordering::Relaxed));
            assert_eq!(
                len + missing,
                reserve.room(),
                "mempool: {len} in reserve, {missing} missing"
            );
            assert!(reserve.elements.capacity() >= reserve.min_nr, "mempool: no room for min_nr");
        });
    }
}

impl<B: Backing> Drop for Mempool<B> {
    fn drop(&mut self) {
        while let Some(element) = self.alloc_preallocated() {
            self.backing.give_back(Element(element));
        }
    }
}
