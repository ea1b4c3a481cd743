//! Choice of the CPU where a task waits, and its way there: at wake-ups, when its affinity changes,
//! and when a CPU has nothing to do (Linux: try_to_wake_up, set_cpus_allowed_ptr,
//! kernel/sched/core.c; sched_balance_newidle, kernel/sched/fair.c).
#![deny(unsafe_code)]

use super::rq::{RunQueue, Woken};
use super::schedule::{lock, own, send_kick, task_rq};
use super::select::select_cpu;
use super::task::{Departure, TASK_NORMAL, Task};
use super::task_ref::TaskRef;
use crate::arch::cpumask::{AtomicCpuMask, CpuMask};
use crate::arch::irq::with_masked;
use crate::arch::{CpuId, IrqMasked, cpu};
use crate::machine_local;
use crate::sync::SpinGuard;
use core::sync::atomic::Ordering::Relaxed;

machine_local! {
    /// CPUs that have tasks.
    static UP: AtomicCpuMask = AtomicCpuMask::new(CpuMask::NONE);
    /// CPUs whose idle task runs, and that no task was queued for since.
    static IDLE: AtomicCpuMask = AtomicCpuMask::new(CpuMask::NONE);
    /// CPUs where a task was queued behind another. A bit that is out of date costs an idle CPU a
    /// look.
    static OVERLOADED: AtomicCpuMask = AtomicCpuMask::new(CpuMask::NONE);
}

/// Wakes a task from either kind of sleep. Returns true if it slept. Any context, under any
/// lock of lower rank. A task that has ended is not woken.
pub fn wake_up_process(task: &Task) -> bool {
    with_masked(|irq| wake_up_state(task, TASK_NORMAL, irq))
}

/// Wakes a task that sleeps in one of the states whose bits `states` has (Linux: wake_up_state).
pub(super) fn wake_up_state(task: &Task, states: u8, irq: &IrqMasked) -> bool {
    let mut rq = task_rq(task, irq);
    match rq.wake(task, states) {
        Woken::No => false,
        Woken::GoesOn(timed) => {
            drop(rq);
            drop(timed);
            true
        }
        Woken::Ready(task) => {
            place(task, rq, irq);
            true
        }
    }
}

/// Queues a task that is `Running` and on no list: where it was, or on an idle CPU near that. `rq`
/// is the queue of its CPU.
pub(super) fn place<'a>(task: TaskRef, mut rq: SpinGuard<'a, RunQueue>, irq: &'a IrqMasked) {
    let mut at = task.cpu();
    let mut idle = IDLE.load(Relaxed);
    // One whose stack is still in use stays: its CPU alone knows when that ends.
    while !task.on_cpu() {
        let cpu = select_cpu(at, task.cpus_allowed().and(up()), idle);
        if cpu == at {
            break;
        }
        rq.hand_over(&task, cpu);
        drop(rq);
        rq = lock(cpu, irq);
        rq.take_in();
        // Its affinity may have changed meanwhile: the lock of its CPU holds that. It does not go
        // round for the sake of an idle CPU.
        (at, idle) = (cpu, CpuMask::NONE);
    }
    if !task.may_run_on(at) {
        task.set_departure(Departure::Moves);
    }
    let preempts = rq.enqueue(task);
    let (sleeps, waiting) = (rq.is_idle(), rq.nr_ready());
    drop(rq);
    if sleeps {
        IDLE.clear(at, Relaxed);
    }
    if waiting > usize::from(sleeps) {
        OVERLOADED.set(at, Relaxed);
    }
    // On this CPU the interrupt or the task that wakes comes back to the idle task.
    // A task that is asked to let others run looks at its flags on the way back to EL0.
    if (sleeps || preempts) && at != cpu::id(irq) {
        send_kick(at);
    }
}

/// Takes a task that waits for the busiest CPU, if there is one that this CPU may run. Returns
/// true if it did (Linux: sched_balance_newidle).
pub(super) fn take_from_the_busiest(irq: &IrqMasked) -> bool {
    let this = cpu::id(irq);
    let overloaded = OVERLOADED.load(Relaxed);
    let others = overloaded.iter().filter(|&cpu| cpu != this);
    let waiting = others.map(|cpu| (cpu, lock(cpu, irq).nr_ready()));
    let Some((busiest, _)) = waiting.filter(|&(_, n)| n > 0).max_by_key(|&(_, n)| n) else {
        return false;
    };
    let mut rq = lock(busiest, irq);
    // A CPU that is idle is about to run the first.
    if rq.nr_ready() <= usize::from(rq.is_idle()) {
        return false;
    }
    let Some(task) = rq.take_for(this) else { return false };
    rq.hand_over(&task, this);
    drop(rq);
    let mut rq = own(irq);
    rq.take_in();
    rq.enqueue(task);
    true
}

/// CPUs that have tasks.
fn up() -> CpuMask {
    UP.load(Relaxed)
}

/// Says that a CPU has tasks from now on, or no longer.
pub(super) fn set_up(cpu: CpuId, up: bool) {
    set(&UP, cpu, up);
}

/// Says that a CPU's idle task has nothing to do, or goes on.
pub(super) fn set_idle(cpu: CpuId, idle: bool) {
    set(&IDLE, cpu, idle);
}

fn set(mask: &AtomicCpuMask, cpu: CpuId, on: bool) {
    if on {
        mask.set(cpu, Relaxed);
    } else {
        mask.clear(cpu, Relaxed);
    }
}

/// Says that no task waits for a CPU.
pub(super) fn set_not_overloaded(cpu: CpuId) {
    OVERLOADED.clear(cpu, Relaxed);
}

/// The set of CPUs that a task was to run on holds none that has tasks (Linux: -EINVAL).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoCpuAllowed;

impl core::fmt::Display for NoCpuAllowed {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("none of the CPUs has tasks")
    }
}

impl core::error::Error for NoCpuAllowed {}

/// Has a task run on the CPUs of `allowed` alone. One that runs on another CPU moves when it next
/// calls [`schedule()`](super::schedule()); so does the caller. Any context (Linux: set_cpus_allowed_ptr).
///
/// # Errors
/// None of the CPUs has tasks; nothing has changed.
pub fn set_cpus_allowed(task: &Task, allowed: CpuMask) -> Result<(), NoCpuAllowed> {
    if allowed.and(up()).is_empty() {
        return Err(NoCpuAllowed);
    }
    with_masked(|irq| {
        let mut rq = task_rq(task, irq);
        if let Some(task) = rq.set_cpus_allowed(task, allowed) {
            return place(task, rq, irq);
        }
        let (at, runs) = (task.cpu(), task.on_cpu() && task.has_mm());
        drop(rq);
        // One that is at EL0 has been asked to let others run.
        if runs && at != cpu::id(irq) && !allowed.contains(at) {
            send_kick(at);
        }
    });
    Ok(())
}
