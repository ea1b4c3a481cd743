//! A sheaf: an array of free objects of one cache that one CPU owns (Linux:
//! struct slab_sheaf, mm/slub.c of 6.18).
//!
//! Who has a sheaf knows the place in it of the object that is the next to be taken, its
//! top. Sheaves are aligned to their size, so that one word tells which sheaf it is and how
//! much it holds.
//!
//! A slot's word is atomic so that a report may count what another CPU has; all accesses
//! are plain loads and stores. Who may change a sheaf: the CPU in whose slot it lies, with
//! interrupts masked; or who holds it in hand on its way between a slot and the barn.

use super::caches::sheaf_cache;
use super::kmem_cache::RawCache;
use crate::addr::VirtAddr;
use crate::mm::gfp::Gfp;
use core::cell::UnsafeCell;
use core::ops::Deref;
use core::panic::Location;
use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

/// Bytes of a sheaf, which it is aligned to.
const SIZE: usize = 512;
/// Words of it that are not its capacity.
const WORDS: usize = SIZE / size_of::<usize>() - 1;
/// Number of objects that a sheaf has room for, beside the 0 at their end; large objects use
/// less of it.
pub(super) const SHEAF_OBJECTS: usize = WORDS - 1;

const _: () = assert!(size_of::<Sheaf>() == SIZE);

/// Memory for free objects, which are used last in first out.
///
/// They lie in `words[top..capacity]`, the last one put first: a put finds no room where the
/// top is at the sheaf's own address. `words[capacity]` stays 0, which ends a take: no object
/// lies at address 0.
#[repr(C, align(512))]
pub(super) struct Sheaf {
    words: UnsafeCell<[usize; WORDS]>,
    /// Never changes.
    capacity: AtomicUsize,
}

// SAFETY: `words` is reached through the one slot or hand that has the sheaf.
unsafe impl Sync for Sheaf {}

/// Stands where a CPU has no sheaf: it can give nothing and take nothing, so the
/// fast paths need no test for it.
static NO_SHEAF: Sheaf = Sheaf::new(0);

impl Sheaf {
    /// An empty sheaf for `capacity` objects, at most [`SHEAF_OBJECTS`].
    pub const fn new(capacity: u32) -> Self {
        assert!(capacity as usize <= SHEAF_OBJECTS);
        let capacity = AtomicUsize::new(capacity as usize);
        Self { words: UnsafeCell::new([0; WORDS]), capacity }
    }
}

/// A place for a sheaf, or for the stand-in where there is none: a CPU's, or a hand.
///
/// It holds the sheaf's top. Invariant: that is one of `words[..=capacity]` of a sheaf that
/// no other place has. Only its owner calls what changes it or looks at objects.
#[repr(transparent)]
pub(super) struct SheafSlot {
    top: AtomicPtr<usize>,
}

impl SheafSlot {
    /// Without a sheaf.
    pub const fn new() -> Self {
        Self { top: AtomicPtr::new((&raw const NO_SHEAF).cast_mut().cast()) }
    }

    /// Creates a sheaf whose top is at `top`, which nobody may look at.
    #[cfg(test)]
    pub fn at(top: usize) -> Self {
        Self { top: AtomicPtr::new(core::ptr::with_exposed_provenance_mut(top)) }
    }

    #[inline(always)]
    fn top_ptr(&self) -> *mut usize {
        self.top.load(Ordering::Relaxed)
    }

