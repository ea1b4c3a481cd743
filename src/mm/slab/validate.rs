//! Checks every invariant of every cache, for tests and when something smells.
#![deny(unsafe_code)]

use super::caches;
use super::debug;
use super::flags::SlabFlags;
use super::kmem_cache::RawCache;
use super::node::Node;
use super::sheaf::SheafSlot;
use super::slab::{END, Slab};
use super::slow::home_of;
use crate::addr::VirtAddr;
use crate::arch::IrqMasked;
use crate::arch::irq::with_masked;
use crate::mm::mmzone::NodeId;
use crate::mm::page::{PageFlags, PageType};

/// Walks all caches, slabs, freelists and sheaves; of caches with red zones, poison or tracks
/// all objects, free and allocated.
///
/// # Panics
/// Where something is not as it has to be. If other CPUs allocate and free meanwhile, their lists
/// may look as if it was not.
pub fn validate() {
    caches::pinned().for_each(|cache| cache.validate());
}

impl RawCache {
    /// Checks this cache as [`validate`] does.
    pub fn validate(&'static self) {
        with_masked(|irq| {
            for (id, node) in NodeId::all().zip(self.nodes().iter()) {
                let node = node.lock(irq);
                self.validate_partial(&node, id);
                self.validate_full(&node, id);
            }
            self.validate_sheaves(irq);
        });
    }

    /// Checks the list of full slabs, which only some caches keep.
    fn validate_full(&self, node: &Node, id: NodeId) {
        let name = self.name();
        let mut slabs = 0;
        for slab in node.full.iter() {
            assert_eq!(self.validate_slab(slab, id), 0, "{name}: {slab:?} is not full");
            slabs += 1;
        }
        let keeps = self.flags().intersects(SlabFlags::DEBUG_METADATA);
        let want = if keeps { node.slabs - node.partial.len() } else { 0 };
        assert_eq!((slabs, node.full.len()), (want, want), "{name}: full slabs");
    }

    fn validate_partial(&self, node: &Node, id: NodeId) {
        let name = self.name();
        let mut prev = None;
        let (mut slabs, mut free, mut objects) = (0, 0, 0);
        for slab in node.partial.iter() {
            assert!(slab.frame().page().prev() == prev, "{name}: list broken at {slab:?}");
            prev = Some(slab.frame());
            slabs += 1;
            assert!(slabs <= node.partial.len(), "{name}: partial list has a loop");
            let count = slab.slots(self).count();
            let walked = self.validate_slab(slab, id);
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
    fn validate_slab(&self, slab: Slab, id: NodeId) -> u16 {
        let name = self.name();
        assert!(slab.node() == id, "{name}: {slab:?} is kept by another node");
        let order = slab.order();
        let layout = self.layout();
        assert!(order == layout.order || order == layout.min_order, "{name}: order of {slab:?}");
        let head = slab.frame();
        for frame in head.block(order) {
            let page = frame.page();
            let part = if frame == head { PageFlags::HEAD } else { PageFlags::TAIL };
            let of_pages = PageFlags::HWPOISON | PageFlags::HAS_HWPOISONED;
            let flags = page.flags() - of_pages;
            assert_eq!(
                (page.page_type(), flags),
                (PageType::Slab, part),
                "{name}: {frame:?} of {slab:?}"
            );
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
        debug::validate_objects(self, slab);
        walked
    }

    fn validate_sheaves(&self, irq: &IrqMasked) {
        let name = self.name();
        let capacity = self.sheaf_capacity();
        for cpu in self.cpus().iter() {
            let spare = cpu.spare.count_from_afar(capacity);
            assert!(spare == 0 || spare == capacity, "{name}: spare half full");
            assert!(cpu.main.room() <= capacity, "{name}: a sheaf's counts");
        }
        let mut in_barns = 0;
        let mut in_use = 0;
        for (id, node) in NodeId::all().zip(self.nodes().iter()) {
            let node = node.lock(irq);
            in_use += node.in_use;
            let (full, empty) = node.barn.sheaves();
            assert!(full.iter().all(|s| s.room() == 0 && s.capacity() == capacity), "{name}: barn");
            assert!(
                empty.iter().all(|s| s.count() == 0 && s.capacity() == capacity),
                "{name}: barn"
            );
            for (n, sheaf) in full.iter().enumerate() {
                in_barns += sheaf.count() as usize;
                let other =
                    full[..n].iter().map(|sheaf| -> &SheafSlot { sheaf }).chain(self.on_cpus());
                self.validate_objects(sheaf, other.clone());
                let is_home = |object| home_of(object) == id;
                assert!(
                    sheaf.iter(capacity).all(is_home),
                    "{name}: another node's object in a barn"
                );
            }
        }
        let mut on_cpus = 0;
        for (n, sheaf) in self.on_cpus().enumerate() {
            on_cpus += sheaf.count_from_afar(capacity) as usize;
            self.validate_objects(sheaf, self.on_cpus().take(n));
        }
        assert!(on_cpus + in_barns <= in_use, "{name}: more objects in sheaves than in use");
    }

    fn on_cpus(&self) -> impl Iterator<Item = &SheafSlot> + Clone {
        self.cpus().iter().flat_map(|cpu| [&cpu.main, &cpu.spare])
    }

    /// Checks that the objects of `sheaf` are free ones, and are neither twice in it nor
    /// in one of `others`.
    fn validate_objects<'a>(
        &self,
        sheaf: &SheafSlot,
        others: impl Iterator<Item = &'a SheafSlot> + Clone,
    ) {
        let name = self.name();
        let capacity = self.sheaf_capacity();
        let others = others.flat_map(|sheaf| sheaf.iter(capacity));
        for (n, object) in sheaf.iter(capacity).enumerate() {
            self.validate_free_object(object);
            let twice = sheaf.iter(capacity).take(n).chain(others.clone());
            assert!(twice.into_iter().all(|o| o != object), "{name}: {object} is in sheaves twice");
        }
    }

    /// Checks an object that lies in a sheaf.
    fn validate_free_object(&self, object: VirtAddr) {
        let name = self.name();
        let slab = Slab::of_cache(self, object);
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
