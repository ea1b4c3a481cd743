//! All caches: those that the allocator lives on, and those that were created
//! (Linux: mm/slab_common.c).
//!
//! Who walks over the caches pins the one that he looks at, so that it is not destroyed
//! under him; who destroys one takes it off the list first, and sleeps until no one has it
//! pinned.

use super::flags::{CreateError, DestroyError, SlabFlags};
use super::flush::flush_other_cpus;
use super::freelist::{self, mix};
use super::kmalloc::{self, kfree, kmalloc};
use super::kmem_cache::{Constructor, RawCache};
use super::layout::CacheLayout;
use super::memory::{self, StaticLink};
use super::merge;
use super::nodes::Nodes;
#[cfg(target_os = "none")]
use super::places;
use super::report;
use super::sheaf::Sheaf;
use super::slab_debug::{debug_layout, kmem_cache_flags};
use super::typesafe;
use crate::addr::{Order, VirtAddr};
use crate::arch::irq::with_masked;
use crate::machine_local;
use crate::mm::gfp::Gfp;
use crate::mm::hooks::{self, ObjectType};
use crate::mm::page_alloc::{self, Pages};
use crate::mm::rcu_gp::rcu_init;
use crate::sched::WaitQueue;
use crate::sync::{Rank, SpinLock};
use core::ops::Deref;
use core::panic::Location;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering, Ordering::Relaxed};

/// The caches in the order in which they were made, through their `link`.
pub(super) struct CacheList {
    first: StaticLink<RawCache>,
    last: StaticLink<RawCache>,
}

impl CacheList {
    /// The caches, in the order in which they were made.
    pub fn iter(&self) -> impl Iterator<Item = &'static RawCache> + use<> {
        core::iter::successors(self.first.get(), |cache| cache.link.get())
    }
}

machine_local! {
    pub(super) static SLAB_CACHES: SpinLock<CacheList> = SpinLock::new(
        Rank::SlabCaches,
        CacheList { first: StaticLink::new(), last: StaticLink::new() },
    );
    #[cfg_attr(target_os = "none", unsafe(link_section = ".percpu"))]
    static SHEAVES: RawCache = boot_cache("slab_sheaf", size_of::<Sheaf>(), align_of::<Sheaf>());
    #[cfg_attr(target_os = "none", unsafe(link_section = ".percpu"))]
    static KMEM_CACHE: RawCache =
        boot_cache("kmem_cache", size_of::<RawCache>(), align_of::<RawCache>());
    static AVAILABLE: AtomicBool = AtomicBool::new(false);
    /// True once [`kmem_cache_init`] was called.
    static BEGUN: AtomicBool = AtomicBool::new(false);
    static KEY: AtomicU64 = AtomicU64::new(0);
    static NR_NODES: AtomicU8 = AtomicU8::new(1);
    /// Waiters that want to destroy a cache while others look at it.
    static UNPINNED: WaitQueue = WaitQueue::new();
}

const fn boot_cache(name: &'static str, size: usize, align: usize) -> RawCache {
    match CacheLayout::new(size, align, SlabFlags::HWCACHE_ALIGN, false) {
        // Without sheaves: a sheaf must not need a sheaf.
        // SAFETY: for statics of the section.
        Ok(layout) => unsafe { RawCache::new(name, layout, SlabFlags::HWCACHE_ALIGN, None, false) },
        Err(_) => panic!("no layout for a cache that the allocator lives on"),
    }
}

/// The cache of sheaves.
pub(super) fn sheaf_cache() -> &'static RawCache {
    &SHEAVES
}

/// Nodes up to the last that has memory.
#[inline]
pub(super) fn nr_nodes() -> u8 {
    NR_NODES.load(Relaxed)
}

