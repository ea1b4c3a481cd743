//! Red zones, poison, padding and tracks (Linux: SLAB_RED_ZONE, SLAB_POISON and
//! SLAB_STORE_USER in mm/slub.c).
//!
//! Caches with these flags have no sheaves, so the checks stand in the slow paths
//! alone. A free object's own bytes hold poison, its red zones `INACTIVE`; the red
//! zones of an allocated object hold `ACTIVE`. What no one uses holds `POISON_INUSE`.
//!
//! Of what kmalloc gave out, the red zone begins where the size that was asked for ends
//! (Linux: orig_size), and not where its class does.
#![deny(unsafe_code)]

use super::flags::SlabFlags;
use super::kmem_cache::RawCache;
use super::memory::Slots;
use super::report;
use super::slab::Slab;
use super::track::{Track, TrackItem};
use crate::addr::VirtAddr;
use core::panic::Location;

/// Fills free objects (Linux: POISON_FREE).
const POISON_FREE: u8 = 0x6b;
/// The last byte of a free object (Linux: POISON_END).
const POISON_END: u8 = 0xa5;
/// Fills objects that were allocated just now, and padding (Linux: POISON_INUSE).
const POISON_INUSE: u8 = 0x5a;
/// The red zone of a free object (Linux: SLUB_RED_INACTIVE).
const RED_INACTIVE: u8 = 0xbb;
/// The red zone of an allocated object (Linux: SLUB_RED_ACTIVE).
const RED_ACTIVE: u8 = 0xcc;

/// An object that a check is about.
struct Object<'a> {
    cache: &'a RawCache,
    slab: Slab,
    slots: Slots,
    index: u16,
}

impl<'a> Object<'a> {
    fn find(cache: &'a RawCache, at: VirtAddr) -> Option<Self> {
        let slab = Slab::of_cache(cache, at)?;
        let slots = slab.slots(cache);
        let index = slots.index_of(at)?;
        Some(Self { cache, slab, slots, index })
    }

    fn has(&self, flag: SlabFlags) -> bool {
        self.cache.flags().contains(flag)
    }

    /// Returns true if poison fills the object while it is free. Not with a constructor, whose
    /// work must survive, nor with TYPESAFE_BY_RCU, where readers may still look at a free
    /// object.
    fn is_poisoned(&self) -> bool {
        self.has(SlabFlags::POISON)
            && self.cache.ctor().is_none()
            && !self.has(SlabFlags::TYPESAFE_BY_RCU)
    }

    /// Number of bytes that the user may use: those that were asked of kmalloc, or all.
    fn asked(&self) -> u32 {
        let layout = self.cache.layout();
        if layout.orig_size == 0 {
            return layout.object_size;
        }
        let asked = self.slots.word(self.index, layout.orig_size);
        // A word that was written over guards what is certain.
        asked.min(u64::from(layout.object_size)) as u32
    }

    /// Notes how many of its bytes are its user's, where that is kept.
    fn set_asked(&self, size: u32) {
        let layout = self.cache.layout();
        if layout.orig_size != 0 {
            self.slots.set_word(self.index, layout.orig_size, size.into());
        }
    }

    /// The part of the object that was not asked for: offset and length.
    fn not_asked(&self) -> (i32, u32) {
        let asked = self.asked();
        (asked as i32, self.cache.layout().object_size - asked)
    }

