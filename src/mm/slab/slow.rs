//! Slow paths of a cache, when a CPU's main sheaf is empty or full.
//!
//! Main changes places with spare; when both are used up, with a sheaf of the node's
//! barn; and when there is none, one lock hold refills it from partial slabs, or puts all
//! of it back. Spare is always either full or empty, so a CPU that goes back and forth
//! over the edge of a sheaf does not touch the node.
//!
//! Sheaves of the barn hold objects of their own node alone. A CPU's sheaf may hold
//! those of other nodes, freed here: when it is full they go home, one lock hold for
//! each node. Memory comes from the CPU's own node first.
#![deny(unsafe_code)]

use super::caches::nr_nodes;
use super::flags::SlabFlags;
use super::kmem_cache::{CpuSheaves, RawCache};
use super::node::{SlabList, release_all};
use super::sheaf::{OwnedSheaf, SheafSlot};
use super::slab::{Slab, mark};
use super::{debug, failslab, memory};
use crate::addr::{Order, VirtAddr};
use crate::arch::irq::with_masked;
use crate::arch::{IrqMasked, cpu};
use crate::mm::gfp::{Gfp, might_alloc};
use crate::mm::mmzone::NodeId;
use crate::mm::page::Frame;
use crate::mm::page_alloc::cpu_to_node;
use core::panic::Location;
use core::ptr::NonNull;

/// The node whose memory `object` lies in.
pub(super) fn home_of(object: VirtAddr) -> NodeId {
    if nr_nodes() == 1 {
        return NodeId::FIRST;
    }
    let block = Frame::from_virt(object).map(|frame| frame.align_down(Order::MAX));
    block.map_or(NodeId::FIRST, |block| block.zone().node())
}

/// The node that this CPU is near.
fn local(irq: &IrqMasked) -> NodeId {
    cpu_to_node(cpu::id(irq))
}

impl RawCache {
    /// Returns whether CPUs may keep objects now.
    fn has_sheaves(&self) -> bool {
        self.sheaf_capacity() != 0 && !failslab::is_on()
    }

    #[cold]
    #[inline(never)]
    pub(super) fn alloc_slow(
        &'static self,
        gfp: Gfp,
        caller: &'static Location<'static>,
    ) -> Option<NonNull<u8>> {
        if failslab::should_fail(self, gfp) {
            return None;
        }
        let object = with_masked(|irq| self.alloc_from_node(irq, gfp))
            // Before the page allocator may sleep or run others, the mask goes.
            .or_else(|| self.alloc_anew(None, gfp))?;
        self.hand_out(object, caller);
        memory::object_ptr(object)
    }

    /// An object of `node`'s memory; where that has none and `gfp` lacks
    /// `__GFP_THISNODE`, of another's. Marked and checked, not filled.
    #[cold]
    #[inline(never)]
    pub(super) fn alloc_object_node(
        &'static self,
        gfp: Gfp,
        node: NodeId,
        caller: &'static Location<'static>,
    ) -> Option<VirtAddr> {
        might_alloc(gfp);
        if failslab::should_fail(self, gfp) {
            return None;
        }
        let here = |irq: &IrqMasked| {
            // What this CPU has at hand serves if it lies there.
            let main = &self.cpus().get(irq).main;
            match main.top() {
                Some(object) if home_of(object) == node => main.pop(),
                _ => self.node(node).lock(irq).take_one(self),
            }
        };
        let object = with_masked(here).or_else(|| self.alloc_anew(Some(node), gfp))?;
        self.hand_out(object, caller);
        Some(object)
    }

    /// Checks and marks what leaves for a user.
    fn hand_out(&self, object: VirtAddr, caller: &'static Location<'static>) {
        if self.flags().intersects(SlabFlags::DEBUG) {
            debug::check_allocated(self, object, caller);
        }
        if cfg!(debug_assertions) || self.flags().contains(SlabFlags::CONSISTENCY_CHECKS) {
            mark::allocated(self, object);
        }
    }