/// Brings the slab allocator up when the page allocator is there (Linux:
/// kmem_cache_init). `seed` is what randomness the boot has; free links are mixed
/// with keys made of it.
///
/// # Panics
/// Where it was called before: the caches of the image are in use then.
pub fn kmem_cache_init(seed: u64) {
    assert!(
        !BEGUN.swap(true, Ordering::AcqRel),
        "kmem_cache_init: the slab allocator is up already"
    );
    KEY.store(seed, Relaxed);
    freelist::seed(mix(seed));
    let nodes = page_alloc::zones().map(|zone| zone.id.node().index() as u8 + 1).max();
    allocate_nodes(nodes.unwrap_or(1));
    for cache in [&*KMEM_CACHE, &*SHEAVES].into_iter().chain(kmalloc::caches()) {
        debug_from_command_line(cache);
        register(cache);
    }
    kmalloc::caches().for_each(|cache| cache.refcount.store(1, Relaxed));
    AVAILABLE.store(true, Relaxed);
}

/// Gives the caches of the image their shares of all nodes. Without memory for them the slab
/// allocator takes all memory for one node's.
fn allocate_nodes(nodes: u8) {
    let of_one = Nodes::size_further(nodes.into());
    if of_one == 0 {
        return NR_NODES.store(nodes, Relaxed);
    }
    let caches = || [&*KMEM_CACHE, &*SHEAVES].into_iter().chain(kmalloc::caches());
    let all = of_one * caches().count();
    let pages = Order::for_bytes(all).and_then(|order| Pages::alloc(Gfp::GFP_NOWAIT, order));
    let Some(start) = pages.map(|pages| pages.into_raw().virt()) else {
        return log::warn!("SLUB: no {all} bytes for what there is on each of {nodes} nodes");
    };
    NR_NODES.store(nodes, Relaxed);
    for (n, cache) in caches().enumerate() {
        let Some(memory) = memory::object_ptr(start + n * of_one) else { continue };
        // SAFETY: a part of its own of a block that stays allocated, of a cache that is not in use.
        unsafe { cache.nodes().set_further(memory, nodes.into()) }
    }
}

/// Gives a cache of the image the flags that `slab_debug=` has for it.
fn debug_from_command_line(cache: &RawCache) {
    let more = kmem_cache_flags(cache.name());
    if more.is_empty() {
        return;
    }
    let (old, flags) = (cache.layout(), cache.flags() | more);
    match debug_layout(old.object_size as usize, old.align as usize, flags, false) {
        // SAFETY: it is not on the list yet, so nobody has used it; the boot CPU is alone.
        Ok((layout, flags)) => unsafe { cache.set_up(layout, flags) },
        Err(error) => log::warn!("slab_debug: {}: {error}", cache.name()),
    }
}

/// Returns true if kmalloc and kmem caches can be used.
#[must_use]
pub fn slab_is_available() -> bool {
    AVAILABLE.load(Relaxed)
}

/// Creates a cache of objects of `size` bytes at multiples of `align`, or takes another
/// that is alike (see [`SlabFlags::NO_MERGE`]): then it has that one's name. `ctor` runs
/// over each object of a new slab. Process context.
///
/// # Errors
/// Size or alignment out of range; flags that exclude each other; no memory for the cache.
///
/// # Panics
/// Instead of an error, with [`SlabFlags::PANIC`].
pub fn kmem_cache_create(
    name: &'static str,
    size: usize,
    align: usize,
    flags: SlabFlags,
    ctor: Option<Constructor>,
) -> Result<&'static RawCache, CreateError> {
    let created = create(name, size, align, flags, ctor);
    if let Err(error) = created
        && flags.contains(SlabFlags::PANIC)
    {
        panic!("kmem_cache_create: failed to create slab '{name}': {error}");
    }
    created
}