    fn sheaf(&self) -> &'static Sheaf {
        let sheaf = self.top_ptr().map_addr(|top| top & !(SIZE - 1)).cast::<Sheaf>();
        // SAFETY: the top is in a sheaf, which is aligned to its size and lives while a slot
        // has it.
        unsafe { &*sheaf }
    }

    /// Number of objects that can still be added.
    #[inline(always)]
    pub fn room(&self) -> u32 {
        ((self.top_ptr().addr() % SIZE) / size_of::<usize>()) as u32
    }

    /// Number of objects that the sheaf holds at most; 0 for the stand-in for no sheaf.
    pub fn capacity(&self) -> u32 {
        self.sheaf().capacity.load(Ordering::Relaxed) as u32
    }

    /// Number of objects in the sheaf.
    pub fn count(&self) -> u32 {
        self.capacity().saturating_sub(self.room())
    }

    /// Number of objects in the sheaf, of a cache whose sheaves have room for `capacity`. Can be
    /// called on any CPU: it reads the position of the top alone, as the sheaf's owner may free
    /// its memory meanwhile.
    pub fn count_from_afar(&self, capacity: u32) -> u32 {
        Self::count_below(self.top_ptr(), capacity)
    }

    fn count_below(top: *mut usize, capacity: u32) -> u32 {
        let top = top.addr();
        let is_none = top & !(SIZE - 1) == (&raw const NO_SHEAF).addr();
        let room = (top % SIZE / size_of::<usize>()) as u32;
        if is_none { 0 } else { capacity.saturating_sub(room) }
    }

    /// Takes the object that was put last.
    #[inline(always)]
    pub fn pop(&self) -> Option<VirtAddr> {
        let top = self.top_ptr();
        // SAFETY: the top is in the sheaf, which is the owner's.
        let object = unsafe { top.read() };
        if object == 0 {
            return None;
        }
        self.top.store(top.wrapping_add(1), Ordering::Relaxed);
        Some(VirtAddr::new(object))
    }

    /// Puts `object`, and says whether that went: not if there is no room, nor if the
    /// object lies on top already.
    #[inline(always)]
    pub fn push(&self, object: VirtAddr) -> bool {
        let top = self.top_ptr();
        // SAFETY: the top is in the sheaf, which is the owner's.
        let last = unsafe { top.read() };
        if (last == object.get()) | top.addr().is_multiple_of(SIZE) {
            return false;
        }
        let top = top.wrapping_sub(1);
        // SAFETY: there is room below.
        unsafe { top.write(object.get()) };
        self.top.store(top, Ordering::Relaxed);
        true
    }

    /// Puts what `next` gives, as long as it gives and there is room; says how many.
    #[inline(always)]
    pub fn fill(&self, mut next: impl FnMut() -> Option<VirtAddr>) -> u32 {
        let mut top = self.top_ptr();
        let mut room = self.room();
        while room > 0
            && let Some(object) = next()
        {
            room -= 1;
            top = top.wrapping_sub(1);
            // SAFETY: there was room below.
            unsafe { top.write(object.get()) };
        }
        let put = self.room() - room;
        self.top.store(top, Ordering::Relaxed);
        put
    }

    /// Takes objects, last in first, as long as `take` says that it takes them.
    #[inline(always)]
    pub fn drain(&self, mut take: impl FnMut(VirtAddr) -> bool) {
        let mut top = self.top_ptr();
        loop {
            // SAFETY: the top is in the sheaf, which is the owner's.
            let object = unsafe { top.read() };
            if object == 0 || !take(VirtAddr::new(object)) {
                break;
            }
            top = top.wrapping_add(1);
        }
        self.top.store(top, Ordering::Relaxed);
    }

    /// Brings the objects of which `first` says so on top of the others, and says how many
    /// they are.
    pub fn gather(&self, first: impl Fn(VirtAddr) -> bool) -> u32 {
        let (top, count) = (self.top_ptr(), self.count());
        // SAFETY: `count` objects lie from the top on, and are the owner's.
        let objects = unsafe { core::slice::from_raw_parts_mut(top, count as usize) };
        let mut found = 0;
        for at in 0..objects.len() {
            if first(VirtAddr::new(objects[at])) {
                objects.swap(at, found);
                found += 1;
            }
        }
        found as u32
    }

    /// The object that was put last, which stays.
    pub fn top(&self) -> Option<VirtAddr> {
        // SAFETY: the top is in the sheaf, which is the owner's.
        let object = unsafe { self.top_ptr().read() };
        (object != 0).then_some(VirtAddr::new(object))
    }

    /// All objects in it, the last one put first, of a cache whose sheaves have room for
    /// `capacity`. On another CPU than its owner's they are what is read there at the moment, and
    /// no objects where the owner changes the sheaf or frees its memory meanwhile.
    pub fn iter(&self, capacity: u32) -> impl Iterator<Item = VirtAddr> + Clone + use<> {
        let top = self.top_ptr();
        let capacity = capacity.min(SHEAF_OBJECTS as u32);
        // SAFETY: the words up to the capacity lie in the 512 bytes around the top, which are
        // memory of the linear map, whoever has it by then. Nothing relies on their value.
        let word = move |n: u32| unsafe { top.wrapping_add(n as usize).read_volatile() };
        (0..Self::count_below(top, capacity)).map(move |n| VirtAddr::new(word(n)))
    }

    /// Puts `sheaf` here and hands out what was. By its owner alone, or while nobody
    /// uses the cache.
    pub fn replace(&self, sheaf: OwnedSheaf) -> OwnedSheaf {
        let old = self.top_ptr();
        // A report by another CPU finds the sheaf as it was made.
        self.top.store(sheaf.0.top_ptr(), Ordering::Release);
        OwnedSheaf(Self { top: AtomicPtr::new(old) })
    }

    /// Lets two slots of one CPU change their sheaves.
    pub fn swap(&self, other: &Self) {
        let here = self.top_ptr();
        self.top.store(other.top_ptr(), Ordering::Release);
        other.top.store(here, Ordering::Release);
    }
}

