//! Calls of the debugging tools of `mm::debug` when objects are allocated and freed: out of
//! line, and not reached while all tools are off (Linux: slab_post_alloc_hook, slab_free_hook in
//! mm/slub.c).

use super::caches::nr_nodes;
use super::debug as slab_debug;
use super::flags::SlabFlags;
use super::kmem_cache::RawCache;
use super::memory;
use crate::addr::VirtAddr;
use crate::mm::gfp::Gfp;
use crate::mm::hooks;
use crate::mm::hooks::points;
use crate::mm::mmzone::NodeId;
use core::panic::Location;
use core::ptr::NonNull;

/// Caller of a free.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Freed {
    /// `kfree`, which looked the cache up.
    ByKfree,
    /// A caller that knows the cache.
    ToCache,
}

impl RawCache {
    /// Allocates an object; for kmalloc, of which `size` bytes were asked for.
    #[cold]
    #[inline(never)]
    #[track_caller]
    pub(super) fn alloc_hooked(
        &'static self,
        size: Option<usize>,
        gfp: Gfp,
    ) -> Option<NonNull<u8>> {
        self.guarded_or(size, gfp, None, Location::caller(), || self.alloc_object(gfp))
    }

    /// Variant of [`RawCache::alloc_node`] that calls the tools.
    #[cold]
    #[inline(never)]
    pub(super) fn alloc_node_hooked(
        &'static self,
        size: Option<usize>,
        gfp: Gfp,
        node: NodeId,
        caller: &'static Location<'static>,
    ) -> Option<NonNull<u8>> {
        let other = || self.alloc_of_node(gfp, node, caller);
        self.guarded_or(size, gfp, Some(node), caller, other)
    }

    /// Variant of [`RawCache::alloc_bulk`] that calls the tools.
    #[cold]
    #[inline(never)]
    pub(super) fn alloc_bulk_hooked(
        &'static self,
        gfp: Gfp,
        objects: &mut [Option<NonNull<u8>>],
        caller: &'static Location<'static>,
    ) -> bool {
        objects.fill(None);
        for n in 0..objects.len() {
            objects[n] = self.guarded_or(None, gfp, None, caller, || self.alloc_object(gfp));
            if objects[n].is_none() {
                self.take_back(&mut objects[..n], caller);
                return false;
            }
        }
        true
    }

    /// An object of KFENCE's, or where it does not want this allocation, what `other` gives;
    /// filled as `gfp` asks, and the tools know of it.
    #[inline]
    fn guarded_or(
        &'static self,
        size: Option<usize>,
        gfp: Gfp,
        node: Option<NodeId>,
        caller: &'static Location<'static>,
        other: impl FnOnce() -> Option<NonNull<u8>>,
    ) -> Option<NonNull<u8>> {
        let wanted = size.unwrap_or(self.object_size());
        let guarded = self.alloc_guarded(wanted, gfp);
        let (got, len) = match guarded {
            Some(at) => (memory::object_ptr(at), wanted),
            None => (other(), self.object_size()),
        };
        self.trace(size, got, gfp, node, caller);
        let object = got?;
        let wants_zeros = gfp.contains(Gfp::__GFP_ZERO) || self.flags().contains(SlabFlags::ZERO);
        if wants_zeros && self.ctor().is_some() {
            self.warn_of_constructor(caller);
        } else if wants_zeros {
            // SAFETY: the object was allocated just now.
            unsafe { memory::zero(object, len) };
        }
        self.tell(object, len, gfp);
        if let Some(size) = size
            && guarded.is_none()
        {
            slab_debug::set_orig_size(self, VirtAddr::from_ptr(object.as_ptr()), size);
        }
        Some(object)
    }

    /// An object of KFENCE's, where it wants this allocation. Its objects lie on one node.
    fn alloc_guarded(&'static self, size: usize, gfp: Gfp) -> Option<VirtAddr> {
        // What readers may still look at must stay mapped.
        let unfit = SlabFlags::CACHE_DMA | SlabFlags::CACHE_DMA32 | SlabFlags::TYPESAFE_BY_RCU;
        if self.flags().intersects(unfit) || gfp.contains(Gfp::__GFP_THISNODE) && nr_nodes() > 1 {
            return None;
        }
        let align = self.layout().align as usize;
        let at = hooks::kfence_alloc(size, align, gfp, memory::to_owner(self))?;
        if let (Some(ctor), Some(object)) = (self.ctor(), memory::object_ptr(at)) {
            ctor(object);
        }
        Some(at)
    }

    /// Records an allocation, or that there was no memory for one.
    fn trace(
        &self,
        size: Option<usize>,
        object: Option<NonNull<u8>>,
        gfp: Gfp,
        node: Option<NodeId>,
        caller: &'static Location<'static>,
    ) {
        let (at, room) =
            (object.map(|at| VirtAddr::from_ptr(at.as_ptr())), self.layout().size as usize);
        match size {
            Some(size) => points::kmalloc(caller, at, size, room, gfp, node),
            None => points::kmem_cache_alloc(caller, at, self.object_size(), room, gfp, node),
        }
    }

    fn tell(&self, object: NonNull<u8>, len: usize, gfp: Gfp) {
        if hooks::want_init_on_alloc(gfp) && self.may_be_wiped() {
            // SAFETY: the object was allocated just now.
            unsafe { memory::zero(object, len) };
        }
        hooks::object_allocated(VirtAddr::from_ptr(object.as_ptr()), len, gfp);
    }

    /// Returns true if the tools may fill the cache's objects with zeros. Not with a
    /// constructor, nor with TYPESAFE_BY_RCU, where readers may still look at a free object, nor
    /// with poison, which does the same (Linux: slab_want_init_on_alloc,
    /// slab_want_init_on_free).
    fn may_be_wiped(&self) -> bool {
        let keeps = SlabFlags::TYPESAFE_BY_RCU | SlabFlags::POISON;
        self.ctor().is_none() && !self.flags().intersects(keeps)
    }

    /// Frees an object, and tells of it.
    #[cold]
    #[inline(never)]
    pub(super) fn free_hooked(
        &'static self,
        object: VirtAddr,
        caller: &'static Location<'static>,
        by: Freed,
    ) {
        match by {
            Freed::ByKfree => points::kfree(caller, object),
            Freed::ToCache => points::kmem_cache_free(caller, object, self.name()),
        }
        let wipe = hooks::want_init_on_free() && self.may_be_wiped();
        if hooks::is_kfence_address(object) {
            hooks::object_freed(object, 0);
            hooks::kfence_free(object, wipe);
            return;
        }
        hooks::object_freed(object, self.object_size());
        if wipe {
            self.wipe(object);
        }
        self.put_back(object, caller);
    }

    /// Fills an object that is about to be free with zeros, as far as it was asked for; but
    /// not the word by which builds with debug assertions tell a double free, which is
    /// written next.
    fn wipe(&self, object: VirtAddr) {
        let size = slab_debug::orig_size(self, object).unwrap_or(self.object_size());
        let link = self.layout().offset as usize;
        let skip = if cfg!(debug_assertions) { link.min(size)..(link + 8).min(size) } else { 0..0 };
        for part in [0..skip.start, skip.end..size] {
            if let Some(at) = memory::object_ptr(object + part.start) {
                // SAFETY: bytes of an object that its user has given up.
                unsafe { memory::zero(at, part.len()) };
            }
        }
    }
}
