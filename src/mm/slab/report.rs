//! Panics for misuse of the slab allocator: each names the cache, the object and
//! who freed it (Linux: slab_err, object_err in mm/slub.c).
#![deny(unsafe_code)]

use super::kmem_cache::KmemCache;
use crate::addr::VirtAddr;
use core::panic::Location;

#[cold]
#[inline(never)]
pub(super) fn double_free(cache: &KmemCache, object: VirtAddr, caller: &Location<'_>) -> ! {
    panic!("slab {}: double free of object {object} by {caller}", cache.name())
}

#[cold]
#[inline(never)]
pub(super) fn invalid_free(cache: &KmemCache, object: VirtAddr, caller: &Location<'_>) -> ! {
    panic!("slab {}: invalid free of {object}, no object of it, by {caller}", cache.name())
}

#[cold]
#[inline(never)]
pub(super) fn foreign_free(what: &str, object: VirtAddr, caller: &Location<'_>) -> ! {
    panic!("{what}: free of {object}, which no slab and no large allocation holds, by {caller}")
}

#[cold]
#[inline(never)]
pub(super) fn modified_after_free(cache: &KmemCache, object: VirtAddr) -> ! {
    panic!("slab {}: object {object} was modified after free", cache.name())
}

#[cold]
#[inline(never)]
pub(super) fn lost_object(cache: &KmemCache, object: VirtAddr) -> ! {
    panic!("slab {}: {object} in a sheaf of it is no object of it", cache.name())
}

#[cold]
#[inline(never)]
pub(super) fn overwritten(
    cache: &KmemCache,
    object: VirtAddr,
    what: &str,
    at: u32,
    found: u8,
    when: &str,
) -> ! {
    panic!(
        "slab {}: {what} of object {object} overwritten at offset {at}: found {found:#04x} {when}",
        cache.name()
    )
}
