//! Memory by size (Linux: kmalloc and friends, include/linux/slab.h, mm/slab_common.c).
//!
//! Sizes up to 8192 bytes come from one cache per size class and kind of memory.
//! The class of a constant size is found at compile time. Larger sizes are whole
//! blocks of pages.

use super::debug as slab_debug;
use super::flags::SlabFlags;
use super::hooks::Freed;
use super::kmem_cache::RawCache;
use super::layout::CacheLayout;
use super::memory;
use super::report;
use crate::addr::{Order, PAGE_SHIFT, PHYS_BITS, VirtAddr};
use crate::arch;
use crate::arch::jump_label::static_branch_unlikely;
use crate::machine_local;
use crate::mm::alloc_pages;
use crate::mm::gfp::Gfp;
use crate::mm::hooks::points;
use crate::mm::hooks::{self, SLAB_ALLOC_HOOKS, SLAB_FREE_HOOKS};
use crate::mm::mmzone::NodeId;
use crate::mm::page::{Frame, Page};
use crate::mm::page_alloc::{self, MAX_PCP, NO_PCP_FLAGS, alloc_pcp, free_pcp};
use core::panic::Location;
use core::ptr::NonNull;

/// The largest size that comes from a class; above are pages.
pub const KMALLOC_MAX_CACHE_SIZE: usize = 8192;
/// Largest size that can be allocated.
pub const KMALLOC_MAX_SIZE: usize = Order::MAX.bytes();
/// Result of an allocation of 0 bytes. Freeing it does nothing (Linux: ZERO_SIZE_PTR).
pub const ZERO_SIZE_PTR: NonNull<u8> =
    NonNull::without_provenance(core::num::NonZeroUsize::new(16).unwrap());

/// Marks the first frame of a large allocation in `owner`; no cache has this address, and
/// it takes two instructions.
const LARGE_KMALLOC: usize = u32::from_be_bytes(*b"kmal") as usize;

/// The size classes in bytes.
const CLASSES: [usize; 13] =
    [8, 16, 32, 64, 96, 128, 192, 256, 512, 1024, 2048, 4096, KMALLOC_MAX_CACHE_SIZE];

/// Array with a cache for each size class, named by a prefix and the size.
macro_rules! classes {
    ($prefix:literal, $flags:expr) => {
        [
            class(concat!($prefix, "8"), 0, $flags),
            class(concat!($prefix, "16"), 1, $flags),
            class(concat!($prefix, "32"), 2, $flags),
            class(concat!($prefix, "64"), 3, $flags),
            class(concat!($prefix, "96"), 4, $flags),
            class(concat!($prefix, "128"), 5, $flags),
            class(concat!($prefix, "192"), 6, $flags),
            class(concat!($prefix, "256"), 7, $flags),
            class(concat!($prefix, "512"), 8, $flags),
            class(concat!($prefix, "1k"), 9, $flags),
            class(concat!($prefix, "2k"), 10, $flags),
            class(concat!($prefix, "4k"), 11, $flags),
            class(concat!($prefix, "8k"), 12, $flags),
        ]
    };
}

/// Kinds of memory that have caches of their own (Linux: enum kmalloc_cache_type), in the order
/// of [`KMALLOC_CACHES`]. The normal ones are not the first: an offset of 4 KiB or more is kept in
/// a register in a loop, a lesser one is added each time.
#[derive(Clone, Copy)]
enum KmallocType {
    Reclaim,
    Normal,
    Dma,
}

const TYPES: usize = 3;

machine_local! {
    #[cfg_attr(target_os = "none", unsafe(link_section = ".percpu"))]
    static KMALLOC_CACHES: [[RawCache; CLASSES.len()]; TYPES] = [
        classes!("kmalloc-rcl-", SlabFlags::KMALLOC.union(SlabFlags::RECLAIM_ACCOUNT)),
        classes!("kmalloc-", SlabFlags::KMALLOC),
        classes!("dma-kmalloc-", SlabFlags::KMALLOC.union(SlabFlags::CACHE_DMA)),
    ];
}

