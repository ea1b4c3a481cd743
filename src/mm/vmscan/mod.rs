//! Reclaim: memory that is in use and could be done without is given back (Linux:
//! mm/vmscan.c). All of it is in caches that have a [`Shrinker`](super::shrinker::Shrinker).
//!
//! | file | what it decides |
//! | --- | --- |
//! | `kswapd` | when it runs in the background, and when that ends |
//!
//! An allocation that finds all zones below their low watermark wakes the background threads;
//! one that finds nothing above the min watermark, and may sleep, reclaims itself. Who
//! reclaims is inside [`memalloc_noreclaim_scope`]: what a shrinker allocates may use the
//! reserves, and never comes back here.
//!
//! Shrinkers know no nodes: what is freed for one may lie on another.
//!
//! Lock order: nothing is held. Waking takes `Rank::WaitQueue` and `Rank::RunQueue`.
#![deny(unsafe_code)]

mod kswapd;
#[cfg(test)]
#[expect(unsafe_code, reason = "tests give pages back by their frames")]
mod tests;

pub use kswapd::{is_hopeless, kswapd, wakeup_kswapd};

use crate::machine_local;
use crate::mm::context::memalloc_noreclaim_scope;
use crate::mm::gfp::Gfp;
use crate::mm::mmzone::MAX_NR_ZONES;
use crate::mm::shrinker::{DEF_PRIORITY, Shrunk, shrink_slab};
use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Number of pages that direct reclaim stops at.
pub(in crate::mm) const SWAP_CLUSTER_MAX: u32 = 32;
/// Rounds of reclaim without progress after which it is given up.
pub(in crate::mm) const MAX_RECLAIM_RETRIES: u32 = 16;

/// Counts of reclaim since boot, in objects (Linux: /proc/vmstat).
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct VmscanStat {
    /// Number of wake-ups of kswapd.
    pub kswapd_wake: u64,
    /// Number of kswapd's passes through its node.
    pub pageoutrun: u64,
    /// Number of direct reclaims.
    pub allocstall: u64,
    /// The same by the widest zone that it could use.
    pub allocstall_zone: [u64; MAX_NR_ZONES],
    /// Objects that shrinkers were asked for in the background.
    pub pgscan_kswapd: u64,
    /// Objects that shrinkers were asked for by allocations.
    pub pgscan_direct: u64,
    /// Objects that were freed in the background.
    pub pgsteal_kswapd: u64,
    /// Objects that were freed by allocations.
    pub pgsteal_direct: u64,
}

struct Stat {
    kswapd_wake: AtomicU64,
    pageoutrun: AtomicU64,
    allocstall: [AtomicU64; MAX_NR_ZONES],
    kswapd: Reclaimed,
    direct: Reclaimed,
}

/// Goal of a reclaim, and its result.
struct Reclaimed {
    scanned: AtomicU64,
    freed: AtomicU64,
}

impl Reclaimed {
    const fn new() -> Self {
        Self { scanned: AtomicU64::new(0), freed: AtomicU64::new(0) }
    }
    /// [`shrink_slab`], counted.
    fn shrink(&self, gfp: Gfp, priority: u32) -> Shrunk {
        let shrunk = shrink_slab(gfp, priority);
        self.scanned.fetch_add(shrunk.scanned as u64, Relaxed);
        self.freed.fetch_add(shrunk.freed as u64, Relaxed);
        shrunk
    }
}

machine_local! {
    static STAT: Stat = Stat {
        kswapd_wake: AtomicU64::new(0),
        pageoutrun: AtomicU64::new(0),
        allocstall: [const { AtomicU64::new(0) }; MAX_NR_ZONES],
        kswapd: Reclaimed::new(),
        direct: Reclaimed::new(),
    };
}

/// Returns the counts of reclaim since boot.
#[must_use]
pub fn vmscan_stat() -> VmscanStat {
    let allocstall_zone = core::array::from_fn(|kind| STAT.allocstall[kind].load(Relaxed));
    VmscanStat {
        kswapd_wake: STAT.kswapd_wake.load(Relaxed),
        pageoutrun: STAT.pageoutrun.load(Relaxed),
        allocstall: allocstall_zone.iter().sum(),
        allocstall_zone,
        pgscan_kswapd: STAT.kswapd.scanned.load(Relaxed),
        pgscan_direct: STAT.direct.scanned.load(Relaxed),
        pgsteal_kswapd: STAT.kswapd.freed.load(Relaxed),
        pgsteal_direct: STAT.direct.freed.load(Relaxed),
    }
}

impl fmt::Display for VmscanStat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, figure) in [
            ("kswapd_wake", self.kswapd_wake),
            ("pageoutrun", self.pageoutrun),
            ("allocstall", self.allocstall),
            ("pgscan_kswapd", self.pgscan_kswapd),
            ("pgscan_direct", self.pgscan_direct),
            ("pgsteal_kswapd", self.pgsteal_kswapd),
            ("pgsteal_direct", self.pgsteal_direct),
        ] {
            writeln!(f, "{name} {figure}")?;
        }
        Ok(())
    }
}

/// Reclaims for an allocation with `gfp`, with ever more pressure until enough was freed.
/// Returns the number of objects freed. Threads with interrupts on that may sleep, or the boot
/// (Linux: try_to_free_pages).
pub(in crate::mm) fn try_to_free_pages(gfp: Gfp) -> usize {
    STAT.allocstall[gfp.zone().index()].fetch_add(1, Relaxed);
    let mut freed = 0;
    memalloc_noreclaim_scope(|| {
        for priority in (0..=DEF_PRIORITY).rev() {
            let shrunk = STAT.direct.shrink(gfp, priority);
            freed += shrunk.freed;
            if shrunk.scanned == 0 || freed >= SWAP_CLUSTER_MAX as usize {
                break;
            }
        }
    });
    if freed > 0 {
        kswapd::forget_failures();
    }
    freed
}
