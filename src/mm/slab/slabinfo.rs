//! Statistics of the caches (Linux: /proc/slabinfo).
#![deny(unsafe_code)]

use super::caches;
use super::flags::SlabFlags;
use super::kmem_cache::RawCache;
use super::layout::CacheLayout;
use super::slab::Slab;
use crate::addr::Order;
use crate::arch::irq::with_masked;
use crate::mm::hooks;
use crate::mm::mmzone::NodeId;
use crate::mm::page::Frame;
use core::fmt;

/// The figures of one cache at one moment, as far as other CPUs stand still.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SlabInfo {
    /// The cache's name.
    pub name: &'static str,
    /// The cache's flags.
    pub flags: SlabFlags,
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
    /// Pages of these, of whatever order.
    pub pages: usize,
    /// Slabs that have free objects.
    pub partial_slabs: usize,
    /// Free objects in sheaves, on CPUs and in the barn.
    pub in_sheaves: usize,
}

/// Pages of `slabs` slabs with room for `objects`: those made of the lesser order when memory
/// was short have less, which tells how many they are.
fn pages(layout: &CacheLayout, slabs: usize, objects: usize) -> usize {
    let usual = usize::from(layout.objects(layout.order));
    let lesser = usize::from(layout.objects(layout.min_order));
    let missing = (slabs * usual).saturating_sub(objects);
    let small = missing.checked_div(usual - lesser).unwrap_or(0);
    let pages = |order: Order| order.pages() as usize;
    (slabs - small) * pages(layout.order) + small * pages(layout.min_order)
}

impl SlabInfo {
    /// The figures of a cache, of one node's slabs or of all.
    fn of(cache: &'static RawCache, node: Option<NodeId>) -> Self {
        let layout = cache.layout();
        with_masked(|irq| {
            let mut info = Self {
                name: cache.name(),
                flags: cache.flags(),
                active_objects: 0,
                total_objects: 0,
                object_size: cache.object_size(),
                size: layout.size as usize,
                objects_per_slab: layout.objects(layout.order).into(),
                pages_per_slab: layout.order.pages() as usize,
                slabs: 0,
                pages: 0,
                partial_slabs: 0,
                in_sheaves: 0,
            };
            let on_cpus = cache.cpus().iter().flat_map(|cpu| [&cpu.main, &cpu.spare]);
            let capacity = cache.sheaf_capacity();
            let counts = on_cpus.map(|slot| slot.count_from_afar(capacity));
            let mut in_sheaves = counts.sum::<u32>();
            let mut in_use = 0;
            let of_all = NodeId::all().zip(cache.nodes().iter());
            for (_, of_node) in of_all.filter(|(id, _)| node.is_none_or(|node| node == *id)) {
                let node = of_node.lock(irq);
                in_sheaves += node.barn.sheaves().0.iter().map(|sheaf| sheaf.count()).sum::<u32>();
                in_use += node.in_use;
                info.total_objects += node.total;
                info.slabs += node.slabs;
                info.pages += pages(layout, node.slabs, node.total);
                info.partial_slabs += node.partial.len();
            }
            info.in_sheaves = in_sheaves as usize;
            info.active_objects = in_use.saturating_sub(info.in_sheaves);
            info
        })
    }
}

/// Formats a line of /proc/slabinfo: name, active and all objects, size, objects and pages per
/// slab, slabs.
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

/// The figures of all caches, in the order of creation.
pub fn slabinfo() -> impl Iterator<Item = SlabInfo> {
    caches::pinned().map(|cache| SlabInfo::of(*cache, None))
}

/// Pages in slabs by what becomes of them (Linux: SReclaimable, SUnreclaim).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SlabPages {
    /// Pages of caches that a shrinker can empty.
    pub reclaimable: usize,
    /// Pages of all other caches.
    pub unreclaimable: usize,
    /// Pages of both kinds that are charged to whoever allocates.
    pub accounted: usize,
}

/// Counts the pages of slabs, on one node or on all.
#[must_use]
pub fn slab_pages(node: Option<NodeId>) -> SlabPages {
    let mut sum = SlabPages::default();
    for info in caches::pinned().map(|cache| SlabInfo::of(*cache, node)) {
        let pages = info.pages;
        if info.flags.contains(SlabFlags::RECLAIM_ACCOUNT) {
            sum.reclaimable += pages;
        } else {
            sum.unreclaimable += pages;
        }
        if info.flags.contains(SlabFlags::ACCOUNT) {
            sum.accounted += pages;
        }
    }
    sum
}

/// The slab that a page belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SlabOf {
    /// Name of its cache.
    pub cache: &'static str,
    /// Objects of it that are allocated or kept by CPUs.
    pub in_use: u16,
    /// Objects that it has room for.
    pub objects: u16,
    /// Bytes that a user gets of each.
    pub object_size: usize,
}

/// The slab that `frame` is part of, if there is one and its cache is known. Any context.
#[must_use]
pub fn slab_of(frame: Frame) -> Option<SlabOf> {
    let slab = Slab::containing(frame.virt())?;
    let guarded = hooks::kfence_object(frame);
    let owner = slab.frame().page().owner();
    // What it says to be is looked up: it may change while nobody holds it.
    let cache =
        caches::pinned().find(|cache| core::ptr::from_ref::<RawCache>(cache).addr() == owner)?;
    // A page of KFENCE's is marked as a slab's, and holds one object.
    if let Some(object) = guarded {
        let (in_use, object_size) = (object.allocated.into(), object.size);
        return Some(SlabOf { cache: cache.name(), in_use, objects: 1, object_size });
    }
    Some(SlabOf {
        cache: cache.name(),
        in_use: slab.in_use(),
        objects: cache.layout().objects(slab.order()),
        object_size: cache.object_size(),
    })
}

impl RawCache {
    /// The figures of this cache.
    #[must_use]
    pub fn info(&'static self) -> SlabInfo {
        SlabInfo::of(self, None)
    }
}
