//! Checks every invariant of every cache, for tests and when something smells.
#![deny(unsafe_code)]

use super::caches;
use super::kmem_cache::KmemCache;
use super::node::Node;
use super::sheaf::Sheaf;
use super::slab::{END, Slab};
use crate::addr::VirtAddr;
use crate::arch::irq::with_masked;
use crate::mm::page::PageFlags;

/// Walks all caches, slabs, freelists and sheaves. Other CPUs must leave the
/// allocator alone meanwhile.
///
/// # Panics
/// Where something is not as it must be.
pub fn validate() {
    for cache in (0..).map_while(caches::nth) {
        cache.validate();
    }
}

impl KmemCache {
    /// As [`validate`], for this cache.
    pub fn validate(&'static self) {
        with_masked(|irq| {
            let node = self.node().lock(irq);
            self.validate_partial(&node);
            self.validate_sheaves(&node);
        });
    }

    fn validate_partial(&self, node: &Node) {
        let name = self.name();
        let mut prev = None;
        let (mut slabs, mut free, mut objects) = (0, 0, 0);
        for slab in node.partial.iter() {
            assert!(slab.frame().page().prev() == prev, "{name}: list broken at {slab:?}");
            prev = Some(slab.frame());
            slabs += 1;
            assert!(slabs <= node.partial.len(), "{name}: partial list has a loop");
            let count = slab.slots(self).count();
            let walked = self.validate_slab(slab);
            assert!(walked > 0, "{name}: full {slab:?} on the partial list");
            free += usize::from(walked);
            objects += usize::from(count);
        }
        assert_eq!(slabs, node.partial.len(), "{name}: partial list is shorter than it says");
        assert_eq!(free, node.total - node.in_use, "{name}: free objects outside of partial slabs");
        assert!(slabs <= node.slabs && objects <= node.total, "{name}: more partial than all");
        assert_eq!(slabs == node.slabs, objects == node.total, "{name}: full slabs miscounted");
    }

    /// Checks one slab, and returns how many objects are on its freelist.
    fn validate_slab(&self, slab: Slab) -> u16 {
        let name = self.name();
        let order = slab.order();
        let layout = self.layout();
        assert!(order == layout.order || order == layout.min_order, "{name}: order of {slab:?}");
        let head = slab.frame();
        for frame in head.block(order) {
            let page = frame.page();
            let part = if frame == head { PageFlags::HEAD } else { PageFlags::TAIL };
            let bad = PageFlags::HWPOISON | PageFlags::HAS_HWPOISONED;
            assert_eq!(page.flags() - bad, PageFlags::SLAB | part, "{name}: {frame:?} of {slab:?}");
            assert_eq!(page.owner(), head.page().owner(), "{name}: owner of {frame:?}");
            assert!(frame == head || page.prev() == Some(head), "{name}: head of {frame:?}");
        }
        let slots = slab.slots(self);
        let mut at = slab.first_free();
        let mut walked = 0;
        while at != END {
            walked += 1;
            assert!(walked <= slots.count(), "{name}: freelist of {slab:?} has a loop");
            at = slab.follow(self, &slots, at);
        }
        assert_eq!(walked + slab.in_use(), slots.count(), "{name}: objects of {slab:?}");
        walked
    }

    fn validate_sheaves(&self, node: &Node) {
        let name = self.name();
        let capacity = self.sheaf_capacity();
        for cpu in self.cpus().iter() {
            for sheaf in [cpu.main.get_remote(), cpu.spare.get_remote()] {
                let fits = sheaf.capacity() == 0 || sheaf.capacity() == capacity;
                assert!(fits && sheaf.count() <= sheaf.capacity(), "{name}: a sheaf's counts");
            }
            let spare = cpu.spare.get_remote();
            assert!(spare.count() == 0 || spare.room() == 0, "{name}: spare half full");
        }
        let (full, empty) = node.barn.sheaves();
        assert!(full.iter().all(|s| s.room() == 0 && s.capacity() == capacity), "{name}: barn");
        assert!(empty.iter().all(|s| s.count() == 0 && s.capacity() == capacity), "{name}: barn");
        let on_cpus = || self.cpus().iter().flat_map(|cpu| [&cpu.main, &cpu.spare]);
        let sheaves = || {
            on_cpus()
                .map(|slot| slot.get_remote())
                .chain(full.iter().map(|sheaf| -> &Sheaf { sheaf }))
        };
        let objects = || sheaves().flat_map(Sheaf::iter).enumerate();
        assert!(objects().count() <= node.in_use, "{name}: more objects in sheaves than in use");
        for (n, object) in objects() {
            self.validate_free_object(object);
            assert!(
                objects().take(n).all(|(_, o)| o != object),
                "{name}: {object} is in sheaves twice"
            );
        }
    }

    /// Checks an object that lies in a sheaf.
    fn validate_free_object(&self, object: VirtAddr) {
        let name = self.name();
        let slab = Slab::containing(object).filter(|slab| core::ptr::eq(slab.cache(), self));
        let slab = slab.unwrap_or_else(|| panic!("{name}: {object} in a sheaf is no object of it"));
        let slots = slab.slots(self);
        let index = slots
            .index_of(object)
            .unwrap_or_else(|| panic!("{name}: {object} in a sheaf is no start of an object"));
        assert!(!slab.is_free(self, index), "{name}: {object} is in a sheaf and in its slab");
        if cfg!(debug_assertions) {
            let word = self.decode(object, slots.link(index));
            assert!(word <= u64::from(END), "{name}: {object} was modified after free");
        }
    }
}
