//! Red zones and poison (Linux: SLAB_RED_ZONE and SLAB_POISON in mm/slub.c).
//!
//! Caches with these flags have no sheaves, so the checks stand in the slow paths
//! alone. A free object's own bytes hold poison, its red zone `INACTIVE`; the red
//! zone of an allocated object holds `ACTIVE`.
#![deny(unsafe_code)]

use super::flags::SlabFlags;
use super::kmem_cache::KmemCache;
use super::memory::Slots;
use super::report;
use super::slab::Slab;
use crate::addr::VirtAddr;
use core::panic::Location;

/// Fills free objects (Linux: POISON_FREE).
const POISON_FREE: u8 = 0x6b;
/// The last byte of a free object (Linux: POISON_END).
const POISON_END: u8 = 0xa5;
/// The red zone of a free object (Linux: SLUB_RED_INACTIVE).
const RED_INACTIVE: u8 = 0xbb;
/// The red zone of an allocated object (Linux: SLUB_RED_ACTIVE).
const RED_ACTIVE: u8 = 0xcc;

/// Puts red zone and poison of a free object.
pub(super) fn init_object(cache: &KmemCache, slots: &Slots, index: u16) {
    if cache.flags().contains(SlabFlags::RED_ZONE) {
        fill_red_zone(cache, slots, index, RED_INACTIVE);
    }
    // A constructor's work must survive being free.
    if cache.flags().contains(SlabFlags::POISON) && cache.ctor().is_none() {
        let size = cache.layout().object_size;
        slots.fill(index, 0, size - 1, POISON_FREE);
        slots.fill(index, size - 1, 1, POISON_END);
    }
}

/// Checks an object that was free until now, and marks it as allocated.
pub(super) fn check_allocated(cache: &KmemCache, object: VirtAddr) {
    let Some((slots, index)) = find(cache, object) else { report::lost_object(cache, object) };
    let when = "on allocation";
    if cache.flags().contains(SlabFlags::RED_ZONE) {
        check_red_zone(cache, &slots, index, RED_INACTIVE, when);
        fill_red_zone(cache, &slots, index, RED_ACTIVE);
    }
    if cache.flags().contains(SlabFlags::POISON) && cache.ctor().is_none() {
        let size = cache.layout().object_size;
        let other = slots
            .find_other(index, 0, size - 1, POISON_FREE)
            .or_else(|| slots.find_other(index, size - 1, 1, POISON_END));
        if let Some((at, found)) = other {
            report::overwritten(cache, object, "poison", at, found, when);
        }
    }
}

/// Checks an object that `caller` frees, and puts it into the state of a free one.
pub(super) fn check_freed(cache: &KmemCache, object: VirtAddr, caller: &'static Location<'static>) {
    let Some((slots, index)) = find(cache, object) else {
        report::invalid_free(cache, object, caller)
    };
    if cache.flags().contains(SlabFlags::RED_ZONE) {
        check_red_zone(cache, &slots, index, RED_ACTIVE, "on free");
    }
    init_object(cache, &slots, index);
}

fn find(cache: &KmemCache, object: VirtAddr) -> Option<(Slots, u16)> {
    let slab = Slab::containing(object).filter(|slab| core::ptr::eq(slab.cache(), cache))?;
    let slots = slab.slots(cache);
    let index = slots.index_of(object)?;
    Some((slots, index))
}

fn fill_red_zone(cache: &KmemCache, slots: &Slots, index: u16, value: u8) {
    let layout = cache.layout();
    slots.fill(index, layout.object_size, layout.red_end - layout.object_size, value);
}

fn check_red_zone(cache: &KmemCache, slots: &Slots, index: u16, value: u8, when: &str) {
    let layout = cache.layout();
    let len = layout.red_end - layout.object_size;
    if let Some((at, found)) = slots.find_other(index, layout.object_size, len, value) {
        report::overwritten(cache, slots.address(index), "red zone", at, found, when);
    }
}