const fn class(name: &'static str, index: usize, flags: SlabFlags) -> RawCache {
    let size = CLASSES[index];
    // Powers of two are aligned to themselves, the others to their largest power of two;
    // with red zones and tracks beside them too.
    let align = 1 << size.trailing_zeros();
    match CacheLayout::new(size, align, flags, false) {
        // SAFETY: for statics of the section.
        Ok(layout) => unsafe { RawCache::new(name, layout, flags, None, true) },
        Err(_) => panic!("no layout for a kmalloc class"),
    }
}

/// Classes by (size - 1) / 8, for sizes up to 192.
const SMALL: [u8; 24] = [0, 1, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 6];

/// The class of the smallest objects of at least `size` bytes, 1 to
/// [`KMALLOC_MAX_CACHE_SIZE`] (Linux: kmalloc_index). Folds for a constant.
#[inline(always)]
const fn kmalloc_index(size: usize) -> usize {
    index_of_last(size - 1)
}

/// Variant of `kmalloc_index` that takes the size less 1.
#[inline(always)]
const fn index_of_last(last: usize) -> usize {
    if last < 8 * SMALL.len() { SMALL[last / 8] as usize } else { last.ilog2() as usize }
}

/// Kind of caches that `gfp` asks for (Linux: kmalloc_type).
#[inline(always)]
const fn kmalloc_type(gfp: Gfp) -> KmallocType {
    if gfp.intersects(Gfp::__GFP_DMA.union(Gfp::__GFP_DMA32)) {
        KmallocType::Dma
    } else if gfp.contains(Gfp::__GFP_RECLAIMABLE) {
        KmallocType::Reclaim
    } else {
        KmallocType::Normal
    }
}

/// All kmalloc caches.
pub(super) fn caches() -> impl Iterator<Item = &'static RawCache> {
    let all: &'static [[RawCache; CLASSES.len()]; TYPES] = &KMALLOC_CACHES;
    let types = [KmallocType::Normal, KmallocType::Reclaim, KmallocType::Dma];
    types.into_iter().flat_map(|kind| &all[kind as usize])
}

/// The cache of plain memory for `size` bytes, 1 to [`KMALLOC_MAX_CACHE_SIZE`].
pub(super) fn kmalloc_raw_cache(size: usize) -> &'static RawCache {
    let caches: &'static [[RawCache; CLASSES.len()]; TYPES] = &KMALLOC_CACHES;
    &caches[KmallocType::Normal as usize][kmalloc_index(size)]
}

/// The bytes that an allocation of `size` bytes gets: its class's, or whole pages;
/// `None` above [`KMALLOC_MAX_SIZE`] (Linux: kmalloc_size_roundup).
#[inline]
#[must_use]
pub const fn kmalloc_size_roundup(size: usize) -> Option<usize> {
    if size == 0 {
        Some(0)
    } else if size <= KMALLOC_MAX_CACHE_SIZE {
        Some(CLASSES[kmalloc_index(size)])
    } else {
        match Order::for_bytes(size) {
            Some(order) => Some(order.bytes()),
            None => None,
        }
    }
}

/// Allocates `size` bytes. A power of two is aligned to itself, other sizes to the
/// largest power of two that divides their class, 8 at least. No bytes give
/// [`ZERO_SIZE_PTR`]. Any context that `gfp` is fit for.
///
/// `None` where memory is short, or `size` above [`KMALLOC_MAX_SIZE`].
#[inline(always)]
#[must_use]
#[track_caller]
pub fn kmalloc(size: usize, gfp: Gfp) -> Option<NonNull<u8>> {
    // One comparison for both ends.
    let last = size.wrapping_sub(1);
    if last >= KMALLOC_MAX_CACHE_SIZE {
        return kmalloc_large(size, gfp);
    }
    let caches: &'static [[RawCache; CLASSES.len()]; TYPES] = &KMALLOC_CACHES;
    caches[kmalloc_type(gfp) as usize][index_of_last(last)].alloc_kmalloc(size, gfp)
}

