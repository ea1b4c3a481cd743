//! A sheaf: an array of free objects of one cache that one CPU owns (Linux:
//! struct slab_sheaf, mm/slub.c of 6.18).
//!
//! The fields are atomics so that a report may look at another CPU's sheaf; all
//! accesses are relaxed, plain loads and stores. Who may change a sheaf: the CPU in
//! whose slot it lies, with interrupts masked; or who holds it in hand on its way
//! between a slot and the barn.
#![deny(unsafe_code)]

use crate::addr::VirtAddr;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// How many objects a sheaf has room for; large objects use less of it.
pub(super) const SHEAF_OBJECTS: usize = 60;

/// Words of a sheaf: a power of two, so that an index needs no check but a mask.
const WORDS: usize = 64;
const INDEX: usize = WORDS - 1;
/// Where in the first word the capacity begins.
const CAPACITY_SHIFT: u32 = 8;

const _: () = assert!(SHEAF_OBJECTS + 2 <= WORDS && WORDS <= 1 << CAPACITY_SHIFT);

/// Free objects, used last in first out.
///
/// They lie in `words[1 + room..=capacity]`, the last one put first. The first word has
/// `1 + room`, and above it the capacity: a put finds no room where it comes to index 0.
/// `words[1 + capacity]` stays 0, which ends a take: no object lies at address 0.
#[repr(C)]
pub(super) struct Sheaf {
    words: [AtomicUsize; WORDS],
}

const _: () = assert!(size_of::<Sheaf>() <= 512);

/// Stands where a CPU has no sheaf: it can give nothing and take nothing, so the
/// fast paths need no test for it.
pub(super) static NO_SHEAF: Sheaf = Sheaf::new(0);

impl Sheaf {
    /// An empty sheaf for `capacity` objects, at most [`SHEAF_OBJECTS`].
    pub(super) const fn new(capacity: u32) -> Self {
        assert!(capacity as usize <= SHEAF_OBJECTS);
        let mut words = [const { AtomicUsize::new(0) }; WORDS];
        words[0] =
            AtomicUsize::new((capacity as usize) << CAPACITY_SHIFT | (capacity as usize + 1));
        Self { words }
    }

    /// For how many more objects there is room.
    #[inline(always)]
    pub fn room(&self) -> u32 {
        (self.first() - 1) as u32
    }

    /// The index of the object that was put last.
    #[inline(always)]
    fn first(&self) -> usize {
        self.words[0].load(Relaxed) & INDEX
    }

    /// How many objects it holds at most; 0 marks the stand-in for no sheaf.
    pub fn capacity(&self) -> u32 {
        (self.words[0].load(Relaxed) >> CAPACITY_SHIFT) as u32
    }

    /// How many objects it holds.
    pub fn count(&self) -> u32 {
        self.capacity().saturating_sub(self.room())
    }

    /// Takes the object that was put last.
    #[inline(always)]
    pub fn pop(&self) -> Option<VirtAddr> {
        let head = self.words[0].load(Relaxed);
        let object = self.words[head & INDEX].load(Relaxed);
        if object == 0 {
            return None;
        }
        self.words[0].store(head + 1, Relaxed);
        Some(VirtAddr::new(object))
    }

    /// Puts `object`, and says whether that went: not if there is no room, nor if the
    /// object lies on top already.
    #[inline(always)]
    pub fn push(&self, object: VirtAddr) -> bool {
        let head = self.words[0].load(Relaxed);
        let next = head.wrapping_sub(1);
        if next & INDEX == 0 || self.words[head & INDEX].load(Relaxed) == object.get() {
            return false;
        }
        self.words[next & INDEX].store(object.get(), Relaxed);
        self.words[0].store(next, Relaxed);
        true
    }

    /// Says at which index the object lies that is the next to be taken.
    fn set_first(&self, first: usize) {
        let capacity = self.words[0].load(Relaxed) & !INDEX;
        self.words[0].store(capacity | first, Relaxed);
    }

    /// Takes out the objects of which `take` says so; it is asked once for each.
    pub fn take_if(&self, mut take: impl FnMut(VirtAddr) -> bool) {
        let mut kept = self.capacity() as usize + 1;
        for index in (self.first()..kept).rev() {
            let object = self.words[index].load(Relaxed);
            if !take(VirtAddr::new(object)) {
                kept -= 1;
                self.words[kept].store(object, Relaxed);
            }
        }
        self.set_first(kept);
    }

    /// The object that was put last, which stays.
    pub fn top(&self) -> Option<VirtAddr> {
        self.iter().next()
    }

    /// All objects in it, as far as they stay while its CPU goes on.
    pub fn iter(&self) -> impl Iterator<Item = VirtAddr> + '_ {
        let held = self.words.iter().take(self.capacity() as usize + 1).skip(self.first());
        held.map(|object| VirtAddr::new(object.load(Relaxed)))
    }
}