    /// The red zones, left and right: offset, length and what Linux calls them.
    fn red_zones(&self) -> [(i32, u32, &'static str); 2] {
        let layout = self.cache.layout();
        let right = layout.red_end - layout.object_size;
        [
            (-(layout.red_left as i32), layout.red_left, "Left Redzone"),
            (layout.object_size as i32, right, "Right Redzone"),
        ]
    }

    /// Checks what lies round the bytes of an object that is allocated.
    fn check_in_use(&self) {
        self.check_red_zones(RED_ACTIVE);
        if self.has(SlabFlags::RED_ZONE) {
            let (from, len) = self.not_asked();
            self.check(from, len, RED_ACTIVE, "kmalloc Redzone");
        }
        self.check_padding();
    }

    /// Checks all of an object that is free.
    fn check_free(&self) {
        self.check_red_zones(RED_INACTIVE);
        self.check_poison();
        self.check_padding();
    }

    fn fill_red_zones(&self, value: u8) {
        if self.has(SlabFlags::RED_ZONE) {
            for (from, len, _) in self.red_zones() {
                self.slots.fill(self.index, from, len, value);
            }
        }
    }

    fn check_red_zones(&self, value: u8) {
        if self.has(SlabFlags::RED_ZONE) {
            for (from, len, name) in self.red_zones() {
                self.check(from, len, value, name);
            }
        }
    }

    /// Fills all of a free object.
    fn fill_free(&self) {
        self.fill_red_zones(RED_INACTIVE);
        if self.is_poisoned() {
            let size = self.cache.layout().object_size;
            self.slots.fill(self.index, 0, size - 1, POISON_FREE);
            self.slots.fill(self.index, size as i32 - 1, 1, POISON_END);
        }
    }

    /// Offset and length of what no one uses.
    fn padding(&self) -> (i32, u32) {
        let layout = self.cache.layout();
        (layout.meta_end as i32, layout.size - layout.red_left - layout.meta_end)
    }

    fn check_padding(&self) {
        if self.has(SlabFlags::POISON) {
            let (from, len) = self.padding();
            self.check(from, len, POISON_INUSE, "Object padding");
        }
    }

    fn check_poison(&self) {
        if self.is_poisoned() {
            let size = self.cache.layout().object_size;
            self.check(0, size - 1, POISON_FREE, "Poison");
            self.check(size as i32 - 1, 1, POISON_END, "Poison");
        }
    }

    /// Reports bytes that are not `value`.
    fn check(&self, from: i32, len: u32, value: u8, what: &str) {
        if let Some((first, last)) = self.slots.find_others(self.index, from, len, value) {
            let found = self.slots.byte(self.index, first);
            let at = self.slots.address(self.index).get();
            let address = |offset: i32| at.wrapping_add_signed(offset as isize);
            report::object(
                self.cache,
                &self.slots,
                self.index,
                format_args!("{what} overwritten"),
                format_args!(
                    "{:#x}-{:#x} @offset={first}. First byte {found:#x} instead of {value:#x}",
                    address(first),
                    address(last),
                ),
            )
        }
    }
}

/// Fills what lies behind the last object of a new slab.
pub(super) fn prepare_end(cache: &RawCache, slab: Slab) {
    if cache.flags().contains(SlabFlags::POISON) {
        slab.end_padding(cache).fill(POISON_INUSE);
    }
}

/// Checks what lies behind the last object of a slab (Linux: slab_pad_check).
fn check_end(cache: &RawCache, slab: Slab) {
    if !cache.flags().contains(SlabFlags::POISON) {
        return;
    }
    let padding = slab.end_padding(cache);
    if let Some((first, last)) = padding.find_others(POISON_INUSE) {
        report::end_padding(cache, slab, &padding, first, last, POISON_INUSE);
    }
}

/// Brings object `index` of a new slab into the state of a free one.
pub(super) fn prepare_object(cache: &RawCache, slab: Slab, slots: &Slots, index: u16) {
    if !cache.flags().intersects(SlabFlags::DEBUG) {
        return;
    }
    let object = Object { cache, slab, slots: *slots, index };
    object.fill_free();
    object.set_asked(cache.layout().object_size);
    if object.has(SlabFlags::POISON) {
        let (from, len) = object.padding();
        slots.fill(index, from, len, POISON_INUSE);
    }
    if object.has(SlabFlags::STORE_USER) {
        Track::clear(cache, slots, index);
    }
}

/// Checks an object that was free until now, and marks it as allocated by `caller`.
pub(super) fn check_allocated(cache: &RawCache, at: VirtAddr, caller: &'static Location<'static>) {
    let Some(object) = Object::find(cache, at) else { report::lost_object(cache, at) };
    check_end(cache, object.slab);
    object.check_free();
    object.fill_red_zones(RED_ACTIVE);
    object.set_asked(cache.layout().object_size);
    if object.is_poisoned() {
        let size = cache.layout().object_size;
        object.slots.fill(object.index, 0, size, POISON_INUSE);
    }
    if object.has(SlabFlags::STORE_USER) {
        Track::set(cache, &object.slots, object.index, TrackItem::Alloc, caller);
    }
    if object.has(SlabFlags::TRACE) {
        report::trace(cache, &object.slots, object.index, "alloc");
    }
}

/// Checks an object that `caller` frees, and puts it into the state of a free one.
pub(super) fn check_freed(cache: &RawCache, at: VirtAddr, caller: &'static Location<'static>) {
    let Some(object) = Object::find(cache, at) else { report::invalid_free(cache, at, caller) };
    check_end(cache, object.slab);
    object.check_in_use();
    if object.has(SlabFlags::TRACE) {
        report::trace(cache, &object.slots, object.index, "free");
    }
    object.fill_free();
    if object.has(SlabFlags::STORE_USER) {
        Track::set(cache, &object.slots, object.index, TrackItem::Free, caller);
    }
}

/// Notes that the first `size` bytes of an allocated object are its user's, and guards those
/// behind, where the cache keeps that.
#[inline]
pub(super) fn set_orig_size(cache: &RawCache, at: VirtAddr, size: usize) {
    if cache.layout().orig_size != 0 {
        set_kept_size(cache, at, size);
    }
}

#[cold]
#[inline(never)]
fn set_kept_size(cache: &RawCache, at: VirtAddr, size: usize) {
    let Some(object) = Object::find(cache, at) else { return };
    object.set_asked(size as u32);
    if object.has(SlabFlags::RED_ZONE) {
        let (from, len) = object.not_asked();
        object.slots.fill(object.index, from, len, RED_ACTIVE);
    }
}

/// Lets all bytes of an allocated object be its user's, who asked how many there are (Linux:
/// skip_orig_size_check).
pub(super) fn skip_orig_size_check(cache: &RawCache, at: VirtAddr) {
    if cache.layout().orig_size != 0
        && let Some(object) = Object::find(cache, at)
    {
        object.set_asked(cache.layout().object_size);
    }
}

/// Returns the number of bytes that were asked for of an allocated object; `None` if the cache
/// does not record it.
pub(super) fn orig_size(cache: &RawCache, at: VirtAddr) -> Option<usize> {
    if cache.layout().orig_size == 0 {
        return None;
    }
    Some(Object::find(cache, at)?.asked() as usize)
}

/// Objects that a slab of a cache with red zones, poison or tracks has at most: it is of 32
/// KiB at most, or holds one of more than that.
const MOST_OBJECTS: usize = 4096;

/// Checks red zones, poison and padding of all objects of a slab, free and allocated (Linux:
/// validate_slab, check_object). The node's lock is held, and nobody is about to free or
/// allocate.
pub(super) fn validate_objects(cache: &RawCache, slab: Slab) {
    if !cache.flags().intersects(SlabFlags::DEBUG_METADATA) {
        return;
    }
    check_end(cache, slab);
    let slots = slab.slots(cache);
    assert!(usize::from(slots.count()) <= MOST_OBJECTS, "{slab:?} has too many objects");
    let mut free = [0u64; MOST_OBJECTS / 64];
    slab.free_objects(cache).for_each(|n| free[usize::from(n) / 64] |= 1 << (n % 64));
    for index in 0..slots.count() {
        let object = Object { cache, slab, slots, index };
        if free[usize::from(index) / 64] >> (index % 64) & 1 != 0 {
            object.check_free();
        } else {
            object.check_in_use();
        }
    }
}
