//! What the caches hold (Linux: /proc/slabinfo).
#![deny(unsafe_code)]

use super::caches;
use super::kmem_cache::KmemCache;
use crate::arch::irq::with_masked;
use core::fmt;

/// The figures of one cache at one moment, as far as other CPUs stand still.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SlabInfo {
    /// The cache's name.
    pub name: &'static str,
    /// Objects that are allocated.
    pub active_objects: usize,
    /// Objects that slabs have room for.
    pub total_objects: usize,
    /// Bytes that a user gets.
    pub object_size: usize,
    /// Bytes from one object to the next.
    pub size: usize,
    /// Objects in a slab of the usual order.
    pub objects_per_slab: usize,
    /// Pages of a slab of the usual order.
    pub pages_per_slab: usize,
    /// Slabs.
    pub slabs: usize,
    /// Slabs that have free objects.
    pub partial_slabs: usize,
    /// Free objects in sheaves, on CPUs and in the barn.
    pub in_sheaves: usize,
}

impl SlabInfo {
    fn of(cache: &'static KmemCache) -> Self {
        let layout = cache.layout();
        with_masked(|irq| {
            let node = cache.node().lock(irq);
            let on_cpus = cache.cpus().iter().flat_map(|cpu| [&cpu.main, &cpu.spare]);
            let in_sheaves = on_cpus.map(|slot| slot.get_remote().count()).sum::<u32>()
                + node.barn.sheaves().0.iter().map(|sheaf| sheaf.count()).sum::<u32>();
            let in_sheaves = in_sheaves as usize;
            Self {
                name: cache.name(),
                active_objects: node.in_use.saturating_sub(in_sheaves),
                total_objects: node.total,
                object_size: cache.object_size(),
                size: layout.size as usize,
                objects_per_slab: layout.objects(layout.order).into(),
                pages_per_slab: layout.order.pages() as usize,
                slabs: node.slabs,
                partial_slabs: node.partial.len(),
                in_sheaves,
            }
        })
    }
}

/// As a line of /proc/slabinfo: name, active and all objects, size, objects and pages
/// per slab, slabs.
impl fmt::Display for SlabInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:<17} {:>6} {:>6} {:>6} {:>4} {:>4} {:>6}",
            self.name,
            self.active_objects,
            self.total_objects,
            self.size,
            self.objects_per_slab,
            self.pages_per_slab,
            self.slabs
        )
    }
}

/// The figures of all caches, in the order of creation. No cache may be destroyed
/// meanwhile.
pub fn slabinfo() -> impl Iterator<Item = SlabInfo> {
    (0..).map_while(caches::nth).map(SlabInfo::of)
}

impl KmemCache {
    /// The figures of this cache.
    #[must_use]
    pub fn info(&'static self) -> SlabInfo {
        SlabInfo::of(self)
    }
}
