//! Per-thread allocation scopes: PF_MEMALLOC*, mems_allowed (Linux: memalloc_*_save of
//! include/linux/sched/mm.h; mems_allowed of cpusets).
//!
//! A scope lasts while a closure runs. While interrupts are masked, as in handlers, no scope
//! applies: the current thread would be the one that was interrupted.
#![deny(unsafe_code)]

use crate::arch::irq::{is_masked, with_masked};
use crate::machine_local;
use crate::mm::gfp::Gfp;
use crate::mm::mmzone::NodeId;
use crate::mm::page_alloc::{self, FastPath};
use crate::sched::mm_word;
use crate::sync::{Rank, SpinLock};
use bitflags::bitflags;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

bitflags! {
    /// Contents of a thread's context word.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    struct Context: u32 {
        /// The thread frees memory: it may use all reserves, and does not reclaim.
        const MEMALLOC = 1 << 0;
        /// Removes `__GFP_IO` and `__GFP_FS` from the thread's allocations.
        const MEMALLOC_NOIO = 1 << 1;
        /// Removes `__GFP_FS` from the thread's allocations.
        const MEMALLOC_NOFS = 1 << 2;
    }
}

/// First of the bits that each exclude one node.
const WALLED: u32 = 16;

machine_local! {
    /// Scopes of [`mems_allowed_scope`] that hold, and who changes their number.
    static WALLS: AtomicU32 = AtomicU32::new(0);
    static SCOPES: SpinLock<u32> = SpinLock::new(Rank::Walls, 0);
}

/// Puts a thread's word back when a scope ends, by a panic too.
struct Restore(u32);

impl Drop for Restore {
    fn drop(&mut self) {
        mm_word().store(self.0, Relaxed);
    }
}

/// Runs `f` with `change` made to the thread's word.
fn scope<R>(change: impl FnOnce(u32) -> u32, f: impl FnOnce() -> R) -> R {
    let word = mm_word();
    let _restore = Restore(word.load(Relaxed));
    word.store(change(word.load(Relaxed)), Relaxed);
    f()
}

fn context() -> Context {
    if is_masked() {
        Context::empty()
    } else {
        Context::from_bits_truncate(mm_word().load(Relaxed))
    }
}

/// Runs `f`, which frees memory: its allocations may use all reserves, unless they have
/// `__GFP_NOMEMALLOC`, and neither reclaim nor compact (Linux: memalloc_noreclaim_save).
/// Threads.
pub fn memalloc_noreclaim_scope<R>(f: impl FnOnce() -> R) -> R {
    scope(|word| word | Context::MEMALLOC.bits(), f)
}

/// Runs `f`, none of whose allocations may start input or output, or call into file systems,
/// whatever their flags say (Linux: memalloc_noio_save). Threads.
pub fn memalloc_noio_scope<R>(f: impl FnOnce() -> R) -> R {
    scope(|word| word | Context::MEMALLOC_NOIO.bits(), f)
}

/// Runs `f`, none of whose allocations may call into file systems, whatever their flags say
/// (Linux: memalloc_nofs_save). Threads.
pub fn memalloc_nofs_scope<R>(f: impl FnOnce() -> R) -> R {
    scope(|word| word | Context::MEMALLOC_NOFS.bits(), f)
}

/// Returns whether the calling thread is inside a [`memalloc_noreclaim_scope`].
pub(in crate::mm) fn in_memalloc() -> bool {
    context().contains(Context::MEMALLOC)
}

/// Returns `gfp` as the scopes that the caller is in restrict it (Linux: current_gfp_context).
pub(in crate::mm) fn current_gfp_context(gfp: Gfp) -> Gfp {
    let context = context();
    if context.contains(Context::MEMALLOC_NOIO) {
        gfp - (Gfp::__GFP_IO | Gfp::__GFP_FS)
    } else if context.contains(Context::MEMALLOC_NOFS) {
        gfp - Gfp::__GFP_FS
    } else {
        gfp
    }
}

/// Counts a scope that begins or ends; the first closes the fast path, and the last opens it
/// before another can close it again.
fn count_walls(change: impl FnOnce(u32) -> u32) {
    with_masked(|irq| {
        let mut scopes = SCOPES.lock(irq);
        let before = *scopes;
        *scopes = change(before);
        WALLS.store(*scopes, Relaxed);
        if (before == 0) != (*scopes == 0) {
            page_alloc::set_fast_path(FastPath::Walls, *scopes == 0);
        }
    });
}

/// Runs `f`, whose allocations with `__GFP_HARDWALL` come from `nodes` alone (Linux:
/// mems_allowed of a cpuset with `mem_hardwall`). Meanwhile no CPU allocates by the fast
/// path, which knows no nodes. Threads.
pub fn mems_allowed_scope<R>(nodes: &[NodeId], f: impl FnOnce() -> R) -> R {
    struct Wall;
    impl Drop for Wall {
        fn drop(&mut self) {
            count_walls(|count| count - 1);
        }
    }
    count_walls(|count| count + 1);
    let _wall = Wall;
    let bit = |node: NodeId| 1u32 << (WALLED as usize + node.index());
    let walled: u32 =
        NodeId::all().filter(|node| !nodes.contains(node)).map(bit).fold(0, |all, one| all | one);
    scope(|word| word & !(u32::MAX << WALLED) | walled, f)
}

/// Returns whether an allocation with `gfp` may come from `node` (Linux: cpuset_node_allowed).
pub(in crate::mm) fn node_allowed(node: NodeId, gfp: Gfp) -> bool {
    WALLS.load(Relaxed) == 0
        || !gfp.contains(Gfp::__GFP_HARDWALL)
        || is_masked()
        || mm_word().load(Relaxed) >> (WALLED as usize + node.index()) & 1 == 0
}
