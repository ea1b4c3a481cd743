//! A cache of objects of one kind (Linux: struct kmem_cache, mm/slab.h, mm/slub.c).
//!
//! Each CPU has two sheaves, `main` and `spare`. Allocation pops from main and
//! freeing pushes onto it, with interrupts masked and nothing else: no lock, no
//! atomic update. When main runs out or over, it changes places with spare; when
//! both are used up, with a sheaf of the barn; and when there is none, one lock
//! hold refills it from partial slabs, or puts all of it back. Spare is always
//! either full or empty, so a CPU that goes back and forth over the edge of a
//! sheaf does not touch the node.
//!
//! A cache whose sheaf capacity is 0 goes to the node for every object: the cache
//! of the sheaves themselves, and caches with debug flags. So neither costs the
//! fast paths anything.
//!
//! Lock order: the list of caches, a node, the page allocator. No lock is held over
//! a call of the page allocator's or of a constructor.
use super::debug;
use super::flags::SlabFlags;
use super::layout::CacheLayout;
use super::memory::{self, OwnedSheaf, SheafSlot, Slots, StaticLink};
use super::node::{Node, SlabList, release_all};
use super::slab::{Slab, mark};
use crate::addr::VirtAddr;
use crate::arch::irq::with_masked;
use crate::arch::jump_label::static_branch_unlikely;
use crate::arch::{IrqMasked, NR_CPUS};
use crate::mm::debug::{SLAB_ALLOC_HOOKS, SLAB_FREE_HOOKS};
use crate::mm::gfp::{Gfp, might_alloc};
use crate::percpu::PerCpu;
use crate::sync::{Rank, SpinLock};
use core::panic::Location;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Nodes of memory (Linux: MAX_NUMNODES).
pub(super) const MAX_NUMNODES: usize = 1;

/// What runs over each object of a new slab, once. The object's bytes survive
/// being free, so an object is always in the state in which it was freed.
pub type Constructor = fn(NonNull<u8>);

/// The sheaves of one CPU.
pub(super) struct CpuSheaves {
    pub main: SheafSlot,
    pub spare: SheafSlot,
}

impl CpuSheaves {
    const fn new() -> Self {
        Self { main: SheafSlot::new(), spare: SheafSlot::new() }
    }
}

/// A cache of objects of one size. See the module's documentation.
pub struct KmemCache {
    cpu: PerCpu<CpuSheaves>,
    layout: CacheLayout,
    flags: SlabFlags,
    sheaf_capacity: u32,
    key: AtomicU64,
    ctor: Option<Constructor>,
    name: &'static str,
    /// The next of all caches; guarded by the list's lock.
    pub(super) link: StaticLink<KmemCache>,
    nodes: [SpinLock<Node>; MAX_NUMNODES],
}

impl KmemCache {
    /// A cache; `sheaves` says whether CPUs may keep objects of it.
    pub(super) const fn new(
        name: &'static str,
        layout: CacheLayout,
        flags: SlabFlags,
        ctor: Option<Constructor>,
        sheaves: bool,
    ) -> Self {
        let debug = flags.intersects(SlabFlags::DEBUG);
        Self {
            cpu: PerCpu::new([const { CpuSheaves::new() }; NR_CPUS]),
            layout,
            flags,
            sheaf_capacity: if sheaves && !debug { layout.sheaf_capacity() } else { 0 },
            key: AtomicU64::new(0),
            ctor,
            name,
            link: StaticLink::new(),
            nodes: [const { SpinLock::new(Rank::SlabNode, Node::new()) }; MAX_NUMNODES],
        }
    }

    /// What it is called in reports.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Bytes of an object that the user may use (Linux: kmem_cache_size).
    #[must_use]
    pub fn object_size(&self) -> usize {
        self.layout.object_size as usize
    }

    /// The flags that it was created with.
    #[must_use]
    pub fn flags(&self) -> SlabFlags {
        self.flags
    }

