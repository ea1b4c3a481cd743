//! Creating, ending and joining kernel threads (Linux: kernel/kthread.c, kernel/fork.c).

use super::create_error::CreateError;
use super::pids::{alloc_pid, free_pid};
use super::placement::wake_up_process;
use super::schedule as sched;
use super::task::{Life, Task, Thread};
use super::task_ref::{TaskMemory, TaskRef};
use crate::addr::{VirtAddr, VirtRange};
use crate::arch::cpumask::CpuMask;
use crate::arch::irq::with_masked;
use crate::arch::switch::{THREAD_ALIGN, THREAD_SIZE, prepare};
use crate::arch::{CpuId, irq};
use crate::percpu::possible_cpus;
use core::mem::ManuallyDrop;
use core::ptr::NonNull;
use core::sync::atomic::Ordering::Relaxed;

/// Exit code of a thread that was asked to end before it ran (Linux: -EINTR).
pub const EINTR: i32 = -4;

/// Bytes that a thread's closure may have: it lies at the top of the stack.
const CLOSURE_MAX: usize = 4096;

/// Function that takes the memory of a stack back.
pub type ReleaseStack = fn(VirtRange);

/// A thread's stack. Dropped, it goes back to where it came from.
pub struct Stack {
    range: VirtRange,
    release: ReleaseStack,
}

impl Stack {
    /// # Safety
    /// `range` is `THREAD_SIZE` bytes of memory at a multiple of `THREAD_ALIGN`, mapped
    /// read and write on all CPUs with nothing mapped in the page below. It is used by
    /// nobody else until `release` gets it, which may be called with interrupts masked.
    ///
    /// # Panics
    /// Where size or place is another: a stack's overflow would not be noticed.
    #[must_use]
    pub unsafe fn new(range: VirtRange, release: ReleaseStack) -> Self {
        assert!(range.len() == THREAD_SIZE && range.start().is_aligned(THREAD_ALIGN), "{range:?}");
        Self { range, release }
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        (self.release)(self.range);
    }
}

impl Thread {
    /// Gives the stack back, if there is one that is the task's own.
    pub(super) fn release_stack(&self) {
        let base = self.stack.swap(0, Relaxed);
        if base != 0 {
            (self.release_stack)(VirtRange::from_size(VirtAddr::new(base), THREAD_SIZE));
        }
    }
}

/// A thread that was created. Dropped, the thread goes on, and nobody learns how it ended.
#[derive(Debug)]
pub struct KThread {
    task: TaskRef,
}

/// Creates a task for a CPU's idle loop, which runs on a stack that the CPU has already. It has
/// no pid (Linux: fork_idle).
#[must_use]
pub(crate) fn fork_idle(name: &str, cpu: CpuId, memory: TaskMemory) -> TaskRef {
    let name = super::task::comm(name);
    memory.write(Task::new(&name, cpu, CpuMask::of(cpu), |_| {}, |_| {}))
}

/// Creates a thread that runs `f` when it is woken for the first time, and ends with what `f`
/// returns. It is called `name`, cut to 15 bytes; it may run on the CPUs of `allowed`, and begins
/// on `cpu`. Any context.
///
/// # Errors
/// `NoPid`, `NoCpu`; the memory has gone back then.
pub fn kthread_create<F>(
    name: &str,
    (cpu, allowed): (CpuId, CpuMask),
    memory: TaskMemory,
    stack: Stack,
    f: F,
) -> Result<KThread, CreateError>
where
    F: FnOnce() -> i32 + Send + 'static,
{
    const { assert!(size_of::<F>() <= CLOSURE_MAX && align_of::<F>() <= 64) };
    if with_masked(|irq| sched::lock_if_up(cpu, irq).is_none()) {
        return Err(CreateError::NoCpu);
    }
    let name = super::task::comm(name);
    let task = memory.write(Task::new(&name, cpu, allowed, |_| {}, stack.release));
    // It can be found from here on, and can't be woken before it is the queue's.
    if !alloc_pid(&task) {
        return Err(CreateError::NoPid);
    }
    let stack = ManuallyDrop::new(stack);
    let place = (stack.range.end() - size_of::<F>()).align_down(64);
    let data = core::ptr::with_exposed_provenance_mut::<F>(place.get());
    let f = ManuallyDrop::new(f);
    // SAFETY: the stack is nobody else's (`Stack::new`) and has room for the closure
    // and the registers below it; `run::<F>` gets the closure that is moved there.
    unsafe {
        data.copy_from_nonoverlapping(&raw const *f, 1);
        task.thread.saved.set(prepare(place, run::<F>, data.cast()));
    }
    task.thread.stack.store(stack.range.start().get(), Relaxed);
    with_masked(|irq| sched::lock(cpu, irq).add_new(&task));
    Ok(KThread { task })
}

/// A thread's first function, on its stack, with interrupts masked. `prev` is the task that the
/// CPU ran before.
extern "C" fn run<F: FnOnce() -> i32>(data: *mut (), prev: NonNull<()>) -> ! {
    // SAFETY: the switch to this task hands over the one that was left.
    with_masked(|irq| unsafe { sched::finish_task_switch(prev.cast(), irq) });
    // SAFETY: `kthread_create` has moved a closure there, for this one call.
    let f = unsafe { data.cast::<F>().read() };
    // SAFETY: a new thread holds no borrow of `IrqMasked`: it begins here, and the one that switched
    // to it has its own to come back to. Its stack is all its own.
    unsafe { irq::enable() };
    let code = if sched::should_stop() {
        drop(f);
        EINTR
    } else {
        f()
    };
    sched::exit(code)
}

/// The CPU that is up and has the fewest threads; of several the last, since the first CPU
/// has the boot to do.
#[must_use]
pub fn least_loaded_cpu() -> CpuId {
    let up = |cpu: &CpuId| with_masked(|irq| sched::lock_if_up(*cpu, irq).is_some());
    let cpus = possible_cpus().rev().filter(up);
    cpus.min_by_key(|&cpu| sched::threads(cpu)).unwrap_or(CpuId::BOOT)
}

impl KThread {
    /// Returns the thread's task.
    #[must_use]
    pub fn task(&self) -> &TaskRef {
        &self.task
    }

    /// Wakes the thread, for the first time or again. Returns true if it slept. Any context.
    pub fn wake_up(&self) -> bool {
        wake_up_process(&self.task)
    }

    /// Returns whether it has ended.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.task.life() == Life::Dead
    }

    /// Waits for its end; what it returned. Its stack has gone back then. A thread that was
    /// never woken never ends. Process context.
    #[track_caller]
    pub fn join(self) -> i32 {
        self.task.exited.wait_event(|| self.has_ended());
        self.task.exit_code()
    }

    /// Asks it to end, wakes it, and waits for its end; what it returned, or `EINTR`
    /// if it never ran. Process context.
    ///
    /// Linux: `kthread_stop`.
    #[track_caller]
    pub fn stop(self) -> i32 {
        self.task.ask_to_stop();
        self.wake_up();
        self.join()
    }

    /// Makes it the thread that its CPU runs when no other is ready, in the place of the one that
    /// was. From here on it is a panic if it sleeps or ends. It has no pid any more.
    ///
    /// # Panics
    /// Where it has ended.
    pub fn become_idle(self) {
        drop(free_pid(&self.task));
        with_masked(|irq| sched::task_rq(&self.task, irq).make_idle(self.task.clone()));
    }
}
