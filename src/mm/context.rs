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
use crate::sched::current;
use crate::sync::{Rank, SpinLock};
use bitflags::bitflags;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

bitflags! {
    /// Flags of a thread (Linux: task_struct.flags).
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

machine_local! {
    /// Number of active scopes of [`mems_allowed_scope`], and the lock of its changes.
    static NR_SCOPES: AtomicU32 = AtomicU32::new(0);
    static SCOPES: SpinLock<u32> = SpinLock::new(Rank::MemsAllowed, 0);
}

/// Gives the current thread its words back when a scope ends, also by a panic.
struct Restore {
    flags: u32,
    mems_allowed: u32,
}

impl Drop for Restore {
    fn drop(&mut self) {
        let thread = current();
        thread.flags().store(self.flags, Relaxed);
        thread.mems_allowed().store(self.mems_allowed, Relaxed);
    }
}

/// Returns the current thread's words, to be restored when the value is dropped.
fn save() -> Restore {
    let thread = current();
    let (flags, nodes) = (thread.flags(), thread.mems_allowed());
    Restore { flags: flags.load(Relaxed), mems_allowed: nodes.load(Relaxed) }
}

/// Runs `f` with `flag` set for the current thread.
fn scope<R>(flag: Context, f: impl FnOnce() -> R) -> R {
    let saved = save();
    current().flags().store(saved.flags | flag.bits(), Relaxed);
    f()
}

fn context() -> Context {
    if is_masked() {
        Context::empty()
    } else {
        Context::from_bits_truncate(current().flags().load(Relaxed))
    }
}

/// Runs `f`, which frees memory: its allocations may use all reserves, unless they have
/// `__GFP_NOMEMALLOC`, and neither reclaim nor compact (Linux: memalloc_noreclaim_save).
/// Threads.
pub fn memalloc_noreclaim_scope<R>(f: impl FnOnce() -> R) -> R {
    scope(Context::MEMALLOC, f)
}

/// Runs `f`, none of whose allocations may start input or output, or call into file systems,
/// whatever their flags say (Linux: memalloc_noio_save). Threads.
pub fn memalloc_noio_scope<R>(f: impl FnOnce() -> R) -> R {
    scope(Context::MEMALLOC_NOIO, f)
}

/// Runs `f`, none of whose allocations may call into file systems, whatever their flags say
/// (Linux: memalloc_nofs_save). Threads.
pub fn memalloc_nofs_scope<R>(f: impl FnOnce() -> R) -> R {
    scope(Context::MEMALLOC_NOFS, f)
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
fn count_scopes(change: impl FnOnce(u32) -> u32) {
    with_masked(|irq| {
        let mut scopes = SCOPES.lock(irq);
        let before = *scopes;
        *scopes = change(before);
        NR_SCOPES.store(*scopes, Relaxed);
        if (before == 0) != (*scopes == 0) {
            page_alloc::set_fast_path(FastPath::MemsAllowed, *scopes == 0);
        }
    });
}

/// Runs `f`, whose allocations with `__GFP_HARDWALL` come from `nodes` only (Linux:
/// mems_allowed of a cpuset with `mem_hardwall`). Meanwhile the fast path, which does not check
/// nodes, is closed on all CPUs. Threads.
pub fn mems_allowed_scope<R>(nodes: &[NodeId], f: impl FnOnce() -> R) -> R {
    struct Scope;
    impl Drop for Scope {
        fn drop(&mut self) {
            count_scopes(|count| count - 1);
        }
    }
    count_scopes(|count| count + 1);
    let _scope = Scope;
    let allowed = nodes.iter().fold(0, |mask, node| mask | 1u32 << node.index());
    let _restore = save();
    current().mems_allowed().store(allowed, Relaxed);
    f()
}

/// Returns whether an allocation with `gfp` may come from `node` (Linux: cpuset_node_allowed).
pub(in crate::mm) fn node_allowed(node: NodeId, gfp: Gfp) -> bool {
    NR_SCOPES.load(Relaxed) == 0
        || !gfp.contains(Gfp::__GFP_HARDWALL)
        || is_masked()
        || current().mems_allowed().load(Relaxed) >> node.index() & 1 != 0
}