fn create(
    name: &'static str,
    size: usize,
    align: usize,
    flags: SlabFlags,
    ctor: Option<Constructor>,
) -> Result<&'static RawCache, CreateError> {
    let flags = flags - SlabFlags::KMALLOC;
    if flags.contains(SlabFlags::ZERO) && ctor.is_some() {
        return Err(CreateError::Flags);
    }
    let flags = flags | kmem_cache_flags(name);
    let (layout, flags) = debug_layout(size, align, flags, ctor.is_some())?;
    if let Some(alike) = merge::find_mergeable(name, &layout, flags, ctor)? {
        return Ok(alike);
    }
    let nodes = usize::from(nr_nodes());
    let further = match Nodes::size_further(nodes) {
        0 => None,
        size => Some(kmalloc(size, Gfp::GFP_KERNEL).ok_or(CreateError::NoMemory)?),
    };
    // SAFETY: `place` moves it.
    let cache = unsafe { RawCache::new(name, layout, flags, ctor, true) };
    if let Some(further) = further {
        // SAFETY: allocated for this, and freed with the cache.
        unsafe { cache.nodes().set_further(further, nodes) };
    }
    let Some(cache) = place(cache) else {
        // SAFETY: there is no cache that uses it.
        further.inspect(|further| unsafe { kfree(further.as_ptr()) });
        return Err(CreateError::NoMemory);
    };
    cache.refcount.store(1, Relaxed);
    register(cache);
    if flags.contains(SlabFlags::TYPESAFE_BY_RCU) {
        rcu_init();
    }
    hooks::debug_object_init(VirtAddr::from_ptr(cache), ObjectType::KmemCache);
    hooks::debug_object_activate(VirtAddr::from_ptr(cache), ObjectType::KmemCache);
    Ok(cache)
}

/// Moves a new cache to where it stays. `None` for want of memory.
#[cfg(target_os = "none")]
fn place(cache: RawCache) -> Option<&'static RawCache> {
    let place = places::take()?;
    // SAFETY: the place is this cache's, in all units, and nobody uses it yet.
    unsafe {
        place.write(cache);
        let cache = place.as_ref();
        cache.cpus().spread();
        Some(cache)
    }
}

#[cfg(not(target_os = "none"))]
fn place(cache: RawCache) -> Option<&'static RawCache> {
    memory::allocate_value(&KMEM_CACHE, Gfp::GFP_KERNEL, cache)
}

/// Frees what [`place`] made.
///
/// # Safety
/// It came from there, and no reference to it is used again.
unsafe fn displace(cache: *const RawCache) {
    #[cfg(target_os = "none")]
    // SAFETY: as the caller says.
    unsafe {
        places::give_back(VirtAddr::from_ptr(cache));
    }
    #[cfg(not(target_os = "none"))]
    // SAFETY: as the caller says.
    unsafe {
        memory::free_value(&KMEM_CACHE, cache);
    }
}

/// Destroys a cache and gives its memory back; of one that is merged, one of its names.
/// What is still allocated is reported. Process context; with
/// [`SlabFlags::TYPESAFE_BY_RCU`] it waits for a grace period.
///
/// # Errors
/// `Live` if objects of it are still allocated, `Permanent` for a cache that the
/// allocator itself uses or a kmalloc class: then it stays as it is.
///
/// # Safety
/// It is a cache; no other CPU uses it meanwhile, and after success nobody does who has it
/// from the same call of [`kmem_cache_create`].
#[track_caller]
pub unsafe fn kmem_cache_destroy(cache: *const RawCache) -> Result<(), DestroyError> {
    // SAFETY: a cache, as the caller says. A reference as the argument would have to stay
    // valid until this returns.
    let cache: &'static RawCache = unsafe { &*cache };
    let permanent = [&*KMEM_CACHE, &*SHEAVES].into_iter().chain(kmalloc::caches());
    let is_permanent = permanent.into_iter().any(|c| core::ptr::eq(c, cache));
    if merge::drop_alias(cache) {
        return Ok(());
    }
    if is_permanent {
        return Err(DestroyError::Permanent);
    }
    unregister(cache);
    UNPINNED.wait_event(|| cache.pins.load(Ordering::Acquire) == 0);
    cache.shrink_all_cpus(Location::caller());
    let live: usize =
        with_masked(|irq| cache.nodes().iter().map(|node| node.lock(irq).in_use).sum());
    // What KFENCE has had of it keeps the name of a cache that stays.
    let guarded =
        hooks::kfence_shutdown_cache(memory::to_owner(cache), memory::to_owner(&KMEM_CACHE));
    let live = live + guarded;
    if live > 0 {
        report_live(cache, live);
        put_on_list(cache);
        return Err(DestroyError::Live(live));
    }
    if cache.flags().contains(SlabFlags::TYPESAFE_BY_RCU) {
        typesafe::flush();
    }
    hooks::debug_object_deactivate(VirtAddr::from_ptr(cache), ObjectType::KmemCache);
    hooks::debug_object_free(VirtAddr::from_ptr(cache), ObjectType::KmemCache);
    let further = cache.nodes().memory_further();
    // SAFETY: it is on the list no more, has no slab that could name it, and the
    // caller answers for all other users.
    unsafe { displace(cache) };
    // SAFETY: allocated with the cache, which is gone.
    further.inspect(|further| unsafe { kfree(further.as_ptr()) });
    Ok(())
}

