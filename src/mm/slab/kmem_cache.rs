//! A cache of objects of one kind, by their size alone (Linux: struct kmem_cache,
//! mm/slab.h, mm/slub.c).
//!
//! Each CPU has two sheaves, `main` and `spare`. Allocation pops from main and
//! freeing pushes onto it, with interrupts masked and nothing else: no lock, no
//! atomic update. When main runs out or over, the slow paths (`slow`) take it from there.
//!
//! A cache whose sheaf capacity is 0 goes to the node for every object: the cache
//! of the sheaves themselves, and caches with debug flags. So neither costs the
//! fast paths anything.
//!
//! Lock order: the list of caches, a node, the page allocator. No lock is held over
//! a call of the page allocator's or of a constructor.
use super::debug;
use super::flags::SlabFlags;
use super::hooks::Freed;
use super::layout::CacheLayout;
use super::memory::{self, EarlyCell, Slots, StaticLink};
use super::node::Node;
use super::nodes::Nodes;
use super::sheaf::SheafSlot;
use super::slab::{Slab, mark};
use crate::addr::VirtAddr;
use crate::arch::irq::with_masked;
use crate::arch::jump_label::static_branch_unlikely;
use crate::machine_local;
use crate::mm::gfp::{Gfp, might_alloc};
use crate::mm::hooks::{SLAB_ALLOC_HOOKS, SLAB_FREE_HOOKS};
use crate::mm::mmzone::NodeId;
use crate::percpu::PerCpu;
use crate::sync::SpinLock;
use core::panic::Location;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};

/// Function that is called once for each object of a new slab. The object's bytes survive being
/// free, so an allocated object is in the state in which it was freed.
pub type Constructor = fn(NonNull<u8>);

machine_local! {
    /// True once zeros were asked of a cache with a constructor, and that was warned of.
    static WARNED_OF_CONSTRUCTOR: AtomicBool = AtomicBool::new(false);
}

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

/// Properties that the boot may still change about a cache that nobody has used yet.
pub(super) struct Setup {
    layout: CacheLayout,
    flags: SlabFlags,
    sheaf_capacity: u32,
}

impl Setup {
    /// Creates the properties of a cache for objects of `layout`; `sheaves` says whether CPUs
    /// may keep objects.
    pub const fn new(layout: CacheLayout, flags: SlabFlags, sheaves: bool) -> Self {
        let sheaves = sheaves && !flags.intersects(SlabFlags::DEBUG);
        Self { layout, flags, sheaf_capacity: if sheaves { layout.sheaf_capacity() } else { 0 } }
    }
}

/// The word that stands for `link` in the object at `object`, of a cache with this key; and
/// the other way round.
#[inline(always)]
pub(super) fn mix_link(key: u64, object: VirtAddr, link: u64) -> u64 {
    link ^ key ^ (object.get() as u64).swap_bytes()
}

/// A cache of objects of one size, which hands out bytes. See the module's
/// documentation, and [`KmemCache`](super::KmemCache) for one that hands out values.
#[repr(C)]
pub struct RawCache {
    // First, so that a CPU's sheaves take no offset.
    cpu: PerCpu<CpuSheaves>,
    setup: EarlyCell<Setup>,
    key: AtomicU64,
    ctor: Option<Constructor>,
    name: &'static str,
    /// The next of all caches; guarded by the list's lock.
    pub(super) link: StaticLink<RawCache>,
    /// Number of times that it was created, above 1 if other caches are merged with it; 0 for
    /// the allocator's own caches. Guarded by the list's lock.
    pub(super) refcount: AtomicU32,
    /// Number of users that found it on the list and look at it.
    pub(super) pins: AtomicU32,
    nodes: Nodes,
}

impl RawCache {
    /// A cache; `sheaves` says whether CPUs may keep objects of it.
    ///
    /// # Safety
    /// It is a static in the section `.percpu`, or is moved to per-CPU memory and spread there
    /// before it is used (`caches::place`). On the hosted machine it may lie anywhere.
    pub(super) const unsafe fn new(
        name: &'static str,
        layout: CacheLayout,
        flags: SlabFlags,
        ctor: Option<Constructor>,
        sheaves: bool,
    ) -> Self {
        Self {
            // SAFETY: as the caller says.
            #[cfg(target_os = "none")]
            cpu: unsafe { PerCpu::new(CpuSheaves::new()) },
            #[cfg(not(target_os = "none"))]
            cpu: PerCpu::new([const { CpuSheaves::new() }; crate::arch::NR_CPUS]),
            setup: EarlyCell::new(Setup::new(layout, flags, sheaves)),
            key: AtomicU64::new(0),
            ctor,
            name,
            link: StaticLink::new(),
            refcount: AtomicU32::new(0),
            pins: AtomicU32::new(0),
            nodes: Nodes::new(),
        }
    }

