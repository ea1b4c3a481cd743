//! The mechanism of the slab allocator: bytes of slabs, and references in atomics.
//!
//! All that touches memory behind the policy's back is here: reading and writing
//! the free link of an object, patterns in free objects, making a sheaf or a cache
//! out of an object, and following `owner` from a frame to its cache. What lies in sheaves
//! is `sheaf`'s.

use super::freelist::mix;
use super::kmem_cache::RawCache;
use super::layout::CacheLayout;
use crate::addr::VirtAddr;
use crate::arch;
use crate::mm::gfp::Gfp;
use core::cell::UnsafeCell;
use core::marker::PhantomData;
use core::panic::Location;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicPtr, Ordering};

/// The memory of one slab as a row of slots. It is made from a slab's head frame
/// alone, so its bytes are RAM that belongs to the slab; every access is in bounds.
///
/// The policy keeps that only slots of free objects are touched, while it holds
/// the node's lock or is their only owner.
#[derive(Clone, Copy)]
pub(super) struct Slots {
    /// The first object, past its left red zone.
    base: VirtAddr,
    size: u32,
    red_left: u32,
    offset: u32,
    count: u16,
}

/// An object that some slots found among theirs.
pub(super) struct Found {
    pub index: u32,
    at: VirtAddr,
}

impl Slots {
    /// The slots of the slab of `count` objects at `base`.
    ///
    /// # Safety
    /// `count * layout.size` bytes at `base` belong to a slab of `layout`'s cache.
    #[inline]
    pub unsafe fn new(base: VirtAddr, layout: &CacheLayout, count: u16) -> Self {
        assert!(layout.red_left + layout.offset + 8 <= layout.size);
        Self {
            base: base + layout.red_left as usize,
            size: layout.size,
            red_left: layout.red_left,
            offset: layout.offset,
            count,
        }
    }

    /// Returns the number of objects.
    #[inline]
    pub fn count(&self) -> u16 {
        self.count
    }

    /// The address of object `index`.
    #[inline]
    pub fn address(&self, index: u16) -> VirtAddr {
        debug_assert!(index < self.count);
        self.base + index as usize * self.size as usize
    }

    /// The number of the object at `object`; `None` if no object starts there.
    #[inline]
    pub fn index_of(&self, object: VirtAddr) -> Option<u16> {
        Some(self.find(object)?.index as u16)
    }

    /// The object at `object`; `None` if no object starts there.
    #[inline]
    pub fn find(&self, object: VirtAddr) -> Option<Found> {
        // What lies below the first falls out too.
        let distance = object.get().wrapping_sub(self.base.get());
        if distance >= self.count as usize * self.size as usize {
            return None;
        }
        let index = distance as u32 / self.size;
        (index * self.size == distance as u32).then_some(Found { index, at: object })
    }

    /// The number of the object in whose slot `at` lies.
    pub fn index_around(&self, at: VirtAddr) -> Option<u16> {
        let start = self.base.get() - self.red_left as usize;
        let index = at.get().checked_sub(start)? / self.size as usize;
        u16::try_from(index).ok().filter(|&index| index < self.count)
    }

    /// The free link of object `index`, as stored.
    #[inline]
    pub fn link(&self, index: u16) -> u64 {
        // SAFETY: `link_at` gives a word of the slot, no one's but the allocator's now.
        unsafe { self.link_at(index).read() }
    }

    /// Returns the address of the free link of object `index`: in the slot, as `new` checked.
    #[inline]
    fn link_at(&self, index: u16) -> *mut u64 {
        assert!(index < self.count);
        let at = self.address(index) + self.offset as usize;
        ptr::with_exposed_provenance_mut(at.get())
    }

    /// The word where the free link of object `index` would be, which its user may have
    /// written, in part or not at all; `None` where only written bytes can be read.
    #[inline]
    pub fn link_or_data(&self, index: u16) -> Option<u64> {
        let at = self.bytes(index, self.offset as i32, 8).cast::<u64>();
        // SAFETY: `bytes` checked the bounds; words are aligned, and its user has given the
        // object back.
        unsafe { arch::read_undefined(at) }
    }

    /// The word at offset `at`, a multiple of 8, of object `index`.
    #[inline]
    pub fn word(&self, index: u16, at: u32) -> u64 {
        let at = self.bytes(index, at as i32, 8).cast::<u64>();
        // SAFETY: `bytes` checked the bounds; words are aligned, and no one's but the
        // allocator's now.
        unsafe { at.read() }
    }

    /// Stores the free link of an object that was found in these slots.
    #[inline]
    pub fn set_link_of(&self, found: &Found, link: u64) {
        let at = found.at + self.offset as usize;
        // SAFETY: `find` saw that it is one of the slots, in which the link lies as `new`
        // checked.
        unsafe { ptr::with_exposed_provenance_mut::<u64>(at.get()).write(link) }
    }