    /// An object from what the cache has here: this CPU's sheaves, the barn, partial slabs.
    fn alloc_from_node(&'static self, irq: &IrqMasked, gfp: Gfp) -> Option<VirtAddr> {
        let here = self.node(local(irq));
        if !self.has_sheaves() {
            return here.lock(irq).take_one(self);
        }
        let cpu = self.cpus().get(irq);
        if let Some(object) = cpu.main.pop() {
            return Some(object);
        }
        if cpu.spare.top().is_some() {
            cpu.main.swap(&cpu.spare);
            return cpu.main.pop();
        }
        self.ensure_sheaf(&cpu.main, gfp);
        let mut node = here.lock(irq);
        if cpu.main.capacity() == 0 {
            return node.take_one(self);
        }
        if !node.barn.swap_empty(&cpu.main) {
            node.refill(self, &cpu.main);
        }
        cpu.main.pop()
    }

    /// An object from a new slab; where there is no memory for one, from another node's
    /// partial slabs. With `node` and `__GFP_THISNODE`, from there alone.
    #[cold]
    #[inline(never)]
    fn alloc_anew(&'static self, node: Option<NodeId>, gfp: Gfp) -> Option<VirtAddr> {
        match Slab::allocate(self, node, gfp) {
            Some(slab) => with_masked(|irq| self.alloc_from_new(irq, slab)),
            None if node.is_some() && gfp.contains(Gfp::__GFP_THISNODE) => None,
            None => with_masked(|irq| {
                self.nodes().iter().find_map(|node| node.lock(irq).take_one(self))
            }),
        }
    }

    /// An object from a new slab, which goes to its node; main is filled too if that is
    /// this CPU's.
    fn alloc_from_new(&'static self, irq: &IrqMasked, slab: Slab) -> Option<VirtAddr> {
        let mut open = slab.open(self);
        let object = open.take();
        open.close();
        let home = slab.node();
        let mut node = self.node(home).lock(irq);
        node.add(self, slab);
        if home == local(irq) && self.has_sheaves() {
            node.refill(self, &self.cpus().get(irq).main);
        }
        object
    }

    #[cold]
    #[inline(never)]
    pub(super) fn free_slow(&'static self, object: VirtAddr, caller: &'static Location<'static>) {
        if !cfg!(debug_assertions) && self.flags().contains(SlabFlags::CONSISTENCY_CHECKS) {
            mark::freed(self, object, caller);
        }
        if self.flags().intersects(SlabFlags::DEBUG) {
            debug::check_freed(self, object, caller);
        }
        let mut discard = SlabList::new();
        with_masked(|irq| self.free_to_node(irq, object, caller, &mut discard));
        release_all(discard);
    }

    fn free_to_node(
        &'static self,
        irq: &IrqMasked,
        object: VirtAddr,
        caller: &'static Location<'static>,
        discard: &mut SlabList,
    ) {
        let put = |discard: &mut SlabList| {
            self.node(home_of(object)).lock(irq).put(self, object, caller, discard);
        };
        if !self.has_sheaves() {
            return put(discard);
        }
        let cpu = self.cpus().get(irq);
        if cpu.main.top() == Some(object) {
            super::report::double_free(self, object, caller);
        }
        if cpu.main.push(object) {
            return;
        }
        self.ensure_sheaf(&cpu.spare, Gfp::GFP_NOWAIT);
        if cpu.spare.capacity() == 0 {
            return put(discard);
        }
        if cpu.spare.room() == 0 {
            self.empty_spare(irq, cpu, caller, discard);
        }
        cpu.main.swap(&cpu.spare);
        assert!(cpu.main.push(object));
    }

