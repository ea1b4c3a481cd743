//! Stacks of threads: from vmalloc, each with a page below that is never mapped (Linux:
//! alloc_thread_stack_node, kernel/fork.c).
//!
//! A CPU keeps two stacks of threads that have ended, mapped as they are, for
//! the next ones. Reclaim takes them when memory is short.

use crate::addr::{PAGE_SIZE, VirtAddr, VirtRange};
use crate::arch::irq::with_masked;
use crate::arch::switch::{THREAD_ALIGN, THREAD_SIZE};
use crate::mm::gfp::Gfp;
use crate::mm::shrinker::{Shrinker, register_shrinker};
use crate::mm::vmalloc;
use crate::mm::vmstat::{NodeStat, mod_node_page_state};
use crate::per_cpu;
use crate::sched::Stack;
use core::sync::atomic::{AtomicUsize, Ordering};

const _: () = assert!(THREAD_SIZE.is_multiple_of(PAGE_SIZE));

/// Stacks that a CPU keeps (Linux: NR_CACHED_STACKS).
const NR_CACHED_STACKS: usize = 2;

per_cpu! {
    /// First bytes of the stacks that a CPU keeps, 0 for none.
    static CACHED_STACKS: [AtomicUsize; NR_CACHED_STACKS] =
        [const { AtomicUsize::new(0) }; NR_CACHED_STACKS];
}

/// Takes a stack that this CPU keeps.
fn take_cached() -> Option<VirtAddr> {
    let base = with_masked(|irq| {
        let slots = CACHED_STACKS.get(irq).iter();
        slots.map(|slot| slot.swap(0, Ordering::Acquire)).find(|&base| base != 0)
    });
    base.map(VirtAddr::new)
}

/// Lets this CPU keep a stack. Returns false where it has as many as it may.
fn keep(base: VirtAddr) -> bool {
    with_masked(|irq| {
        CACHED_STACKS.get(irq).iter().any(|slot| {
            slot.compare_exchange(0, base.get(), Ordering::Release, Ordering::Relaxed).is_ok()
        })
    })
}

/// Gives up to `most` stacks that CPUs keep back to vmalloc. Returns the number. Any context
/// (Linux: free_vm_stack_cache).
pub fn free_vm_stack_cache(most: usize) -> usize {
    let slots = CACHED_STACKS.iter().flatten();
    let bases = slots.map(|slot| slot.swap(0, Ordering::Acquire)).filter(|&base| base != 0);
    let free = |base| {
        // SAFETY: an area of `alloc_thread_stack`, and nobody has it but the slot that it was
        // taken from.
        unsafe { vmalloc::vfree(VirtAddr::new(base)) };
    };
    bases.take(most).map(free).count()
}

/// Stacks that CPUs keep.
struct CachedStacks;

impl Shrinker for CachedStacks {
    fn name(&self) -> &'static str {
        "thread_stack"
    }
    fn count(&self, _: Gfp) -> usize {
        let slots = CACHED_STACKS.iter().flatten();
        slots.filter(|slot| slot.load(Ordering::Relaxed) != 0).count()
    }
    fn scan(&self, _: Gfp, objects: usize) -> usize {
        free_vm_stack_cache(objects)
    }
}

/// Lets reclaim have the stacks that CPUs keep. Boot.
pub(super) fn register() {
    if register_shrinker(&CachedStacks).is_err() {
        log::warn!("stacks that CPUs keep are out of reach of reclaim");
    }
}

/// A stack for a thread; `None` where there is no memory. Process context.
pub(super) fn alloc_thread_stack() -> Option<Stack> {
    let new = || vmalloc::vmalloc_aligned(THREAD_SIZE, THREAD_ALIGN, Gfp::GFP_KERNEL);
    let base = take_cached().or_else(new)?;
    let range = VirtRange::from_size(base, THREAD_SIZE);
    account_kernel_stack(base, 1);
    // SAFETY: all of an area, which is nobody else's until it is freed, and that may be
    // done in any context. Each area ends with a page that is never mapped, so below this
    // one there is either such a page or nothing.
    Some(unsafe {
        Stack::new(range, |range| {
            account_kernel_stack(range.start(), -1);
            if !keep(range.start()) {
                vmalloc::vfree(range.start());
            }
        })
    })
}

/// Counts the stack at `base`, or with -1 no longer, on its first page's node. Any context
/// (Linux: account_kernel_stack).
pub fn account_kernel_stack(base: VirtAddr, sign: isize) {
    if let Some(first) = vmalloc::vmalloc_to_page(base) {
        mod_node_page_state(first, NodeStat::KernelStackKb, sign * (THREAD_SIZE >> 10) as isize);
    }
}
