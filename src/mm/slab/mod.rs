//! The slab allocator: objects of one size out of pages (Linux: mm/slub.c,
//! mm/slab_common.c, include/linux/slab.h).
//!
//! From the bottom up:
//!
//! | file | what it is |
//! | --- | --- |
//! | `layout` | how objects lie in a slab, how large a slab is |
//! | `memory` | the mechanism: all that touches the bytes of slabs |
//! | `slab` | one slab: its freelist and its frame descriptors |
//! | `sheaf`, `barn` | arrays of free objects: a CPU's, and a node's spare ones |
//! | `node` | a cache's partial slabs and its barn, under one lock |
//! | `kmem_cache` | a cache: per-CPU fast paths, slow paths, shrinking |
//! | `caches` | all caches; creation, destruction, the start |
//! | `kmalloc` | memory by size |
//! | `hooks` | where the tools of `mm::debug` are told of objects |
//! | `debug`, `report` | red zones, poison, and what misuse is told |
//! | `slabinfo`, `validate` | figures, and a check of every invariant |
//!
//! An object is in one of three places: allocated, in a sheaf, or on its slab's
//! freelist. A slab counts the first two as in use. Locks, outermost first: the
//! list of caches (`Rank::SlabCaches`), a cache's node (`Rank::SlabNode`), a zone.
//! Two nodes are never locked together.

mod barn;
mod caches;
mod debug;
mod flags;
mod hooks;
mod kmalloc;
mod kmem_cache;
mod layout;
mod memory;
mod node;
mod report;
mod sheaf;
#[expect(clippy::module_inception, reason = "one slab of the slab allocator")]
mod slab;
mod slabinfo;
mod validate;

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

pub use caches::{
    kmem_cache_create, kmem_cache_destroy, kmem_cache_init, shrink_all, slab_is_available,
};
pub use flags::{CreateError, DestroyError, SlabFlags};
pub use kmalloc::{
    KMALLOC_MAX_CACHE_SIZE, KMALLOC_MAX_SIZE, ZERO_SIZE_PTR, kcalloc, kfree, kmalloc,
    kmalloc_array, kmalloc_size_roundup, krealloc, ksize, kzalloc,
};
pub use kmem_cache::{Constructor, KmemCache};
pub use slabinfo::{SlabInfo, slabinfo};
pub use validate::validate;
