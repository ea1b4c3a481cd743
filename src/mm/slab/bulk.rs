//! Many objects at once, and objects of a given node (Linux: kmem_cache_alloc_bulk,
//! kmem_cache_free_bulk, kmem_cache_alloc_node).

use super::caches::nr_nodes;
use super::debug;
use super::hooks::Freed;
use super::kmem_cache::RawCache;
use super::memory;
use super::slab::mark;
use crate::addr::VirtAddr;
use crate::arch::irq::with_masked;
use crate::arch::jump_label::static_branch_unlikely;
use crate::mm::gfp::{Gfp, might_alloc};
use crate::mm::hooks::{SLAB_ALLOC_HOOKS, SLAB_FREE_HOOKS};
use crate::mm::mmzone::NodeId;
use core::panic::Location;
use core::ptr::NonNull;

impl RawCache {
    /// Allocates an object from `node`'s memory; if it has none and `gfp` lacks
    /// `__GFP_THISNODE`, from another node's. Otherwise as [`RawCache::alloc`] (Linux:
    /// kmem_cache_alloc_node).
    #[must_use]
    #[track_caller]
    pub fn alloc_node(&'static self, gfp: Gfp, node: NodeId) -> Option<NonNull<u8>> {
        self.alloc_sized_node(None, gfp, node)
    }

    /// Allocates from `node` for kmalloc (`size`: the bytes asked for) and for
    /// [`alloc_node`](Self::alloc_node) (`None`).
    #[track_caller]
    pub(super) fn alloc_sized_node(
        &'static self,
        size: Option<usize>,
        gfp: Gfp,
        node: NodeId,
    ) -> Option<NonNull<u8>> {
        let caller = Location::caller();
        if static_branch_unlikely!(SLAB_ALLOC_HOOKS) {
            return self.alloc_node_hooked(size, gfp, node, caller);
        }
        let object = self.alloc_of_node(gfp, node, caller)?;
        let object = self.fill_as_asked(object, gfp, caller);
        if let Some(size) = size {
            debug::set_orig_size(self, VirtAddr::from_ptr(object.as_ptr()), size);
        }
        Some(object)
    }

    /// An object of `node`'s memory, not filled.
    #[inline(always)]
    #[track_caller]
    pub(super) fn alloc_of_node(
        &'static self,
        gfp: Gfp,
        node: NodeId,
        caller: &'static Location<'static>,
    ) -> Option<NonNull<u8>> {
        if nr_nodes() == 1 && node == NodeId::FIRST {
            self.alloc_object(gfp)
        } else {
            memory::object_ptr(self.alloc_object_node(gfp, node, caller)?)
        }
    }

    /// Fills `objects` with objects of this cache, as [`RawCache::alloc`] does. Returns false if
    /// there was no memory for all; then none stays allocated, and all of `objects` is `None`.
    /// Interrupts are masked for a sheaf at a time.
    #[must_use]
    #[track_caller]
    pub fn alloc_bulk(&'static self, gfp: Gfp, objects: &mut [Option<NonNull<u8>>]) -> bool {
        let caller = Location::caller();
        if static_branch_unlikely!(SLAB_ALLOC_HOOKS) {
            return self.alloc_bulk_hooked(gfp, objects, caller);
        }
        might_alloc(gfp);
        let mut done = 0;
        while done < objects.len() {
            done += self.pop_into(&mut objects[done..]);
            if let Some(slot) = objects.get_mut(done) {
                *slot = self.alloc_slow(gfp, caller);
                if slot.is_none() {
                    break;
                }
                done += 1;
            }
        }
        if done < objects.len() {
            for object in objects[..done].iter_mut().filter_map(Option::take) {
                self.put_back(VirtAddr::from_ptr(object.as_ptr()), caller);
            }
            objects.fill(None);
            return false;
        }
        for &object in objects.iter().flatten() {
            self.fill_as_asked(object, gfp, caller);
        }
        true
    }

    /// Frees what was allocated of `objects`, of which the tools know, and leaves none.
    pub(super) fn take_back(
        &'static self,
        objects: &mut [Option<NonNull<u8>>],
        caller: &'static Location<'static>,
    ) {
        for object in objects.iter_mut().filter_map(Option::take) {
            self.free_object(VirtAddr::from_ptr(object.as_ptr()), caller, Freed::ToCache);
        }
    }

    /// Moves objects of this CPU's main sheaf to `objects`, and says how many.
    fn pop_into(&'static self, objects: &mut [Option<NonNull<u8>>]) -> usize {
        with_masked(|irq| {
            let main = &self.cpus().get(irq).main;
            let mut done = 0;
            while done < objects.len()
                && let Some(object) = main.pop()
            {
                if cfg!(debug_assertions) {
                    mark::allocated(self, object);
                }
                objects[done] = memory::object_ptr(object);
                done += 1;
            }
            done
        })
    }

    /// Frees all of `objects`. Any context; interrupts are masked for a sheaf at a time.
    ///
    /// # Panics
    /// As [`RawCache::free`], at the first that is wrong.
    ///
    /// # Safety
    /// As for [`RawCache::free`], for each of them.
    #[track_caller]
    pub unsafe fn free_bulk(&'static self, objects: &[NonNull<u8>]) {
        let caller = Location::caller();
        if static_branch_unlikely!(SLAB_FREE_HOOKS) {
            for object in objects {
                self.free_object(VirtAddr::from_ptr(object.as_ptr()), caller, Freed::ToCache);
            }
            return;
        }
        let mut rest = objects;
        while !rest.is_empty() {
            rest = &rest[self.push_from(rest, caller)..];
            if let Some((object, others)) = rest.split_first() {
                self.free_slow(VirtAddr::from_ptr(object.as_ptr()), caller);
                rest = others;
            }
        }
    }

    /// Moves objects onto this CPU's main sheaf, and says how many. The next is marked as
    /// free too: it goes to the slow path.
    fn push_from(
        &'static self,
        objects: &[NonNull<u8>],
        caller: &'static Location<'static>,
    ) -> usize {
        with_masked(|irq| {
            let main = &self.cpus().get(irq).main;
            let push = |object: &NonNull<u8>| {
                let object = VirtAddr::from_ptr(object.as_ptr());
                if cfg!(debug_assertions) {
                    mark::freed(self, object, caller);
                }
                main.push(object)
            };
            objects.iter().position(|object| !push(object)).unwrap_or(objects.len())
        })
    }
}