/// Allocates as [`kmalloc`] does, filled with zeros.
#[inline(always)]
#[must_use]
#[track_caller]
pub fn kzalloc(size: usize, gfp: Gfp) -> Option<NonNull<u8>> {
    kmalloc(size, gfp | Gfp::__GFP_ZERO)
}

/// Allocates `n` elements of `size` bytes, as [`kmalloc`] does. `None` too if the product
/// overflows.
#[inline(always)]
#[must_use]
#[track_caller]
pub fn kmalloc_array(n: usize, size: usize, gfp: Gfp) -> Option<NonNull<u8>> {
    kmalloc(n.checked_mul(size)?, gfp)
}

/// Allocates as [`kmalloc_array`] does, filled with zeros.
#[inline(always)]
#[must_use]
pub fn kcalloc(n: usize, size: usize, gfp: Gfp) -> Option<NonNull<u8>> {
    kmalloc_array(n, size, gfp | Gfp::__GFP_ZERO)
}

/// Allocates as [`kmalloc`] does, from the memory of `node`; if it has none and `gfp` lacks
/// `__GFP_THISNODE`, from another node's.
#[must_use]
#[track_caller]
pub fn kmalloc_node(size: usize, gfp: Gfp, node: NodeId) -> Option<NonNull<u8>> {
    if size > KMALLOC_MAX_CACHE_SIZE {
        return kmalloc_large_slow(size, gfp, Some(node));
    }
    if size == 0 {
        return Some(ZERO_SIZE_PTR);
    }
    let caches: &'static [[RawCache; CLASSES.len()]; TYPES] = &KMALLOC_CACHES;
    caches[kmalloc_type(gfp) as usize][kmalloc_index(size)].alloc_sized_node(Some(size), gfp, node)
}

/// Allocates as [`kmalloc_node`] does, filled with zeros.
#[must_use]
#[track_caller]
pub fn kzalloc_node(size: usize, gfp: Gfp, node: NodeId) -> Option<NonNull<u8>> {
    kmalloc_node(size, gfp | Gfp::__GFP_ZERO, node)
}

/// No bytes, or pages as one allocation, for sizes above the classes. Not a compound page:
/// nobody takes references to parts of it, and the head's descriptor has all that a free needs.
#[inline(never)]
fn kmalloc_large(size: usize, gfp: Gfp) -> Option<NonNull<u8>> {
    const NO_LISTS: Gfp = NO_PCP_FLAGS.union(NEVER_LARGE);
    let last = size.wrapping_sub(1);
    let fits = (KMALLOC_MAX_CACHE_SIZE..MAX_PCP.bytes()).contains(&last);
    if !fits || gfp.intersects(NO_LISTS) || static_branch_unlikely!(SLAB_ALLOC_HOOKS) {
        return kmalloc_large_slow(size, gfp, None);
    }
    let order = Order::new((last.ilog2() + 1 - PAGE_SHIFT) as u8);
    let Some(frame) = order.and_then(|order| alloc_pcp(gfp, order)) else {
        return kmalloc_large_slow(size, gfp, None);
    };
    frame.page().set_owner(LARGE_KMALLOC);
    memory::object_ptr(frame.virt())
}

/// The kernel reaches it by a fixed address, so it can't be moved.
const NEVER_LARGE: Gfp = Gfp::__GFP_HIGHMEM.union(Gfp::__GFP_MOVABLE).union(Gfp::__GFP_COMP);