    pub(super) fn sheaf_capacity(&self) -> u32 {
        self.sheaf_capacity
    }

    pub(super) fn ctor(&self) -> Option<Constructor> {
        self.ctor
    }

    pub(super) fn layout(&self) -> &CacheLayout {
        &self.layout
    }

    pub(super) fn node(&self) -> &SpinLock<Node> {
        &self.nodes[0]
    }

    pub(super) fn cpus(&self) -> &PerCpu<CpuSheaves> {
        &self.cpu
    }

    /// Sets the key of the free links; before the first slab.
    pub(super) fn set_key(&self, key: u64) {
        self.key.store(key, Relaxed);
    }

    /// The word that stands for `value` in the object at `object`.
    #[inline]
    pub(super) fn encode(&self, object: VirtAddr, value: u64) -> u64 {
        value ^ self.key.load(Relaxed) ^ (object.get() as u64).swap_bytes()
    }

    /// What `encode` was given.
    #[inline]
    pub(super) fn decode(&self, object: VirtAddr, word: u64) -> u64 {
        self.encode(object, word)
    }

    /// The flags for slab pages out of those of an allocation: what it may do to get
    /// memory is the caller's, where that lies is the cache's.
    pub(super) fn page_gfp(&self, gfp: Gfp) -> Gfp {
        const PASS: Gfp = Gfp::__GFP_RECLAIM
            .union(Gfp::__GFP_HIGH)
            .union(Gfp::__GFP_IO)
            .union(Gfp::__GFP_FS)
            .union(Gfp::__GFP_NOWARN)
            .union(Gfp::__GFP_RETRY_MAYFAIL)
            .union(Gfp::__GFP_NOFAIL)
            .union(Gfp::__GFP_NORETRY)
            .union(Gfp::__GFP_MEMALLOC)
            .union(Gfp::__GFP_NOMEMALLOC)
            .union(Gfp::__GFP_HARDWALL)
            .union(Gfp::__GFP_THISNODE)
            .union(Gfp::__GFP_ACCOUNT);
        let mut gfp = gfp & PASS;
        if self.flags.contains(SlabFlags::CACHE_DMA) {
            gfp |= Gfp::__GFP_DMA;
        }
        if self.flags.contains(SlabFlags::CACHE_DMA32) {
            gfp |= Gfp::__GFP_DMA32;
        }
        if self.flags.contains(SlabFlags::RECLAIM_ACCOUNT) {
            gfp |= Gfp::__GFP_RECLAIMABLE;
        }
        gfp
    }

    /// Brings object `index` of a new slab into the state of a free object.
    pub(super) fn prepare(&self, slots: &Slots, index: u16) {
        debug::init_object(self, slots, index);
        if let Some(ctor) = self.ctor
            && let Some(object) = memory::object_ptr(slots.address(index))
        {
            ctor(object);
        }
    }

    /// Allocates an object; with `__GFP_ZERO` filled with zeros. Zone flags have no
    /// say here: where the memory lies is the cache's. Any context that `gfp` is fit
    /// for (Linux: kmem_cache_alloc). `None` where memory is short.
    #[inline]
    #[must_use]
    #[track_caller]
    pub fn alloc(&'static self, gfp: Gfp) -> Option<NonNull<u8>> {
        self.alloc_sized(None, gfp)
    }

    /// As `alloc`, for kmalloc, which was asked for `size` bytes of it.
    #[inline(always)]
    #[track_caller]
    pub(super) fn alloc_sized(&'static self, size: Option<usize>, gfp: Gfp) -> Option<NonNull<u8>> {
        if static_branch_unlikely!(SLAB_ALLOC_HOOKS) {
            return self.alloc_hooked(size, gfp);
        }
        let object = memory::object_ptr(self.alloc_object(gfp)?)?;
        if gfp.contains(Gfp::__GFP_ZERO) {
            // SAFETY: the object was allocated just now.
            unsafe { memory::zero(object, self.object_size()) };
        }
        Some(object)
    }

