//! Caches that are alike share their slabs (Linux: slab_unmergeable, find_mergeable,
//! __kmem_cache_alias in mm/slab_common.c).
//!
//! A cache is alike if its objects take as many bytes, it is aligned as well, its slabs lie
//! in the same kind of memory, and nothing is remembered or made of its objects. Linux
//! would also enlarge the objects of the older one; here they are large enough already.

use super::caches::SLAB_CACHES;
use super::flags::{CreateError, SlabFlags};
use super::kmalloc::kmalloc_raw_cache;
use super::kmem_cache::{Constructor, RawCache};
use super::layout::CacheLayout;
use super::memory::{self, StaticLink};
use crate::arch::irq::with_masked;
use crate::machine_local;
use crate::mm::gfp::Gfp;
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// A name under which a cache was created that is another's. Guarded by the lock of the
/// list of caches, as the list of these is.
struct Alias {
    name: &'static str,
    cache: &'static RawCache,
    next: StaticLink<Alias>,
}

machine_local! {
    static ALIASES: StaticLink<Alias> = StaticLink::new();
    static NO_MERGE: AtomicBool = AtomicBool::new(false);
}

/// Lets each cache created from here on have slabs of its own (`slab_nomerge`).
pub fn set_slab_nomerge() {
    NO_MERGE.store(true, Relaxed);
}

/// Returns the cache of [`Alias`]es.
fn alias_cache() -> &'static RawCache {
    kmalloc_raw_cache(size_of::<Alias>())
}

/// A cache that is alike, which has another user from here on.
///
/// # Errors
/// There is one, but no memory for the name.
pub(super) fn find_mergeable(
    name: &'static str,
    layout: &CacheLayout,
    flags: SlabFlags,
    ctor: Option<Constructor>,
) -> Result<Option<&'static RawCache>, CreateError> {
    if NO_MERGE.load(Relaxed) || flags.intersects(SlabFlags::NEVER_MERGE) || ctor.is_some() {
        return Ok(None);
    }
    let Some(cache) = take_alike(layout, flags) else { return Ok(None) };
    let alias = Alias { name, cache, next: StaticLink::new() };
    let Some(alias) = memory::allocate_value(alias_cache(), Gfp::GFP_KERNEL, alias) else {
        with_masked(|irq| {
            let _list = SLAB_CACHES.lock(irq);
            cache.refcount.store(cache.refcount.load(Relaxed) - 1, Relaxed);
        });
        return Err(CreateError::NoMemory);
    };
    with_masked(|irq| {
        let _list = SLAB_CACHES.lock(irq);
        alias.next.set(ALIASES.get());
        ALIASES.set(Some(alias));
    });
    Ok(Some(cache))
}

/// The newest cache that is alike, with one more reference.
fn take_alike(layout: &CacheLayout, flags: SlabFlags) -> Option<&'static RawCache> {
    with_masked(|irq| {
        let list = SLAB_CACHES.lock(irq);
        let cache = list.iter().filter(|cache| is_alike(cache, layout, flags)).last()?;
        cache.refcount.store(cache.refcount.load(Relaxed) + 1, Relaxed);
        Some(cache)
    })
}

fn is_alike(cache: &RawCache, layout: &CacheLayout, flags: SlabFlags) -> bool {
    let other = cache.layout();
    cache.refcount.load(Relaxed) > 0
        && !cache.flags().intersects(SlabFlags::NEVER_MERGE)
        && cache.ctor().is_none()
        && (cache.flags() ^ flags).intersection(SlabFlags::MERGE_SAME).is_empty()
        && other.size == layout.size
        && other.object_size >= layout.object_size
        && other.align.is_multiple_of(layout.align)
}

/// Takes a user off a cache that has another one. Returns false if it has no other.
pub(super) fn drop_alias(cache: &'static RawCache) -> bool {
    let gone = with_masked(|irq| {
        let _list = SLAB_CACHES.lock(irq);
        let count = cache.refcount.load(Relaxed);
        if count <= 1 {
            return None;
        }
        cache.refcount.store(count - 1, Relaxed);
        let is_its = |alias: &Alias| core::ptr::eq(alias.cache, cache);
        let all = || core::iter::successors(ALIASES.get(), |alias| alias.next.get());
        let alias = all().find(|alias| is_its(alias))?;
        match all().find(|before| before.next.get().is_some_and(|a| core::ptr::eq(a, alias))) {
            Some(before) => before.next.set(alias.next.get()),
            None => ALIASES.set(alias.next.get()),
        }
        Some(alias)
    });
    match gone {
        // SAFETY: it came from there, and is on the list no more.
        Some(alias) => unsafe { memory::free_value(alias_cache(), alias) },
        None => return false,
    }
    true
}

/// The names under which merged caches were created, with the name that each goes by
/// (Linux: `slabinfo -a`). The newest first.
pub fn slab_aliases() -> impl Iterator<Item = (&'static str, &'static str)> {
    (0..).map_while(|n| {
        with_masked(|irq| {
            let _list = SLAB_CACHES.lock(irq);
            let mut all = core::iter::successors(ALIASES.get(), |alias| alias.next.get());
            all.nth(n).map(|alias| (alias.name, alias.cache.name()))
        })
    })
}
