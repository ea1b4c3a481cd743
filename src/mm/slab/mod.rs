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
//! | `node`, `nodes` | a cache's partial slabs and its barn on a node, under one lock; on all nodes |
//! | `freelist` | the order in which a new slab gives out its objects |
//! | `kmem_cache`, `slow` | a cache: per-CPU fast paths; slow paths, shrinking |
//! | `flush` | emptying the sheaves of other CPUs |
//! | `bulk` | many objects at once, and those of a given node |
//! | `places` | where caches lie, on bare metal |
//! | `caches`, `merge` | all caches; creation, destruction, the start; those that share slabs |
//! | `typed` | caches of values: what most users want |
//! | `typesafe` | slabs that readers may still look into when they are empty |
//! | `kmalloc` | memory by size |
//! | `hooks` | where the tools of `mm::debug` are told of objects |
//! | `debug`, `track`, `report` | red zones, poison, users, and what misuse is told |
//! | `slab_debug`, `failslab` | what the command line says of that, and of failing on purpose |
//! | `slabinfo`, `validate` | figures, and a check of every invariant |
//!
//! An object is in one of three places: allocated, in a sheaf, or on its slab's
//! freelist. A slab counts the first two as in use. Locks, outermost first: the
//! list of caches (`Rank::SlabCaches`), a cache's node (`Rank::SlabNode`), a zone.
//! Two nodes are never locked together.

mod barn;
mod bulk;
mod caches;
mod debug;
mod failslab;
mod flags;
mod flush;
mod freelist;
mod hooks;
mod kmalloc;
mod kmem_cache;
mod layout;
mod memory;
mod merge;
mod node;
mod nodes;
#[cfg(target_os = "none")]
mod places;
mod report;
mod sheaf;
#[expect(clippy::module_inception, reason = "one slab of the slab allocator")]
mod slab;
mod slab_debug;
mod slabinfo;
mod slow;
mod track;
mod typed;
mod typesafe;
mod validate;

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

pub use caches::{
    kmem_cache_create, kmem_cache_destroy, kmem_cache_init, shrink_all, slab_is_available,
};
pub use failslab::{FailSlab, set_failslab, set_failslab_cache_filter};
pub use flags::{AllocError, CreateError, DestroyError, SlabFlags};
#[cfg(target_os = "none")]
pub(crate) use flush::flush_if_requested;
pub use freelist::set_freelist_random;
pub use kmalloc::{
    KMALLOC_MAX_CACHE_SIZE, KMALLOC_MAX_SIZE, ZERO_SIZE_PTR, kcalloc, kfree, kmalloc,
    kmalloc_array, kmalloc_node, kmalloc_size_roundup, krealloc, ksize, kzalloc, kzalloc_node,
};
pub(in crate::mm) use kmalloc::{kmalloc_room, krealloc_in_place};
pub use kmem_cache::{Constructor, RawCache};
pub use merge::{set_slab_nomerge, slab_aliases};
pub use slab_debug::{SlabDebug, set_slab_debug};
pub use slabinfo::{SlabInfo, SlabOf, SlabPages, slab_of, slab_pages, slabinfo};
pub use typed::{CacheBox, KmemCache};
pub use validate::validate;
