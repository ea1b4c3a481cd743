//! Thread and shrinker that free what waits for a grace period (Linux: the workers of kfree_rcu
//! in mm/slab_common.c).
//!
//! Memory that waits is freed by a thread, `rcu_gp`. It is started when it is first of use, by
//! one who may sleep. Until then, and where there is no memory for its stack, what waits is
//! freed by [`rcu_barrier`], and by reclaim, which asks for it
//! as for any cache.
#![deny(unsafe_code)]

use crate::machine_local;
use crate::mm::context::in_memalloc;
use crate::mm::gfp::Gfp;
use crate::mm::shrinker::{Shrinker, register_shrinker};
use crate::sched::may_sleep;
use crate::sched::rcu::{rcu_barrier, rcu_pending};
#[cfg(target_os = "none")]
use crate::sync::Once;
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};

machine_local! {
    static SHRINKER: AtomicBool = AtomicBool::new(false);
    static THREAD: AtomicBool = AtomicBool::new(false);
}

/// Shrinker of the memory that waits for a grace period (Linux: kfree_rcu_shrink_scan).
struct Waiting;

impl Shrinker for Waiting {
    fn name(&self) -> &'static str {
        "rcu"
    }
    fn count(&self, _: Gfp) -> usize {
        rcu_pending() as usize
    }
    /// All of it: it takes one grace period.
    fn scan(&self, _: Gfp, _: usize) -> usize {
        let waiting = rcu_pending();
        if waiting == 0 || !may_sleep() {
            return 0;
        }
        rcu_barrier();
        waiting as usize
    }
}

/// Starts the background thread and the shrinker that free what waits for a grace period. Does
/// nothing after the first call, nor in a context that may not sleep: a later call then does it.
/// Code that first has something to free later calls it; callers elsewhere need not.
pub fn rcu_init() {
    if SHRINKER.load(Relaxed) && THREAD.load(Relaxed) || !may_sleep() || in_memalloc() {
        return;
    }
    if !SHRINKER.swap(true, Relaxed) && register_shrinker(&Waiting).is_err() {
        log::warn!("rcu: no room for a shrinker: reclaim waits for nobody's readers");
    }
    if !THREAD.swap(true, Relaxed) && !start_thread() {
        // Once more, when there are threads and memory.
        THREAD.store(false, Relaxed);
    }
}

#[cfg(target_os = "none")]
static START: Once<fn() -> bool> = Once::new();

/// Says how the thread is started that calls [`rcu_thread`]: the function returns true if it was.
/// Threads take objects of slabs, and slabs call [`rcu_init`]. Boot.
#[cfg(target_os = "none")]
pub(in crate::mm) fn set_start(start: fn() -> bool) {
    START.call_once(|| start);
}

/// The body of the thread that frees what waits for a grace period.
#[cfg(target_os = "none")]
pub(in crate::mm) fn rcu_thread() {
    // What it frees must not wait for it to free.
    crate::mm::context::memalloc_noreclaim_scope(crate::sched::rcu::rcu_thread);
}

#[cfg(target_os = "none")]
fn start_thread() -> bool {
    START.get().is_some_and(|start| start())
}

/// Threads are the host's there.
#[cfg(not(target_os = "none"))]
fn start_thread() -> bool {
    true
}
