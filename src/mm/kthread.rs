//! Kernel threads whose tasks come from a cache, and their stacks from
//! [`thread_stack`] (Linux: kernel/kthread.c, alloc_task_struct_node of kernel/fork.c).
//! Threads themselves are [`crate::sched`]'s.

use crate::arch::CpuId;
use crate::arch::cpumask::CpuMask;
use crate::mm::gfp::Gfp;
use crate::mm::rcu_gp;
use crate::mm::slab::{self, CacheBox, KmemCache, SlabFlags};
use crate::mm::thread_stack::{self, alloc_thread_stack};
use crate::sched::{self, CreateError, KThread, Task, TaskMemory, TaskRef};
use crate::sync::Once;
use core::mem::MaybeUninit;
use core::ptr::NonNull;

/// Objects for tasks (Linux: task_struct_cachep).
static TASK_STRUCT: Once<KmemCache<MaybeUninit<Task>>> = Once::new();

/// Creates the cache of tasks. Without it, there are no threads but the boot's, and no other CPUs.
/// Boot, once vmalloc is up (Linux: fork_init).
///
/// # Errors
/// As for [`KmemCache::new`].
pub(crate) fn fork_init() -> Result<(), slab::CreateError> {
    let cache = KmemCache::new("task_struct", SlabFlags::HWCACHE_ALIGN)?;
    TASK_STRUCT.call_once(|| cache);
    thread_stack::register();
    rcu_gp::set_start(|| {
        let body = || {
            rcu_gp::rcu_thread();
            0
        };
        sched::has_threads() && kthread_run("rcu_gp", body).is_ok()
    });
    Ok(())
}

/// Memory for a task; `None` where there is none. Process context.
fn alloc_task_struct() -> Option<TaskMemory> {
    let object = TASK_STRUCT.get()?.alloc_with(MaybeUninit::uninit, Gfp::GFP_KERNEL).ok()?;
    let at = CacheBox::into_raw(object);
    let release = |task: NonNull<Task>| {
        if let Some(cache) = TASK_STRUCT.get() {
            // SAFETY: from `into_raw` above, and given back once.
            drop(unsafe { cache.from_raw(task.cast()) });
        }
    };
    // SAFETY: an object that is nobody else's until it is freed, which may be done in any context.
    Some(unsafe { TaskMemory::new(at.cast(), release) })
}

/// Creates the idle task of `cpu`, which runs on a stack of its own already; `None` where there is
/// no memory. Process context (Linux: fork_idle).
pub(crate) fn fork_idle(name: &str, cpu: CpuId) -> Option<TaskRef> {
    Some(sched::fork_idle(name, cpu, alloc_task_struct()?))
}

fn create<F>(name: &str, place: (CpuId, CpuMask), f: F) -> Result<KThread, CreateError>
where
    F: FnOnce() -> i32 + Send + 'static,
{
    let task = alloc_task_struct().ok_or(CreateError::NoMemory)?;
    let stack = alloc_thread_stack().ok_or(CreateError::NoMemory)?;
    sched::kthread_create(name, place, task, stack, f)
}

/// Creates a thread that runs `f` when it is woken, and ends with what `f` returns. It stays on
/// `cpu`. It is called `name`, cut to 15 bytes. Process context.
///
/// # Errors
/// `NoMemory` for it or its stack, `NoPid`, `NoCpu`; nothing is kept then.
pub fn kthread_create_on_cpu<F>(name: &str, cpu: CpuId, f: F) -> Result<KThread, CreateError>
where
    F: FnOnce() -> i32 + Send + 'static,
{
    create(name, (cpu, CpuMask::of(cpu)), f)
}

/// Creates a thread that may run on all CPUs, on the one with the fewest, and wakes it. Process
/// context.
///
/// # Errors
/// As for [`kthread_create_on_cpu`].
pub fn kthread_run<F>(name: &str, f: F) -> Result<KThread, CreateError>
where
    F: FnOnce() -> i32 + Send + 'static,
{
    let thread = create(name, (sched::least_loaded_cpu(), CpuMask::ALL), f)?;
    thread.wake_up();
    Ok(thread)
}
