//! Kernel threads on stacks from vmalloc (Linux: kernel/kthread.c, alloc_thread_stack_node of
//! kernel/fork.c). Threads themselves are [`crate::sched`]'s.

use crate::addr::{PAGE_SIZE, VirtAddr, VirtRange};
use crate::arch::CpuId;
use crate::arch::switch::{THREAD_ALIGN, THREAD_SIZE};
use crate::mm::gfp::Gfp;
use crate::mm::vmalloc;
use crate::mm::vmstat::{NodeStat, mod_node_page_state};
use crate::sched::{self, CreateError, KThread, Stack};

const _: () = assert!(THREAD_SIZE.is_multiple_of(PAGE_SIZE));

/// A stack for a thread; `None` where there is no memory. Process context.
fn alloc_thread_stack() -> Option<Stack> {
    let base = vmalloc::vmalloc_aligned(THREAD_SIZE, THREAD_ALIGN, Gfp::GFP_KERNEL)?;
    let range = VirtRange::from_size(base, THREAD_SIZE);
    account_kernel_stack(base, 1);
    // SAFETY: all of a new area, which is nobody else's until it is freed, and that may be
    // done in any context. Each area ends with a page that is never mapped, so below this
    // one there is either such a page or nothing.
    Some(unsafe {
        Stack::new(range, |range| {
            account_kernel_stack(range.start(), -1);
            vmalloc::vfree(range.start());
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

/// Creates a thread on `cpu` that runs `f` when it is woken, and ends with what `f`
/// returns. It is called `name`, cut to 15 bytes. Process context.
///
/// # Errors
/// `NoMemory` for its stack, `TooMany`, `NoCpu`.
pub fn kthread_create_on_cpu<F>(name: &str, cpu: CpuId, f: F) -> Result<KThread, CreateError>
where
    F: FnOnce() -> i32 + Send + 'static,
{
    let stack = alloc_thread_stack().ok_or(CreateError::NoMemory)?;
    sched::kthread_create_on_cpu(name, cpu, stack, f)
}

/// Creates a thread on the CPU with the fewest, and wakes it. Process context.
///
/// # Errors
/// As for [`kthread_create_on_cpu`].
pub fn kthread_run<F>(name: &str, f: F) -> Result<KThread, CreateError>
where
    F: FnOnce() -> i32 + Send + 'static,
{
    let thread = kthread_create_on_cpu(name, sched::least_loaded_cpu(), f)?;
    thread.wake_up();
    Ok(thread)
}
