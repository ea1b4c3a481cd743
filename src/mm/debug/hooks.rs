//! Dispatch of the allocators' hooks to the tools.

use super::{
    debug_pagealloc, debugobjects, init_on, kfence, kmemleak, page_ext, page_owner, page_poison,
};
use crate::addr::{Order, VirtAddr};
use crate::mm::gfp::Gfp;
use crate::mm::hooks::{
    KfenceObject, ObjectType, SLAB_ALLOC_HOOKS, SLAB_FREE_HOOKS, Tools, register_tools,
};
use crate::mm::page::Frame;
use crate::mm::page_alloc;

/// The tools of this module, for [`crate::mm::hooks`].
struct DebugTools;

/// Lets the hooks of pages call the tools.
pub(super) fn watch_pages() {
    register_tools(&DebugTools);
    page_alloc::watch_pages();
}

/// Lets the hooks of allocated objects call the tools.
pub(super) fn watch_allocs() {
    register_tools(&DebugTools);
    SLAB_ALLOC_HOOKS.inc();
}

/// Lets the hooks of freed objects call the tools.
pub(super) fn watch_frees() {
    register_tools(&DebugTools);
    SLAB_FREE_HOOKS.inc();
}

impl Tools for DebugTools {
    fn page_allocated(&self, frame: Frame, order: Order, gfp: Gfp) {
        debug_pagealloc::map(frame, order);
        page_poison::check_alloc(frame, order);
        init_on::page_allocated(frame, order, gfp);
        page_owner::set_page_owner(frame, order, gfp, true);
    }

    fn prepare_to_take(&self, frame: Frame) {
        page_ext::make_ready(frame);
    }

    fn page_taken(&self, frame: Frame, order: Order) {
        debug_pagealloc::map(frame, order);
        page_poison::check_alloc(frame, order);
        page_owner::set_page_owner(frame, order, Gfp::__GFP_MOVABLE, false);
    }

    fn page_freed(&self, frame: Frame, order: Order) {
        debugobjects::check_no_obj_freed(frame.virt(), order.bytes());
        page_ext::make_ready(frame);
        page_owner::reset_page_owner(frame, order);
        init_on::page_freed(frame, order);
        page_poison::poison(frame, order);
        debug_pagealloc::unmap(frame, order);
    }

    fn page_split(&self, frame: Frame, order: Order) {
        page_owner::split(frame, order);
    }

    fn object_allocated(&self, at: VirtAddr, size: usize, _gfp: Gfp) {
        kmemleak::kmemleak_alloc(at, size, 1);
    }

    fn object_freed(&self, at: VirtAddr, size: usize) {
        debugobjects::check_no_obj_freed(at, size);
        kmemleak::kmemleak_free(at);
    }

    fn want_init_on_alloc(&self, gfp: Gfp) -> bool {
        init_on::want_init_on_alloc(gfp)
    }

    fn want_init_on_free(&self) -> bool {
        init_on::want_init_on_free()
    }

    fn kfence_alloc(&self, size: usize, align: usize, gfp: Gfp, owner: usize) -> Option<VirtAddr> {
        kfence::kfence_alloc(size, align, gfp, owner)
    }

    fn kfence_free(&self, at: VirtAddr, wipe: bool) {
        kfence::kfence_free(at, wipe);
    }

    fn kfence_shutdown_cache(&self, owner: usize, heir: usize) -> usize {
        kfence::kfence_shutdown_cache(owner, heir)
    }

    fn kfence_object(&self, frame: Frame) -> Option<KfenceObject> {
        kfence::kfence_object(frame)
    }

    fn kfence_ksize(&self, at: VirtAddr) -> Option<usize> {
        kfence::kfence_ksize(at)
    }

    fn debug_object_init(&self, at: VirtAddr, kind: ObjectType) {
        debugobjects::debug_object_init(at, kind);
    }

    fn debug_object_activate(&self, at: VirtAddr, kind: ObjectType) {
        debugobjects::debug_object_activate(at, kind);
    }

    fn debug_object_deactivate(&self, at: VirtAddr, kind: ObjectType) {
        debugobjects::debug_object_deactivate(at, kind);
    }

    fn debug_object_free(&self, at: VirtAddr, kind: ObjectType) {
        debugobjects::debug_object_free(at, kind);
    }
}