    /// Stores the free link of object `index`.
    #[inline]
    pub fn set_link(&self, index: u16, link: u64) {
        // SAFETY: as in `link`.
        unsafe { self.link_at(index).write(link) }
    }

    /// Stores the word at offset `at`, a multiple of 8, of object `index`.
    #[inline]
    pub fn set_word(&self, index: u16, at: u32, word: u64) {
        let at = self.bytes(index, at as i32, 8).cast::<u64>();
        // SAFETY: as in `word`.
        unsafe { at.write(word) }
    }

    /// Stores a caller's location in two words at offset `at`: its address, and a checksum that
    /// depends on `key`.
    pub fn set_location(&self, index: u16, at: u32, of: &'static Location<'static>, key: u64) {
        let word = ptr::from_ref(of).expose_provenance() as u64;
        self.set_word(index, at, word);
        self.set_word(index, at + 8, mix(word ^ key));
    }

    /// Returns the location that `set_location` stored with this `key`; `None` if there is none,
    /// or it has been written over.
    pub fn location(&self, index: u16, at: u32, key: u64) -> Option<&'static Location<'static>> {
        let word = self.word(index, at);
        if self.word(index, at + 8) != mix(word ^ key) {
            return None;
        }
        // SAFETY: the words fit each other and the cache's secret key, so `set_location`
        // wrote them, from a reference to what never ends.
        Some(unsafe { &*ptr::with_exposed_provenance::<Location<'static>>(word as usize) })
    }

    /// The byte at offset `at` of object `index`, for a report.
    pub fn byte(&self, index: u16, at: i32) -> u8 {
        let at = self.bytes(index, at, 1);
        // SAFETY: `bytes` checked the bounds. A user may be writing it: then the report
        // shows the old or the new.
        unsafe { at.read_volatile() }
    }

    /// Fills `len` bytes of slot `index` from offset `from` of its object.
    pub fn fill(&self, index: u16, from: i32, len: u32, value: u8) {
        let at = self.bytes(index, from, len);
        // SAFETY: `bytes` checked the bounds; the object is free or these bytes are
        // no part of it.
        unsafe { at.write_bytes(value, len as usize) }
    }

    /// The offsets of the first and the last of `len` bytes from offset `from` of object
    /// `index` that differ from `value`.
    pub fn find_others(&self, index: u16, from: i32, len: u32, value: u8) -> Option<(i32, i32)> {
        let at = self.bytes(index, from, len);
        // SAFETY: below `len` from a checked start; written by `fill` before.
        let differs = |&i: &u32| unsafe { at.add(i as usize).read() } != value;
        let first = (0..len).find(differs)?;
        let last = (0..len).rfind(differs)?;
        Some((from + first as i32, from + last as i32))
    }

    #[inline]
    fn bytes(&self, index: u16, from: i32, len: u32) -> *mut u8 {
        let in_slot = (self.red_left as i32 + from) as u32;
        assert!(index < self.count && in_slot <= self.size && len <= self.size - in_slot);
        let at = self.address(index).get().wrapping_add_signed(from as isize);
        ptr::with_exposed_provenance_mut(at)
    }
}

/// The bytes of a slab that lie behind its last object.
pub(super) struct EndPadding {
    start: VirtAddr,
    len: u32,
}

impl EndPadding {
    /// The `len` bytes from `start` on.
    ///
    /// # Safety
    /// They belong to a slab for as long as the value is used, and to none of its objects.
    pub unsafe fn new(start: VirtAddr, len: u32) -> Self {
        Self { start, len }
    }

    /// The first byte.
    pub fn start(&self) -> VirtAddr {
        self.start
    }

    /// The number of bytes.
    pub fn len(&self) -> u32 {
        self.len
    }

    /// Fills them.
    pub fn fill(&self, value: u8) {
        let at = ptr::with_exposed_provenance_mut::<u8>(self.start.get());
        // SAFETY: the bytes are nobody's but the slab allocator's, as `new` demands.
        unsafe { at.write_bytes(value, self.len as usize) }
    }

    /// The byte at offset `at`, which `fill` wrote.
    pub fn byte(&self, at: u32) -> u8 {
        assert!(at < self.len);
        // SAFETY: one of the bytes, as checked. Who writes it breaks the rule that is looked after.
        unsafe {
            ptr::with_exposed_provenance::<u8>(self.start.get() + at as usize).read_volatile()
        }
    }

    /// The offsets of the first and the last byte that differ from `value`.
    pub fn find_others(&self, value: u8) -> Option<(u32, u32)> {
        let differs = |&at: &u32| self.byte(at) != value;
        Some(((0..self.len).find(differs)?, (0..self.len).rfind(differs)?))
    }
}

/// A value that is set before it is used, and read ever after.
pub(super) struct EarlyCell<T>(UnsafeCell<T>);

// SAFETY: it is written by `set` alone, while nobody else can read it.
unsafe impl<T: Sync> Sync for EarlyCell<T> {}

impl<T> EarlyCell<T> {
    /// A cell that holds `value`.
    pub const fn new(value: T) -> Self {
        Self(UnsafeCell::new(value))
    }
    /// The value.
    #[inline(always)]
    pub const fn get(&self) -> &T {
        // SAFETY: no one writes it under this borrow, as `set` demands.
        unsafe { &*self.0.get() }
    }
    /// Lets it hold another value.
    ///
    /// # Safety
    /// Nobody has a reference from `get`, and no other CPU reads it meanwhile.
    pub unsafe fn set(&self, value: T) {
        // SAFETY: as the caller says.
        unsafe { *self.0.get() = value }
    }
}

/// A cell for a reference or none: the links of the list of caches.
pub(super) struct StaticLink<T: 'static> {
    to: AtomicPtr<T>,
    of: PhantomData<&'static T>,
}

impl<T> StaticLink<T> {
    /// Refers to nothing.
    pub const fn new() -> Self {
        Self { to: AtomicPtr::new(ptr::null_mut()), of: PhantomData }
    }
    /// Returns the value referred to.
    pub fn get(&self) -> Option<&'static T> {
        // SAFETY: only references were stored.
        unsafe { self.to.load(Ordering::Relaxed).as_ref() }
    }
    /// Lets it refer to `to`.
    pub fn set(&self, to: Option<&'static T>) {
        let to = to.map_or(ptr::null_mut(), |to| ptr::from_ref(to).cast_mut());
        self.to.store(to, Ordering::Relaxed);
    }
}

