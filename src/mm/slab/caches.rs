//! All caches: those that the allocator lives on, and those that were created
//! (Linux: mm/slab_common.c).

use super::flags::{CreateError, DestroyError, SlabFlags};
use super::kmalloc;
use super::kmem_cache::{Constructor, KmemCache};
use super::layout::CacheLayout;
use super::memory::{self, StaticLink};
use super::sheaf::Sheaf;
use crate::addr::VirtAddr;
use crate::arch::irq::with_masked;
use crate::machine_local;
use crate::mm::debug::{self, ObjectType};
use crate::mm::gfp::Gfp;
use crate::sync::{Rank, SpinLock};
use core::panic::Location;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// The caches in the order in which they were made, through their `link`.
struct CacheList {
    first: StaticLink<KmemCache>,
    last: StaticLink<KmemCache>,
}

machine_local! {
    static SLAB_CACHES: SpinLock<CacheList> = SpinLock::new(
        Rank::SlabCaches,
        CacheList { first: StaticLink::new(), last: StaticLink::new() },
    );
    static SHEAVES: KmemCache = boot_cache("slab_sheaf", size_of::<Sheaf>(), align_of::<Sheaf>());
    static KMEM_CACHE: KmemCache =
        boot_cache("kmem_cache", size_of::<KmemCache>(), align_of::<KmemCache>());
    static AVAILABLE: AtomicBool = AtomicBool::new(false);
    static KEY: AtomicU64 = AtomicU64::new(0);
}

const fn boot_cache(name: &'static str, size: usize, align: usize) -> KmemCache {
    match CacheLayout::new(size, align, SlabFlags::HWCACHE_ALIGN, false) {
        // Without sheaves: a sheaf must not need a sheaf.
        Ok(layout) => KmemCache::new(name, layout, SlabFlags::HWCACHE_ALIGN, None, false),
        Err(_) => panic!("no layout for a cache that the allocator lives on"),
    }
}

/// The cache of sheaves.
pub(super) fn sheaf_cache() -> &'static KmemCache {
    &SHEAVES
}

/// Brings the slab allocator up, once, when the page allocator is there (Linux:
/// kmem_cache_init). `seed` is what randomness the boot has; free links are mixed
/// with keys made of it.
pub fn kmem_cache_init(seed: u64) {
    KEY.store(seed, Relaxed);
    register(&KMEM_CACHE);
    register(&SHEAVES);
    kmalloc::caches().for_each(register);
    AVAILABLE.store(true, Relaxed);
}

/// Whether kmalloc and kmem caches can be used.
#[must_use]
pub fn slab_is_available() -> bool {
    AVAILABLE.load(Relaxed)
}

/// Creates a cache of objects of `size` bytes at multiples of `align`. `ctor` runs
/// over each object of a new slab. Process context.
///
/// # Errors
/// Size or alignment out of range; no memory for the cache.
pub fn kmem_cache_create(
    name: &'static str,
    size: usize,
    align: usize,
    flags: SlabFlags,
    ctor: Option<Constructor>,
) -> Result<&'static KmemCache, CreateError> {
    let layout = CacheLayout::new(size, align, flags, ctor.is_some())?;
    let cache = KmemCache::new(name, layout, flags, ctor, true);
    let cache =
        memory::allocate_value(&KMEM_CACHE, Gfp::GFP_KERNEL, cache).ok_or(CreateError::NoMemory)?;
    register(cache);
    debug::debug_object_init(VirtAddr::from_ptr(cache), ObjectType::KmemCache);
    debug::debug_object_activate(VirtAddr::from_ptr(cache), ObjectType::KmemCache);
    Ok(cache)
}

/// Destroys a cache and gives its memory back.
///
/// # Errors
/// `Live` if objects of it are still allocated, `Permanent` for a cache that the
/// allocator itself uses or a kmalloc class: then it stays as it is.
///
/// # Safety
/// No other CPU uses the cache meanwhile, and after success nobody does.
#[track_caller]
pub unsafe fn kmem_cache_destroy(cache: &'static KmemCache) -> Result<(), DestroyError> {
    let permanent = [&*KMEM_CACHE, &*SHEAVES].into_iter().chain(kmalloc::caches());
    if permanent.into_iter().any(|c| core::ptr::eq(c, cache)) {
        return Err(DestroyError::Permanent);
    }
    cache.shrink_all_cpus(Location::caller());
    let live = with_masked(|irq| cache.node().lock(irq).in_use);
    if live > 0 {
        log::error!("kmem_cache_destroy {}: {live} objects are still allocated", cache.name());
        return Err(DestroyError::Live(live));
    }
    unregister(cache);
    debug::debug_object_deactivate(VirtAddr::from_ptr(cache), ObjectType::KmemCache);
    debug::debug_object_free(VirtAddr::from_ptr(cache), ObjectType::KmemCache);
    // SAFETY: it is on the list no more, has no slab that could name it, and the
    // caller answers for all other users.
    unsafe { memory::free_value(&KMEM_CACHE, cache) };
    Ok(())
}

/// Shrinks every cache, as [`KmemCache::shrink`] does on the calling CPU.
pub fn shrink_all() {
    let mut n = 0;
    while let Some(cache) = nth(n) {
        cache.shrink();
        n += 1;
    }
    // The sheaves that the others gave up.
    SHEAVES.shrink();
}

/// The `n`th cache, counted in the order of creation.
pub(super) fn nth(n: usize) -> Option<&'static KmemCache> {
    with_masked(|irq| {
        let list = SLAB_CACHES.lock(irq);
        core::iter::successors(list.first.get(), |cache| cache.link.get()).nth(n)
    })
}

fn register(cache: &'static KmemCache) {
    with_masked(|irq| {
        let list = SLAB_CACHES.lock(irq);
        let key = mix(KEY.load(Relaxed).wrapping_add(core::ptr::from_ref(cache).addr() as u64));
        KEY.store(key, Relaxed);
        cache.set_key(mix(key));
        match list.last.get() {
            Some(last) => last.link.set(Some(cache)),
            None => list.first.set(Some(cache)),
        }
        list.last.set(Some(cache));
    });
}

fn unregister(cache: &'static KmemCache) {
    with_masked(|irq| {
        let list = SLAB_CACHES.lock(irq);
        let is_it = |c: Option<&KmemCache>| c.is_some_and(|c| core::ptr::eq(c, cache));
        // The list begins with permanent caches, so a cache that goes has one before it.
        let before = core::iter::successors(list.first.get(), |c| c.link.get())
            .find(|c| is_it(c.link.get()))
            .expect("a cache that was created is on the list");
        before.link.set(cache.link.get());
        if is_it(list.last.get()) {
            list.last.set(Some(before));
        }
    });
}

/// Spreads every bit of `x` over all (the finaliser of splitmix64).
const fn mix(x: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
