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

/// Free objects, used last in first out.
///
/// They lie in `objects[room..capacity]`, the last one put first: so a put checks
/// against zero alone whether there is room. `objects[capacity]` stays 0, which ends
/// a take: no object lies at address 0.
#[repr(C)]
pub(super) struct Sheaf {
    room: AtomicU32,
    capacity: AtomicU32,
    objects: [AtomicUsize; SHEAF_OBJECTS + 1],
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
            room: AtomicU32::new(capacity),
            capacity: AtomicU32::new(capacity),
            objects: [const { AtomicUsize::new(0) }; SHEAF_OBJECTS + 1],
        }
    }

    /// For how many more objects there is room.
    #[inline(always)]
    pub fn room(&self) -> u32 {
        self.room.load(Relaxed)
    }

    /// How many objects it holds at most; 0 marks the stand-in for no sheaf.
    pub fn capacity(&self) -> u32 {
        self.capacity.load(Relaxed)
    }

    /// How many objects it holds.
    pub fn count(&self) -> u32 {
        self.capacity().saturating_sub(self.room())
    }

    /// Takes the object that was put last.
    #[inline(always)]
    pub fn pop(&self) -> Option<VirtAddr> {
        let room = self.room();
        let object = self.objects.get(room as usize)?.load(Relaxed);
        if object == 0 {
            return None;
        }
        self.room.store(room + 1, Relaxed);
        Some(VirtAddr::new(object))
    }

    /// Puts `object`, and says whether that went: not if there is no room, nor if the
    /// object lies on top already.
    #[inline(always)]
    pub fn push(&self, object: VirtAddr) -> bool {
        let next = self.room().wrapping_sub(1);
        let at = next as usize;
        if at >= SHEAF_OBJECTS || self.objects[at + 1].load(Relaxed) == object.get() {
            return false;
        }
        self.objects[at].store(object.get(), Relaxed);
        self.room.store(next, Relaxed);
        true
    }

    /// Takes out the objects of which `take` says so; it is asked once for each.
    pub fn take_if(&self, mut take: impl FnMut(VirtAddr) -> bool) {
        let mut room = self.capacity() as usize;
        for slot in (self.room() as usize..room).rev() {
            let object = self.objects[slot].load(Relaxed);
            if !take(VirtAddr::new(object)) {
                room -= 1;
                self.objects[room].store(object, Relaxed);
            }
        }
        self.room.store(room as u32, Relaxed);
    }

    /// The object that was put last, which stays.
    pub fn top(&self) -> Option<VirtAddr> {
        self.iter().next()
    }

    /// All objects in it, as far as they stay while its CPU goes on.
    pub fn iter(&self) -> impl Iterator<Item = VirtAddr> + '_ {
        let held = self.objects.iter().take(self.capacity() as usize).skip(self.room() as usize);
        held.map(|object| VirtAddr::new(object.load(Relaxed)))
    }
}