/// Objects that a report names.
const NAMED: usize = 8;

/// Says of a cache that is to go what of it is still in use.
fn report_live(cache: &'static RawCache, live: usize) {
    let name = cache.name();
    log::error!("BUG {name}: Objects remaining on __kmem_cache_shutdown()");
    log::error!("kmem_cache_destroy {name}: {live} objects are still allocated");
    with_masked(|irq| {
        let mut left = NAMED;
        for node in cache.nodes().iter() {
            let node = node.lock(irq);
            for slab in node.partial.iter().chain(node.full.iter()) {
                left -= report::live_objects(cache, slab, left);
            }
        }
    });
}

/// Shrinks every cache, as [`RawCache::shrink`] does, with the sheaves of all CPUs that can be
/// interrupted. Process context; with interrupts masked those of the calling CPU alone.
pub fn shrink_all() {
    flush_other_cpus();
    pinned().for_each(|cache| cache.shrink());
    // The sheaves that the others gave up.
    SHEAVES.shrink();
}

/// A cache that is not destroyed while this lives.
pub(super) struct Pinned(&'static RawCache);

impl Deref for Pinned {
    type Target = &'static RawCache;
    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // The cache may be gone as soon as this is stored.
        if self.0.pins.fetch_sub(1, Ordering::Release) == 1 {
            UNPINNED.wake_up();
        }
    }
}

/// All caches, in the order of creation; where one goes meanwhile, another may be left out.
pub(super) fn pinned() -> impl Iterator<Item = Pinned> {
    (0..).map_while(|n| {
        with_masked(|irq| {
            let cache = SLAB_CACHES.lock(irq).iter().nth(n)?;
            cache.pins.fetch_add(1, Relaxed);
            Some(Pinned(cache))
        })
    })
}

fn register(cache: &'static RawCache) {
    let step = core::ptr::from_ref(cache).addr() as u64;
    let key = KEY.fetch_update(Relaxed, Relaxed, |key| Some(mix(key.wrapping_add(step))));
    cache.set_key(mix(key.unwrap_or_default().wrapping_add(mix(step))));
    put_on_list(cache);
}

fn put_on_list(cache: &'static RawCache) {
    with_masked(|irq| {
        let list = SLAB_CACHES.lock(irq);
        cache.link.set(None);
        match list.last.get() {
            Some(last) => last.link.set(Some(cache)),
            None => list.first.set(Some(cache)),
        }
        list.last.set(Some(cache));
    });
}

fn unregister(cache: &'static RawCache) {
    with_masked(|irq| {
        let list = SLAB_CACHES.lock(irq);
        let is_it = |c: Option<&RawCache>| c.is_some_and(|c| core::ptr::eq(c, cache));
        // The list begins with permanent caches, so a cache that goes has one before it.
        let before = list
            .iter()
            .find(|c| is_it(c.link.get()))
            .expect("a cache that was created is on the list");
        before.link.set(cache.link.get());
        if is_it(list.last.get()) {
            list.last.set(Some(before));
        }
    });
}