#[cold]
#[inline(never)]
fn kmalloc_large_slow(size: usize, gfp: Gfp, node: Option<NodeId>) -> Option<NonNull<u8>> {
    if size == 0 {
        return Some(ZERO_SIZE_PTR);
    }
    let order = Order::for_bytes(size)?;
    let frame = match node {
        Some(node) => alloc_pages::alloc_pages_node(node, gfp - NEVER_LARGE, order),
        None => alloc_pages::alloc_pages(gfp - NEVER_LARGE, order),
    };
    if static_branch_unlikely!(SLAB_ALLOC_HOOKS) {
        tell_large(frame, size, order, gfp, node);
    }
    let frame = frame?;
    frame.page().set_owner(LARGE_KMALLOC);
    memory::object_ptr(frame.virt())
}

/// Tells the tools of pages that were allocated, or were not.
#[cold]
#[inline(never)]
fn tell_large(frame: Option<Frame>, size: usize, order: Order, gfp: Gfp, node: Option<NodeId>) {
    let at = frame.map(Frame::virt);
    // Its caller is not handed down to here, so that it costs nothing.
    points::kmalloc(Location::caller(), at, size, order.bytes(), gfp, node);
    if let Some(at) = at {
        hooks::object_allocated(at, size, gfp);
    }
}

/// The cache whose object lies at `at`, if it lies in a slab.
///
/// # Safety
/// kmalloc returned `at`. Elsewhere in the linear map it must have a descriptor; on a
/// host, and with debug assertions, that is looked up, and it may be anything.
#[inline(always)]
unsafe fn cache_of(at: VirtAddr) -> Option<&'static RawCache> {
    let page = if cfg!(any(debug_assertions, not(target_os = "none"))) {
        Frame::from_virt(at)?.page()
    } else {
        if arch::virt_to_phys(at).get() >> PHYS_BITS != 0 {
            return None;
        }
        // SAFETY: it lies in the linear map, and the caller answers for the rest.
        unsafe { Page::of_virt_unchecked(at) }
    };
    if !page.is_slab() {
        return None;
    }
    // SAFETY: a frame marked SLAB has its cache in `owner`, which lives while it has
    // slabs.
    Some(unsafe { memory::from_owner(page.owner()) })
}

/// The frame that `at` lies in.
///
/// # Safety
/// As `cache_of`.
#[inline(always)]
unsafe fn frame_of(at: VirtAddr) -> Option<Frame> {
    if cfg!(any(debug_assertions, not(target_os = "none"))) {
        return Frame::from_virt(at);
    }
    if arch::virt_to_phys(at).get() >> PHYS_BITS != 0 {
        return None;
    }
    // SAFETY: it lies in the linear map, and the caller answers for the rest.
    Some(unsafe { Frame::from_virt_unchecked(at) })
}

/// The first frame of the large allocation that starts at `at`.
///
/// # Safety
/// As `cache_of`.
#[inline(always)]
unsafe fn large_at(at: VirtAddr) -> Option<Frame> {
    // SAFETY: as the caller says.
    let frame = unsafe { frame_of(at) }?;
    let is_start = frame.page().owner() == LARGE_KMALLOC && at.page_offset() == 0;
    is_start.then_some(frame)
}

/// Frees what [`kmalloc`] and its kin returned. Null and [`ZERO_SIZE_PTR`] are fine.
/// Any context.
///
/// # Panics
/// Where it finds that `ptr` is no allocation, or is free already. With debug
/// assertions it always finds that; without, a double free that follows at once or
/// when the object reaches its slab, and an address outside of the linear map, of a
/// page that is no slab, or (when it reaches its slab) inside of an object.
///
/// # Safety
/// `ptr` is null or came from here, and nobody uses the memory afterwards.
#[inline]
#[track_caller]
pub unsafe fn kfree(ptr: *const u8) {
    let at = VirtAddr::from_ptr(ptr);
    // SAFETY: kmalloc returned it, as the caller says; and null lies outside of the linear map.
    match unsafe { cache_of(at) } {
        Some(cache) => cache.free_object(at, Location::caller(), Freed::ByKfree),
        // SAFETY: the same.
        None => unsafe { kfree_large(at, Location::caller()) },
    }
}