    /// Leaves an empty sheaf in `spare`, which is full: the barn's for it, or it is
    /// put back into slabs.
    fn empty_spare(
        &'static self,
        irq: &IrqMasked,
        cpu: &CpuSheaves,
        caller: &'static Location<'static>,
        discard: &mut SlabList,
    ) {
        let here = local(irq);
        if nr_nodes() > 1
            && cpu.spare.iter(self.sheaf_capacity()).any(|object| home_of(object) != here)
        {
            return self.flush(irq, &cpu.spare, caller, discard);
        }
        let mut node = self.node(here).lock(irq);
        let mut surplus = None;
        let mut swapped = node.barn.swap_full(&cpu.spare);
        if !swapped && node.barn.has_room() {
            drop(node);
            let sheaf = OwnedSheaf::allocate(self, Gfp::GFP_NOWAIT);
            node = self.node(here).lock(irq);
            if let Some(sheaf) = sheaf {
                surplus = node.barn.put_empty(sheaf).err();
                swapped = node.barn.swap_full(&cpu.spare);
            }
        }
        drop(node);
        if !swapped {
            self.flush(irq, &cpu.spare, caller, discard);
        }
        if let Some(sheaf) = surplus {
            sheaf.release();
        }
    }

    /// Puts all of `sheaf` back into slabs, one lock hold for each node that has some.
    fn flush(
        &'static self,
        irq: &IrqMasked,
        sheaf: &SheafSlot,
        caller: &'static Location<'static>,
        discard: &mut SlabList,
    ) {
        for id in NodeId::all() {
            let count = sheaf.count();
            if count == 0 {
                return;
            }
            let home = if nr_nodes() == 1 { count } else { sheaf.gather(|o| home_of(o) == id) };
            if home > 0 {
                self.node(id).lock(irq).flush(self, sheaf, count - home, caller, discard);
            }
        }
    }

    /// Gives a CPU's slot a sheaf if it has none and memory allows it.
    fn ensure_sheaf(&'static self, slot: &SheafSlot, gfp: Gfp) {
        if slot.capacity() == 0
            && let Some(sheaf) = OwnedSheaf::allocate(self, gfp)
        {
            slot.replace(sheaf);
        }
    }

    /// Puts what this CPU and the barns hold back into slabs, and gives all empty
    /// slabs back to the page allocator (Linux: kmem_cache_shrink). What other CPUs
    /// hold in their sheaves stays: each flushes its own.
    #[track_caller]
    pub fn shrink(&'static self) {
        let caller = Location::caller();
        let mut discard = SlabList::new();
        with_masked(|irq| {
            self.flush_cpu(irq, caller, &mut discard);
            self.shrink_nodes(irq, caller, &mut discard);
        });
        release_all(discard);
    }

    /// Puts what this CPU's sheaves hold back into slabs; those with nothing in use that the nodes
    /// don't keep go to `discard`.
    pub(super) fn flush_cpu(
        &'static self,
        irq: &IrqMasked,
        caller: &'static Location<'static>,
        discard: &mut SlabList,
    ) {
        self.flush_sheaves(irq, self.cpus().get(irq), caller, discard);
    }

    /// Like `shrink`, for all CPUs' sheaves, while nobody uses the cache.
    pub(super) fn shrink_all_cpus(&'static self, caller: &'static Location<'static>) {
        let mut discard = SlabList::new();
        with_masked(|irq| {
            for cpu in self.cpus().iter() {
                self.flush_sheaves(irq, cpu, caller, &mut discard);
            }
            self.shrink_nodes(irq, caller, &mut discard);
        });
        release_all(discard);
    }

    fn flush_sheaves(
        &'static self,
        irq: &IrqMasked,
        cpu: &CpuSheaves,
        caller: &'static Location<'static>,
        discard: &mut SlabList,
    ) {
        for slot in [&cpu.main, &cpu.spare] {
            let sheaf = slot.replace(OwnedSheaf::none());
            if sheaf.count() > 0 {
                self.flush(irq, &sheaf, caller, discard);
            }
            sheaf.release();
        }
    }

    fn shrink_nodes(
        &'static self,
        irq: &IrqMasked,
        caller: &'static Location<'static>,
        discard: &mut SlabList,
    ) {
        for node in self.nodes().iter() {
            loop {
                let mut node = node.lock(irq);
                let Some(sheaf) = node.barn.take() else {
                    node.discard_empty(self, discard);
                    break;
                };
                node.flush(self, &sheaf, 0, caller, discard);
                drop(node);
                sheaf.release();
            }
        }
    }
}
