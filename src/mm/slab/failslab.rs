//! Failing slab allocations on purpose, to run the error paths of those who allocate
//! (Linux: failslab, mm/failslab.c).
//!
//! Off, it costs nothing. On, no sheaf is filled, so that every allocation comes to the
//! slow path, which asks [`should_fail`]. What other CPUs hold in their sheaves when it is
//! switched on is given out first: at boot there is nothing.
#![deny(unsafe_code)]

use super::caches;
use super::flags::SlabFlags;
use super::kmem_cache::RawCache;
use crate::fault_inject::{Attr, FaultAttr};
use crate::machine_local;
use crate::mm::gfp::Gfp;
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Selection of the allocations that fail; `failslab=` on the command line has its format.
pub type FailSlab = Attr;

machine_local! {
    static FAILSLAB: FaultAttr = FaultAttr::new();
    static CACHE_FILTER: AtomicBool = AtomicBool::new(false);
}

/// Lets slab allocations fail as `which` says, or none; returns how many failed since the
/// last call. Allocations with `__GFP_NOFAIL` never do, nor blocks of pages (those are
/// `granule.fail_page_alloc`'s), nor sheaves, for want of which nobody fails. Counts start
/// anew, and the same call makes the same allocations fail.
pub fn set_failslab(which: Option<FailSlab>) -> u32 {
    let failed = FAILSLAB.set(which);
    if which.is_some() {
        caches::shrink_all();
    }
    failed
}

/// Returns whether only allocations from caches with [`SlabFlags::FAILSLAB`] may fail, and count
/// (Linux: cache-filter of debugfs).
pub fn set_failslab_cache_filter(on: bool) {
    CACHE_FILTER.store(on, Relaxed);
}

/// Returns whether allocations may fail on purpose.
pub(super) fn is_on() -> bool {
    FAILSLAB.is_on()
}

/// Returns whether this allocation from `cache` is to fail.
pub(super) fn should_fail(cache: &RawCache, gfp: Gfp) -> bool {
    is_on()
        && !core::ptr::eq(cache, caches::sheaf_cache())
        && is_chosen(cache)
        && !gfp.contains(Gfp::__GFP_NOFAIL)
        && FAILSLAB.should_fail()
}

fn is_chosen(cache: &RawCache) -> bool {
    !CACHE_FILTER.load(Relaxed) || cache.flags().contains(SlabFlags::FAILSLAB)
}
