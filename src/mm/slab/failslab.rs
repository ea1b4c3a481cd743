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
use crate::machine_local;
use crate::mm::gfp::Gfp;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

/// Which allocations fail.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FailSlab {
    /// Only each `interval`th may fail; 1 for each.
    pub interval: u32,
    /// So many of a hundred of those do.
    pub probability: u32,
    /// So many pass first (Linux counts bytes here: `space`).
    pub space: u32,
    /// After so many failures all pass.
    pub times: u32,
}

impl FailSlab {
    /// Reads `interval,probability,space,times`, as `failslab=` has it on the command
    /// line; -1 times is without end.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(',');
        let mut number = || words.next()?.parse::<u32>().ok();
        let interval = number().filter(|&interval| interval > 0)?;
        let probability = number().filter(|&probability| probability <= 100)?;
        let space = number()?;
        let times = match words.next()? {
            "-1" => u32::MAX,
            word => word.parse().ok()?,
        };
        words.next().is_none().then_some(Self { interval, probability, space, times })
    }
}

machine_local! {
    static ON: AtomicBool = AtomicBool::new(false);
    static CACHE_FILTER: AtomicBool = AtomicBool::new(false);
    static INTERVAL: AtomicU32 = AtomicU32::new(1);
    static PROBABILITY: AtomicU32 = AtomicU32::new(100);
    static SPACE: AtomicU32 = AtomicU32::new(0);
    static TIMES: AtomicU32 = AtomicU32::new(0);
    static SEEN: AtomicU32 = AtomicU32::new(0);
    static FAILED: AtomicU32 = AtomicU32::new(0);
}

/// Lets slab allocations fail as `which` says, or none; returns how many failed since the
/// last call. Allocations with `__GFP_NOFAIL` never do, nor blocks of pages (those are
/// `granule.fail_page_alloc`'s), nor sheaves, for want of which nobody fails. Counts start
/// anew, and the same call makes the same allocations fail.
pub fn set_failslab(which: Option<FailSlab>) -> u32 {
    if let Some(which) = which {
        INTERVAL.store(which.interval.max(1), Relaxed);
        PROBABILITY.store(which.probability, Relaxed);
        SPACE.store(which.space, Relaxed);
        TIMES.store(which.times, Relaxed);
    }
    SEEN.store(0, Relaxed);
    ON.store(which.is_some(), Relaxed);
    if which.is_some() {
        caches::shrink_all();
    }
    FAILED.swap(0, Relaxed)
}

/// Whether only allocations from caches with [`SlabFlags::FAILSLAB`] may fail, and count
/// (Linux: cache-filter of debugfs).
pub fn set_failslab_cache_filter(on: bool) {
    CACHE_FILTER.store(on, Relaxed);
}

/// Whether allocations may fail on purpose.
pub(super) fn is_on() -> bool {
    ON.load(Relaxed)
}

/// Whether this allocation from `cache` is to fail.
pub(super) fn should_fail(cache: &RawCache, gfp: Gfp) -> bool {
    is_on() && !core::ptr::eq(cache, caches::sheaf_cache()) && is_chosen(cache) && decide(gfp)
}

fn is_chosen(cache: &RawCache) -> bool {
    !CACHE_FILTER.load(Relaxed) || cache.flags().contains(SlabFlags::FAILSLAB)
}

#[cold]
fn decide(gfp: Gfp) -> bool {
    if gfp.contains(Gfp::__GFP_NOFAIL) {
        return false;
    }
    let seen = SEEN.fetch_add(1, Relaxed);
    let Some(n) = seen.checked_sub(SPACE.load(Relaxed)) else { return false };
    let draw = super::freelist::mix(u64::from(n) + 1) % 100;
    let due = (n + 1).is_multiple_of(INTERVAL.load(Relaxed))
        && draw < u64::from(PROBABILITY.load(Relaxed));
    let take = |failed: u32| (failed < TIMES.load(Relaxed)).then(|| failed + 1);
    due && FAILED.fetch_update(Relaxed, Relaxed, take).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_says_which_fail() {
        let parsed =
            |text| FailSlab::parse(text).map(|f| (f.interval, f.probability, f.space, f.times));
        assert_eq!(parsed("3,100,0,5"), Some((3, 100, 0, 5)));
        assert_eq!(parsed("1,10,7,-1"), Some((1, 10, 7, u32::MAX)));
        for bad in ["", "0,100,0,1", "1,101,0,1", "1,1,1", "1,1,1,1,1", "1,1,-1,1", "x,1,1,1"] {
            assert_eq!(parsed(bad), None, "{bad:?}");
        }
    }
}
