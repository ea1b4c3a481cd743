//! A sheaf: an array of free objects of one cache that one CPU owns (Linux:
//! struct slab_sheaf, mm/slub.c of 6.18).
//!
//! The fields are atomics so that a report may look at another CPU's sheaf; all
//! accesses are relaxed, plain loads and stores. Who may change a sheaf: the CPU in
//! whose slot it lies, with interrupts masked; or who holds it in hand on its way
//! between a slot and the barn.
#![deny(unsafe_code)]

use crate::addr::VirtAddr;
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed};

/// How many objects a sheaf has room for; large objects use less of it.
pub(super) const SHEAF_OBJECTS: usize = 60;

/// Free objects, used last in first out. 512 bytes with its header.
#[repr(C)]
pub(super) struct Sheaf {
    count: AtomicU32,
    capacity: AtomicU32,
    objects: [AtomicUsize; SHEAF_OBJECTS],
}

const _: () = assert!(size_of::<Sheaf>() <= 512);

/// Stands where a CPU has no sheaf: it can give nothing and take nothing, so the
/// fast paths need no test for it.
pub(super) static NO_SHEAF: Sheaf = Sheaf::new(0);

impl Sheaf {
    /// An empty sheaf for `capacity` objects, at most [`SHEAF_OBJECTS`].
    pub(super) const fn new(capacity: u32) -> Self {
        assert!(capacity as usize <= SHEAF_OBJECTS);
        Self {
            count: AtomicU32::new(0),
            capacity: AtomicU32::new(capacity),
            objects: [const { AtomicUsize::new(0) }; SHEAF_OBJECTS],
        }
    }

    /// How many objects it holds.
    #[inline(always)]
    pub fn count(&self) -> u32 {
        self.count.load(Relaxed)
    }

    /// How many objects it holds at most; 0 marks the stand-in for no sheaf.
    #[inline(always)]
    pub fn capacity(&self) -> u32 {
        self.capacity.load(Relaxed)
    }

    /// For how many more objects there is room.
    pub fn room(&self) -> u32 {
        self.capacity() - self.count()
    }

    /// Takes the object that was put last.
    #[inline(always)]
    pub fn pop(&self) -> Option<VirtAddr> {
        let last = self.count().wrapping_sub(1);
        let object = self.objects.get(last as usize)?;
        self.count.store(last, Relaxed);
        Some(VirtAddr::new(object.load(Relaxed)))
    }

    /// Puts `object`, and says whether that went: not if there is no room, nor if the
    /// object lies on top already.
    #[inline(always)]
    pub fn push(&self, object: VirtAddr) -> bool {
        let count = self.count();
        if count >= self.capacity() {
            return false;
        }
        let Some(slot) = self.objects.get(count as usize) else {
            return false;
        };
        if self.below(count) == Some(object) {
            return false;
        }
        slot.store(object.get(), Relaxed);
        self.count.store(count + 1, Relaxed);
        true
    }

    /// The object that was put last, which stays.
    pub fn top(&self) -> Option<VirtAddr> {
        self.below(self.count())
    }

    #[inline(always)]
    fn below(&self, count: u32) -> Option<VirtAddr> {
        let object = self.objects.get(count.wrapping_sub(1) as usize)?;
        Some(VirtAddr::new(object.load(Relaxed)))
    }

    /// All objects in it, as far as they stay while its CPU goes on.
    pub fn iter(&self) -> impl Iterator<Item = VirtAddr> + '_ {
        let count = self.count() as usize;
        self.objects.iter().take(count).map(|object| VirtAddr::new(object.load(Relaxed)))
    }
}
