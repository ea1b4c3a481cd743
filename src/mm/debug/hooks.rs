//! Hooks of the allocators, and their dispatch to the tools.

use super::{debug_pagealloc, debugobjects, init_on, kmemleak, page_ext, page_owner, page_poison};
use crate::addr::{Order, VirtAddr};
use crate::mm::gfp::Gfp;
use crate::mm::page::Frame;
use crate::mm::trace::points;

/// A block was just allocated: `gfp` is what for (Linux: post_alloc_hook). Zeros that `gfp`
/// asks for are the caller's to write, afterwards.
#[cold]
#[inline(never)]
pub(in crate::mm) fn post_alloc_hook(frame: Frame, order: Order, gfp: Gfp) {
    debug_pagealloc::map(frame, order);
    page_poison::check_alloc(frame, order);
    init_on::page_allocated(frame, order, gfp);
    page_owner::set_page_owner(frame, order, gfp, true);
    points::mm_page_alloc(Some(frame), order, gfp);
}

/// Allocates the storage that [`taken_off_list`] needs to record new owners in the frame's
/// section. Must not be called under a lock that the page allocator may take.
pub(in crate::mm) fn prepare_to_take(frame: Frame) {
    page_ext::make_ready(frame);
}

/// A block left the free lists outside alloc_pages (compaction, CMA). May be called under a
/// zone's lock.
pub(in crate::mm) fn taken_off_list(frame: Frame, order: Order) {
    if super::PAGE_HOOKS.is_enabled() {
        debug_pagealloc::map(frame, order);
        page_poison::check_alloc(frame, order);
        page_owner::set_page_owner(frame, order, Gfp::__GFP_MOVABLE, false);
        points::mm_page_alloc(Some(frame), order, Gfp::__GFP_MOVABLE);
    }
}

/// A block is about to be freed (Linux: free_pages_prepare).
#[cold]
#[inline(never)]
pub(in crate::mm) fn free_pages_prepare(frame: Frame, order: Order) {
    points::mm_page_free(frame, order);
    debugobjects::check_no_obj_freed(frame.virt(), order.bytes());
    page_ext::make_ready(frame);
    page_owner::reset_page_owner(frame, order);
    init_on::page_freed(frame, order);
    page_poison::poison(frame, order);
    debug_pagealloc::unmap(frame, order);
}

/// `size` bytes of an object, or of an area of vmalloc, were allocated.
pub(in crate::mm) fn object_allocated(at: VirtAddr, size: usize, _gfp: Gfp) {
    kmemleak::kmemleak_alloc(at, size, 1);
}

/// An object is about to be freed, all `size` bytes of it; 0 where that is not known.
pub(in crate::mm) fn object_freed(at: VirtAddr, size: usize) {
    debugobjects::check_no_obj_freed(at, size);
    kmemleak::kmemleak_free(at);
}

/// A block is taken apart into single pages (Linux: split_page_owner).
pub(in crate::mm) fn split_page_hook(frame: Frame, order: Order) {
    if super::PAGE_HOOKS.is_enabled() {
        page_owner::split(frame, order);
    }
}