    /// Name in reports.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Bytes of an object that the user may use (Linux: kmem_cache_size).
    #[must_use]
    pub fn object_size(&self) -> usize {
        self.layout().object_size as usize
    }

    /// The flags that it was created with, and those that `slab_debug=` adds.
    #[must_use]
    pub fn flags(&self) -> SlabFlags {
        self.setup.get().flags
    }

    pub(super) fn sheaf_capacity(&self) -> u32 {
        self.setup.get().sheaf_capacity
    }

    pub(super) fn ctor(&self) -> Option<Constructor> {
        self.ctor
    }

    pub(super) fn layout(&self) -> &CacheLayout {
        &self.setup.get().layout
    }

    pub(super) fn node(&self, id: NodeId) -> &SpinLock<Node> {
        self.nodes.get(id)
    }

    pub(super) fn nodes(&self) -> &Nodes {
        &self.nodes
    }

    pub(super) fn cpus(&self) -> &PerCpu<CpuSheaves> {
        &self.cpu
    }

    /// Sets the key of the free links; before the first slab.
    pub(super) fn set_key(&self, key: u64) {
        self.key.store(key, Relaxed);
    }

    /// Replaces layout and flags at boot.
    ///
    /// # Safety
    /// Nobody has used the cache yet, and no other CPU is up.
    pub(super) unsafe fn set_up(&self, layout: CacheLayout, flags: SlabFlags) {
        let sheaves = self.sheaf_capacity() != 0;
        // SAFETY: as the caller says.
        unsafe { self.setup.set(Setup::new(layout, flags, sheaves)) }
    }

    /// The key of the free links.
    pub(super) fn key(&self) -> u64 {
        self.key.load(Relaxed)
    }

    /// The word that stands for `value` in the object at `object`.
    #[inline]
    pub(super) fn encode(&self, object: VirtAddr, value: u64) -> u64 {
        mix_link(self.key(), object, value)
    }