    /// As `alloc`, filled with zeros (Linux: kmem_cache_zalloc).
    #[inline]
    #[must_use]
    #[track_caller]
    pub fn zalloc(&'static self, gfp: Gfp) -> Option<NonNull<u8>> {
        self.alloc(gfp | Gfp::__GFP_ZERO)
    }

    /// Frees an object of this cache. Any context (Linux: kmem_cache_free).
    ///
    /// # Panics
    /// Where it finds that it is no object of this cache, or is free already; with
    /// debug assertions it always finds that.
    ///
    /// # Safety
    /// `object` came from this cache, and nobody uses it afterwards.
    #[inline]
    #[track_caller]
    pub unsafe fn free(&'static self, object: NonNull<u8>) {
        self.free_object(VirtAddr::from_ptr(object.as_ptr()), Location::caller());
    }

    /// Takes an object.
    #[inline(always)]
    #[track_caller]
    pub(super) fn alloc_object(&'static self, gfp: Gfp) -> Option<VirtAddr> {
        might_alloc(gfp);
        match with_masked(|irq| self.cpu.get(irq).main.get().pop()) {
            Some(object) => {
                if cfg!(debug_assertions) {
                    mark::allocated(self, object);
                }
                Some(object)
            }
            None => self.alloc_slow(gfp),
        }
    }

    /// Takes back an object of this cache.
    #[inline(always)]
    pub(super) fn free_object(&'static self, object: VirtAddr, caller: &'static Location<'static>) {
        if static_branch_unlikely!(SLAB_FREE_HOOKS) && self.free_hooked(object) {
            return;
        }
        if cfg!(debug_assertions) {
            mark::freed(self, object, caller);
        }
        if !with_masked(|irq| self.cpu.get(irq).main.get().push(object)) {
            self.free_slow(object, caller);
        }
    }

    #[cold]
    #[inline(never)]
    fn alloc_slow(&'static self, gfp: Gfp) -> Option<VirtAddr> {
        let mut object = with_masked(|irq| self.alloc_from_node(irq, gfp));
        if object.is_none() {
            // Before the page allocator may sleep or run others, the mask goes.
            let slab = Slab::allocate(self, gfp)?;
            object = with_masked(|irq| self.alloc_from_new(irq, slab));
        }
        let object = object?;
        if self.flags.intersects(SlabFlags::DEBUG) {
            debug::check_allocated(self, object);
        }
        if cfg!(debug_assertions) || self.flags.contains(SlabFlags::CONSISTENCY_CHECKS) {
            mark::allocated(self, object);
        }
        Some(object)
    }

    /// An object from what the cache has: this CPU's sheaves, the barn, partial slabs.
    fn alloc_from_node(&'static self, irq: &IrqMasked, gfp: Gfp) -> Option<VirtAddr> {
        if self.sheaf_capacity == 0 {
            return self.node().lock(irq).take_one(self);
        }
        let cpu = self.cpu.get(irq);
        if let Some(object) = cpu.main.get().pop() {
            return Some(object);
        }
        if cpu.spare.get().count() > 0 {
            cpu.main.swap(&cpu.spare);
            return cpu.main.get().pop();
        }
        self.ensure_sheaf(&cpu.main, gfp);
        let main = cpu.main.get();
        let mut node = self.node().lock(irq);
        if main.capacity() == 0 {
            return node.take_one(self);
        }
        if !node.barn.swap_empty(&cpu.main) {
            node.refill(self, main);
        }
        cpu.main.get().pop()
    }

    /// An object from a new slab, which goes to the node; main is filled too.
    fn alloc_from_new(&'static self, irq: &IrqMasked, slab: Slab) -> Option<VirtAddr> {
        let mut object = None;
        slab.take(self, 1, |o| object = Some(o));
        let main = self.cpu.get(irq).main.get();
        let mut node = self.node().lock(irq);
        node.add(self, slab);
        node.refill(self, main);
        object
    }