/// Frees a large allocation, or nothing.
///
/// # Safety
/// As `cache_of`.
#[inline(never)]
unsafe fn kfree_large(at: VirtAddr, caller: &'static Location<'static>) {
    // SAFETY: as the caller says.
    if let Some(frame) = unsafe { large_at(at) }
        && !static_branch_unlikely!(SLAB_FREE_HOOKS)
    {
        // Once on a list it is the next owner's.
        frame.page().set_owner(0);
        // SAFETY: the caller frees the object, which has the block to itself.
        if unsafe { free_pcp(frame) } {
            return;
        }
        frame.page().set_owner(LARGE_KMALLOC);
    }
    // SAFETY: as the caller says.
    unsafe { kfree_large_slow(at, caller) }
}

/// # Safety
/// As `cache_of`.
#[cold]
#[inline(never)]
unsafe fn kfree_large_slow(at: VirtAddr, caller: &'static Location<'static>) {
    if at.get() <= ZERO_SIZE_PTR.addr().get() {
        return;
    }
    // SAFETY: as the caller says.
    let Some(frame) = (unsafe { large_at(at) }) else { report::foreign_free("kfree", at, caller) };
    let order = page_alloc::block_order(frame);
    frame.page().set_owner(0);
    if static_branch_unlikely!(SLAB_FREE_HOOKS) {
        points::kfree(caller, at);
        hooks::object_freed(at, order.bytes());
    }
    // SAFETY: the caller frees the object, which has the block to itself.
    unsafe { page_alloc::free_pages(frame, order) };
}

/// Returns the usable size in bytes of the allocation at `ptr`; 0 for null and
/// [`ZERO_SIZE_PTR`]. The bytes past the size asked for are the caller's too from here on.
///
/// # Panics
/// If `ptr` is no allocation.
///
/// # Safety
/// `ptr` is null or came from [`kmalloc`] or its kin, and is not free.
#[must_use]
#[track_caller]
pub unsafe fn ksize(ptr: *const u8) -> usize {
    let at = VirtAddr::from_ptr(ptr);
    if at.get() <= ZERO_SIZE_PTR.addr().get() {
        return 0;
    }
    // SAFETY: as the caller says.
    let Sizes { room, cache, .. } = unsafe { sizes(at, Location::caller()) };
    if let Some(cache) = cache {
        slab_debug::skip_orig_size_check(cache, at);
    }
    room
}

/// Sizes of an allocation, in bytes.
struct Sizes {
    /// The bytes that were asked for, where that is known; else all.
    asked: usize,
    /// The bytes that there are.
    room: usize,
    /// The cache that keeps what was asked for.
    cache: Option<&'static RawCache>,
}

/// Returns the sizes of the allocation at `at`, which is neither null nor [`ZERO_SIZE_PTR`].
///
/// # Safety
/// kmalloc returned `at`, and it is not free.
#[inline(always)]
unsafe fn sizes(at: VirtAddr, caller: &'static Location<'static>) -> Sizes {
    let all = |room| Sizes { asked: room, room, cache: None };
    if let Some(size) = hooks::kfence_ksize(at) {
        return all(size);
    }
    // SAFETY: kmalloc returned it, as the caller says.
    if let Some(cache) = unsafe { cache_of(at) } {
        let room = cache.object_size();
        return match slab_debug::orig_size(cache, at) {
            Some(asked) => Sizes { asked, room, cache: Some(cache) },
            None => all(room),
        };
    }
    // SAFETY: the same.
    match unsafe { large_at(at) } {
        Some(frame) => all(page_alloc::block_order(frame).bytes()),
        None => report::foreign_free("ksize", at, caller),
    }
}