/// Encodes a slab of `cache` for a frame's `owner`.
pub(super) fn to_owner(cache: &'static RawCache) -> usize {
    ptr::from_ref(cache).expose_provenance()
}

/// The cache that a slab frame's `owner` names.
///
/// # Safety
/// `owner` was made by `to_owner` and the cache has not been destroyed.
#[inline(always)]
pub(super) unsafe fn from_owner(owner: usize) -> &'static RawCache {
    // SAFETY: as the caller says. No cache is at address 0, which spares the callers a test.
    unsafe {
        core::hint::assert_unchecked(owner != 0);
        &*ptr::with_exposed_provenance::<RawCache>(owner)
    }
}

/// The object at `at` as a pointer.
#[inline(always)]
pub(super) fn object_ptr(at: VirtAddr) -> Option<NonNull<u8>> {
    NonNull::new(ptr::with_exposed_provenance_mut(at.get()))
}

/// The object at `at` as a pointer.
///
/// # Safety
/// `at` is not 0.
#[inline(always)]
pub(super) unsafe fn object_ptr_unchecked(at: VirtAddr) -> NonNull<u8> {
    // SAFETY: as the caller says.
    unsafe { NonNull::new_unchecked(ptr::with_exposed_provenance_mut(at.get())) }
}

/// Allocates an object of `cache` and moves `value` into it, to live there until
/// `free_value`; `None` if memory is short.
pub(super) fn allocate_value<T>(
    cache: &'static RawCache,
    gfp: Gfp,
    value: T,
) -> Option<&'static T> {
    let layout = cache.layout();
    assert!(size_of::<T>() <= cache.object_size() && align_of::<T>() <= layout.align as usize);
    let at = cache.alloc_object(gfp)?.cast::<T>();
    // SAFETY: the object was allocated just now, and is large and aligned enough.
    unsafe {
        at.write(value);
        Some(at.as_ref())
    }
}

/// Drops what `allocate_value` made and frees its object. By a pointer: a reference passed
/// would have to stay valid until this returns.
///
/// # Safety
/// It came from `allocate_value` with this `cache`, and no reference to it is used again.
#[track_caller]
pub(super) unsafe fn free_value<T>(cache: &'static RawCache, value: *const T) {
    let at = VirtAddr::from_ptr(value);
    // SAFETY: as the caller says, this is the last use of the value.
    unsafe { ptr::with_exposed_provenance_mut::<T>(at.get()).drop_in_place() };
    cache.put_back(at, Location::caller());
}

/// Fills `len` bytes with zeros.
///
/// # Safety
/// The caller owns these bytes.
#[inline(always)]
pub(super) unsafe fn zero(at: NonNull<u8>, len: usize) {
    // SAFETY: as the caller says.
    unsafe { at.write_bytes(0, len) }
}