    #[cold]
    #[inline(never)]
    fn free_slow(&'static self, object: VirtAddr, caller: &'static Location<'static>) {
        if !cfg!(debug_assertions) && self.flags.contains(SlabFlags::CONSISTENCY_CHECKS) {
            mark::freed(self, object, caller);
        }
        if self.flags.intersects(SlabFlags::DEBUG) {
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
        if self.sheaf_capacity == 0 {
            self.node().lock(irq).put(self, object, caller, discard);
            return;
        }
        let cpu = self.cpu.get(irq);
        if cpu.main.get().top() == Some(object) {
            super::report::double_free(self, object, caller);
        }
        if cpu.main.get().push(object) {
            return;
        }
        self.ensure_sheaf(&cpu.spare, Gfp::GFP_NOWAIT);
        if cpu.spare.get().capacity() == 0 {
            self.node().lock(irq).put(self, object, caller, discard);
            return;
        }
        if cpu.spare.get().room() == 0 {
            self.empty_spare(irq, cpu, caller, discard);
        }
        cpu.main.swap(&cpu.spare);
        assert!(cpu.main.get().push(object));
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
        let mut node = self.node().lock(irq);
        let mut surplus = None;
        let mut swapped = node.barn.swap_full(&cpu.spare);
        if !swapped && node.barn.has_room() {
            drop(node);
            let sheaf = OwnedSheaf::allocate(self, Gfp::GFP_NOWAIT);
            node = self.node().lock(irq);
            if let Some(sheaf) = sheaf {
                surplus = node.barn.put_empty(sheaf).err();
                swapped = node.barn.swap_full(&cpu.spare);
            }
        }
        if !swapped {
            node.flush(self, cpu.spare.get(), caller, discard);
        }
        drop(node);
        if let Some(sheaf) = surplus {
            sheaf.release();
        }
    }

    /// Gives a CPU's slot a sheaf if it has none and memory allows it.
    fn ensure_sheaf(&'static self, slot: &SheafSlot, gfp: Gfp) {
        if slot.get().capacity() == 0
            && let Some(sheaf) = OwnedSheaf::allocate(self, gfp)
        {
            slot.replace(sheaf);
        }
    }

    /// Puts what this CPU and the barn hold back into slabs, and gives all empty
    /// slabs back to the page allocator (Linux: kmem_cache_shrink). What other CPUs
    /// hold in their sheaves stays: each flushes its own.
    #[track_caller]
    pub fn shrink(&'static self) {
        let caller = Location::caller();
        let mut discard = SlabList::new();
        with_masked(|irq| {
            self.flush_sheaves(irq, self.cpu.get(irq), caller, &mut discard);
            self.shrink_node(irq, caller, &mut discard);
        });
        release_all(discard);
    }

    /// As `shrink`, for all CPUs' sheaves, while nobody uses the cache.
    pub(super) fn shrink_all_cpus(&'static self, caller: &'static Location<'static>) {
        let mut discard = SlabList::new();
        with_masked(|irq| {
            for cpu in self.cpu.iter() {
                self.flush_sheaves(irq, cpu, caller, &mut discard);
            }
            self.shrink_node(irq, caller, &mut discard);
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
            self.node().lock(irq).flush(self, &sheaf, caller, discard);
            sheaf.release();
        }
    }

    fn shrink_node(
        &'static self,
        irq: &IrqMasked,
        caller: &'static Location<'static>,
        discard: &mut SlabList,
    ) {
        loop {
            let mut node = self.node().lock(irq);
            let Some(sheaf) = node.barn.take() else {
                node.discard_empty(self, discard);
                return;
            };
            node.flush(self, &sheaf, caller, discard);
            drop(node);
            sheaf.release();
        }
    }
}