    /// Decodes a word that `encode` returned.
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
            .union(Gfp::__GFP_THISNODE);
        let mut gfp = gfp & PASS;
        let flags = self.flags();
        if flags.contains(SlabFlags::CACHE_DMA) {
            gfp |= Gfp::__GFP_DMA;
        }
        if flags.contains(SlabFlags::CACHE_DMA32) {
            gfp |= Gfp::__GFP_DMA32;
        }
        if flags.contains(SlabFlags::RECLAIM_ACCOUNT) {
            gfp |= Gfp::__GFP_RECLAIMABLE;
        }
        if flags.contains(SlabFlags::ACCOUNT) {
            gfp |= Gfp::__GFP_ACCOUNT;
        }
        gfp
    }

    /// Brings object `index` of a new slab into the state of a free object.
    pub(super) fn prepare(&self, slab: Slab, slots: &Slots, index: u16) {
        debug::prepare_object(self, slab, slots, index);
        if let Some(ctor) = self.ctor
            && let Some(object) = memory::object_ptr(slots.address(index))
        {
            ctor(object);
        }
    }

    /// Allocates an object; with `__GFP_ZERO` filled with zeros, unless the cache has a
    /// constructor: then the object stays as constructed, and the first such request is warned
    /// of. Zone flags are ignored: the cache decides where its memory lies. Any context that
    /// `gfp` allows (Linux: kmem_cache_alloc). `None` if there is no memory.
    #[inline]
    #[must_use]
    #[track_caller]
    pub fn alloc(&'static self, gfp: Gfp) -> Option<NonNull<u8>> {
        if static_branch_unlikely!(SLAB_ALLOC_HOOKS) {
            return self.alloc_hooked(None, gfp);
        }
        might_alloc(gfp);
        // Two arms, so the fast arm skips the slow arm's checks.
        match self.take_at_hand() {
            Some(object) => Some(self.fill_as_asked(object, gfp, Location::caller())),
            None => self.alloc_slow_filled(gfp, Location::caller()),
        }
    }

    #[cold]
    #[inline(never)]
    fn alloc_slow_filled(
        &'static self,
        gfp: Gfp,
        caller: &'static Location<'static>,
    ) -> Option<NonNull<u8>> {
        let object = self.alloc_slow(gfp, caller)?;
        Some(self.fill_as_asked(object, gfp, caller))
    }

    /// Allocates an object for kmalloc, of which `size` bytes were asked for. Otherwise as
    /// `alloc`, for a cache without the flag `ZERO`.
    #[inline(always)]
    #[track_caller]
    pub(super) fn alloc_kmalloc(&'static self, size: usize, gfp: Gfp) -> Option<NonNull<u8>> {
        if static_branch_unlikely!(SLAB_ALLOC_HOOKS) {
            return self.alloc_hooked(Some(size), gfp);
        }
        might_alloc(gfp);
        let Some(object) = self.take_at_hand() else {
            return self.alloc_kmalloc_slow(size, gfp, Location::caller());
        };
        if gfp.contains(Gfp::__GFP_ZERO) {
            // SAFETY: the object was allocated just now.
            unsafe { memory::zero(object, self.object_size()) };
        }
        Some(object)
    }

    #[cold]
    #[inline(never)]
    fn alloc_kmalloc_slow(
        &'static self,
        size: usize,
        gfp: Gfp,
        caller: &'static Location<'static>,
    ) -> Option<NonNull<u8>> {
        let object = self.alloc_slow(gfp, caller)?;
        if gfp.contains(Gfp::__GFP_ZERO) {
            // SAFETY: the object was allocated just now.
            unsafe { memory::zero(object, self.object_size()) };
        }
        debug::set_orig_size(self, VirtAddr::from_ptr(object.as_ptr()), size);
        Some(object)
    }

    /// Fills an object that was allocated just now with zeros, where `gfp` or the cache
    /// says so and no constructor ran over it.
    #[inline(always)]
    pub(super) fn fill_as_asked(
        &self,
        object: NonNull<u8>,
        gfp: Gfp,
        caller: &'static Location<'static>,
    ) -> NonNull<u8> {
        if gfp.contains(Gfp::__GFP_ZERO) {
            if self.ctor.is_some() {
                self.warn_of_constructor(caller);
                return object;
            }
            // SAFETY: the object was allocated just now.
            unsafe { memory::zero(object, self.object_size()) };
        } else if self.flags().contains(SlabFlags::ZERO) {
            return self.zeroed(object);
        }
        object
    }

    /// Says, once, that zeros were asked of a cache whose objects are constructed (Linux:
    /// WARN_ON_ONCE(s->ctor && (flags & __GFP_ZERO)) in new_slab).
    #[cold]
    #[inline(never)]
    pub(super) fn warn_of_constructor(&self, caller: &'static Location<'static>) {
        if !WARNED_OF_CONSTRUCTOR.swap(true, Relaxed) {
            let name = self.name;
            log::warn!(
                "slab {name}: __GFP_ZERO with a constructor: the object stays as that made it, for {caller}"
            );
        }
    }

    /// Out of line, so that it takes no room where no cache is such.
    #[cold]
    #[inline(never)]
    fn zeroed(&self, object: NonNull<u8>) -> NonNull<u8> {
        // SAFETY: the object was allocated just now.
        unsafe { memory::zero(object, self.object_size()) };
        object
    }

    /// Allocates as `alloc` does, filled with zeros (Linux: kmem_cache_zalloc).
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
        self.free_object(VirtAddr::from_ptr(object.as_ptr()), Location::caller(), Freed::ToCache);
    }

    /// Takes an object.
    #[inline(always)]
    #[track_caller]
    pub(super) fn alloc_object(&'static self, gfp: Gfp) -> Option<NonNull<u8>> {
        might_alloc(gfp);
        match self.take_at_hand() {
            Some(object) => Some(object),
            None => self.alloc_slow(gfp, Location::caller()),
        }
    }

    /// Takes an object that this CPU has at hand.
    #[inline(always)]
    fn take_at_hand(&'static self) -> Option<NonNull<u8>> {
        let object = with_masked(|irq| self.cpu.get_fast(irq).main.pop())?;
        if cfg!(debug_assertions) {
            mark::allocated(self, object);
        }
        // SAFETY: a sheaf holds addresses of objects.
        Some(unsafe { memory::object_ptr_unchecked(object) })
    }

    /// Takes back an object of this cache.
    #[inline(always)]
    pub(super) fn free_object(
        &'static self,
        object: VirtAddr,
        caller: &'static Location<'static>,
        by: Freed,
    ) {
        if static_branch_unlikely!(SLAB_FREE_HOOKS) {
            return self.free_hooked(object, caller, by);
        }
        self.put_back(object, caller);
    }

    /// Frees an object after the tools were called.
    #[inline(always)]
    pub(super) fn put_back(&'static self, object: VirtAddr, caller: &'static Location<'static>) {
        if cfg!(debug_assertions) {
            mark::freed(self, object, caller);
        }
        if !with_masked(|irq| self.cpu.get(irq).main.push(object)) {
            self.free_slow(object, caller);
        }
    }
}