/// Sheaf that is in no CPU's slot and in no barn: its holder may fill it, empty it, or free its
/// memory.
#[repr(transparent)]
pub(super) struct OwnedSheaf(SheafSlot);

impl OwnedSheaf {
    /// A new, empty sheaf for `cache`; `None` if memory is short. Doesn't sleep. No node
    /// lock may be held.
    pub fn allocate(cache: &RawCache, gfp: Gfp) -> Option<Self> {
        let gfp = (gfp | Gfp::__GFP_NOWARN) & !(Gfp::__GFP_DIRECT_RECLAIM | Gfp::__GFP_NOFAIL);
        let sheaf = sheaf_cache().alloc_object(gfp)?.cast::<Sheaf>();
        // SAFETY: an object of the cache of sheaves, which was allocated just now; all zeros
        // are a sheaf for no objects. It is made in place, as it is large for a stack.
        Some(Self::of(unsafe {
            sheaf.write_bytes(0, 1);
            let sheaf = sheaf.as_ref();
            sheaf.capacity.store(cache.sheaf_capacity() as usize, Ordering::Relaxed);
            sheaf
        }))
    }

    /// An empty sheaf that no one else has.
    pub(super) fn of(sheaf: &'static Sheaf) -> Self {
        let capacity = sheaf.capacity.load(Ordering::Relaxed);
        let end = ptr::from_ref(sheaf).cast::<usize>().wrapping_add(capacity);
        Self(SheafSlot { top: AtomicPtr::new(end.cast_mut()) })
    }

    /// Stands for no sheaf.
    pub fn none() -> Self {
        Self(SheafSlot::new())
    }

    /// Gives its memory back. No node lock may be held.
    pub fn release(self) {
        if self.capacity() == 0 {
            return;
        }
        assert!(self.count() == 0, "release of a sheaf that holds {} objects", self.count());
        sheaf_cache().put_back(VirtAddr::from_ptr(self.sheaf()), Location::caller());
    }
}

impl Deref for OwnedSheaf {
    type Target = SheafSlot;
    #[inline(always)]
    fn deref(&self) -> &SheafSlot {
        &self.0
    }
}
