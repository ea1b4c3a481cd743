//! Creating, ending and joining threads (Linux: kernel/kthread.c).

use super::rq::Life;
use super::schedule::{self as sched, ENDS, Release};
use super::task::{CreateError, ThreadId};
use crate::addr::VirtRange;
use crate::arch::irq::with_masked;
use crate::arch::switch::{THREAD_ALIGN, THREAD_SIZE, prepare};
use crate::arch::{CpuId, irq};
use crate::percpu::possible_cpus;
use core::mem::ManuallyDrop;
use core::sync::atomic::Ordering::Relaxed;

/// Exit code of a thread that was asked to end before it ran (Linux: -EINTR).
pub const EINTR: i32 = -4;

/// Bytes that a thread's closure may have: it lies at the top of the stack.
const CLOSURE_MAX: usize = 4096;

/// A thread's stack. Dropped, it goes back to where it came from.
pub struct Stack {
    range: VirtRange,
    release: Release,
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
    pub unsafe fn new(range: VirtRange, release: Release) -> Self {
        assert!(range.len() == THREAD_SIZE && range.start().is_aligned(THREAD_ALIGN), "{range:?}");
        Self { range, release }
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        (self.release)(self.range);
    }
}

/// A thread that was created. Dropped, the thread goes on, and nobody learns how it ended.
#[derive(Debug)]
pub struct KThread {
    id: ThreadId,
}

/// Creates a thread that runs `f` on `cpu` when it is woken for the first time, and ends
/// with what `f` returns. It is called `name`, cut to 15 bytes. Any context.
///
/// # Errors
/// `TooMany`, `NoCpu`; the stack has gone back then.
pub fn kthread_create_on_cpu<F>(
    name: &str,
    cpu: CpuId,
    stack: Stack,
    f: F,
) -> Result<KThread, CreateError>
where
    F: FnOnce() -> i32 + Send + 'static,
{
    const { assert!(size_of::<F>() <= CLOSURE_MAX && align_of::<F>() <= 64) };
    let top = stack.range.end();
    let place = (top - size_of::<F>()).align_down(64);
    let data = core::ptr::with_exposed_provenance_mut::<F>(place.get());
    let f = ManuallyDrop::new(f);
    let created = with_masked(|irq| {
        let Some(mut rq) = sched::lock_if_up(cpu, irq) else {
            return Err((CreateError::NoCpu, stack));
        };
        let Some(slot) = rq.queue.create(name) else {
            return Err((CreateError::TooMany, stack));
        };
        // SAFETY: the stack is nobody else's (`Stack::new`) and has room for the closure
        // and the registers below it; `run::<F>` gets the closure that is moved there.
        unsafe {
            data.copy_from_nonoverlapping(&raw const *f, 1);
            rq.start[slot.index()] = Some(prepare(place, run::<F>, data.cast()));
        }
        rq.stacks[slot.index()] = Some(stack);
        Ok(ThreadId { cpu, slot, generation: rq.queue.generation(slot) })
    });
    match created {
        Ok(id) => Ok(KThread { id }),
        Err((why, stack)) => {
            drop(ManuallyDrop::into_inner(f));
            drop(stack);
            Err(why)
        }
    }
}

/// A thread's first function, on its stack, with interrupts masked.
extern "C" fn run<F: FnOnce() -> i32>(data: *mut ()) -> ! {
    with_masked(sched::finish);
    // The thread that had this number before may have left something.
    super::task_flags().store(0, Relaxed);
    // SAFETY: `kthread_create_on_cpu` has moved a closure there, for this one call.
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
    /// Returns the number of the thread.
    #[must_use]
    pub fn id(&self) -> ThreadId {
        self.id
    }

    /// Wakes the thread, for the first time or again. Returns true if it slept. Any context.
    pub fn wake_up(&self) -> bool {
        sched::wake_up_process(self.id)
    }

    /// Returns whether it has ended.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        let id = self.id;
        let life = |irq: &_| sched::lock(id.cpu, irq).queue.life(id.slot, id.generation);
        with_masked(|irq| life(irq) == Some(Life::Dead))
    }

    /// Waits for its end; what it returned. Its stack has gone back then. A thread that was
    /// never woken never ends. Process context.
    pub fn join(self) -> i32 {
        ENDS.wait_event(|| self.has_ended());
        let id = self.id;
        let code =
            with_masked(|irq| sched::lock(id.cpu, irq).queue.collect(id.slot, id.generation));
        code.expect("it has ended, and nobody else may collect it")
    }

    /// Asks it to end, wakes it, and waits for its end; what it returned, or `EINTR`
    /// if it never ran. Process context.
    ///
    /// Linux: `kthread_stop`.
    pub fn stop(self) -> i32 {
        let id = self.id;
        with_masked(|irq| sched::wake(id.cpu, irq, |rq| rq.stop(id.slot, id.generation)));
        self.join()
    }

    /// Makes it the thread that its CPU runs when no other is ready, in the place of the one that
    /// was. From here on it is a panic if it sleeps or ends.
    ///
    /// # Panics
    /// Where it has ended.
    pub fn become_idle(self) {
        let id = self.id;
        with_masked(|irq| sched::lock(id.cpu, irq).queue.make_idle(id.slot));
    }
}

impl Drop for KThread {
    fn drop(&mut self) {
        let id = self.id;
        with_masked(|irq| sched::lock(id.cpu, irq).queue.detach(id.slot, id.generation));
    }
}