/// Returns the usable size of the allocation at `ptr` and the number of bytes that its user may
/// have written. Unlike [`ksize`] it does not give the rest to the caller, who goes on to move
/// the bytes, or says by [`krealloc_in_place`] how many are wanted. Both are 0 for null and
/// [`ZERO_SIZE_PTR`].
///
/// # Safety
/// As for [`ksize`].
#[track_caller]
pub(in crate::mm) unsafe fn kmalloc_room(ptr: *const u8) -> (usize, usize) {
    let at = VirtAddr::from_ptr(ptr);
    if at.get() <= ZERO_SIZE_PTR.addr().get() {
        return (0, 0);
    }
    // SAFETY: as the caller says.
    let sizes = unsafe { sizes(at, Location::caller()) };
    (sizes.room, sizes.asked)
}

/// Makes the first `size` bytes of the allocation at `ptr` its user's, if it has so many, and
/// guards the others if its cache is debugged. Returns false if it has fewer. With `__GFP_ZERO`
/// those past the old size are zero, as for [`krealloc`].
///
/// # Safety
/// As for [`ksize`]; the bytes past `size` are no longer the caller's.
#[track_caller]
pub(in crate::mm) unsafe fn krealloc_in_place(ptr: NonNull<u8>, size: usize, gfp: Gfp) -> bool {
    // SAFETY: as the caller says.
    unsafe { resize(ptr, size, gfp) }.is_ok()
}

/// [`krealloc_in_place`], which returns how many bytes hold what the user may have written if
/// there is no room.
///
/// # Safety
/// As for [`krealloc_in_place`].
#[inline]
#[track_caller]
unsafe fn resize(ptr: NonNull<u8>, size: usize, gfp: Gfp) -> Result<(), usize> {
    let at = VirtAddr::from_ptr(ptr.as_ptr());
    if at.get() <= ZERO_SIZE_PTR.addr().get() {
        return Err(0);
    }
    // SAFETY: as the caller says.
    let Sizes { asked, room, cache } = unsafe { sizes(at, Location::caller()) };
    if size > room {
        return Err(asked);
    }
    if gfp.contains(Gfp::__GFP_ZERO) {
        // Where it is known what was asked for, the rest is a red zone's.
        let old = if cache.is_some() && asked < size { asked..size } else { size..room };
        // SAFETY: bytes of the allocation, past what its owner keeps.
        unsafe { memory::zero(ptr.add(old.start), old.len()) };
    }
    if let Some(cache) = cache {
        slab_debug::set_orig_size(cache, at, size);
    }
    Ok(())
}

/// Makes the allocation at `ptr` `size` bytes large, in place where its class
/// allows, and returns where it is now; its bytes stay up to the smaller size. Null
/// allocates; size 0 frees and gives [`ZERO_SIZE_PTR`].
///
/// With `__GFP_ZERO` the bytes past the old size are zero, if that flag was given
/// for every earlier step of this allocation too.
///
/// `None` where memory is short; then the old allocation stays as it is.
///
/// # Safety
/// `ptr` is null or came from [`kmalloc`] or its kin and is not free; after success
/// it is used no more, but through the pointer returned.
#[must_use]
#[track_caller]
pub unsafe fn krealloc(ptr: *const u8, size: usize, gfp: Gfp) -> Option<NonNull<u8>> {
    if size == 0 {
        // SAFETY: as the caller says.
        unsafe { kfree(ptr) };
        return Some(ZERO_SIZE_PTR);
    }
    let mut have = 0;
    if let Some(here) = NonNull::new(ptr.cast_mut()) {
        // SAFETY: as the caller says.
        match unsafe { resize(here, size, gfp) } {
            Ok(()) => return Some(here),
            Err(asked) => have = asked,
        }
    }
    let new = kmalloc(size, gfp)?;
    // SAFETY: both are allocations of at least `have` bytes, and the new one is another.
    unsafe { core::ptr::copy_nonoverlapping(ptr, new.as_ptr(), have) };
    // SAFETY: as the caller says.
    unsafe { kfree(ptr) };
    Some(new)
}
