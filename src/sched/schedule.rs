//! Switching tasks (Linux: kernel/sched/core.c, kernel/sched/idle.c).

use super::current::{current, init_task};
use super::might_sleep::{Atomic, might_sleep};
use super::mm;
use super::pids::{alloc_pid, free_pid};
use super::placement::{place, set_idle, set_not_overloaded, set_up, take_from_the_busiest};
use super::rq::{RunQueue, Switch, Woken};
use super::task::{Departure, Life, Task, TaskState};
use super::task_ref::TaskRef;
use super::{HZ, rcu, stat};
use crate::arch::irq::{interrupted_el0, is_masked, with_masked};
use crate::arch::switch::cpu_switch_to;
use crate::arch::{CpuId, IrqMasked, cpu, el0_entry};
use crate::per_cpu;
use crate::sync::{Once, Rank, SpinGuard, SpinLock, held_locks};
use core::ptr::NonNull;

per_cpu! {
    static RUNQUEUES: SpinLock<RunQueue> = SpinLock::new(Rank::RunQueue, RunQueue::new());
}

/// Tells a CPU that has something to do to leave its sleep.
type Kick = fn(CpuId);

static KICK: Once<Kick> = Once::new();

/// Registers who interrupts other CPUs. Once, before the second is up.
pub(crate) fn set_kick(kick: Kick) {
    KICK.call_once(|| kick);
}

/// Interrupts another CPU, for it to look for something to do. Returns false if there is no such
/// CPU with interrupts. Any context.
pub fn kick(cpu: CpuId) -> bool {
    let Some(kick) = KICK.get() else { return false };
    let up = with_masked(|irq| lock_if_up(cpu, irq).is_some());
    if up {
        kick(cpu);
    }
    up
}

/// Interrupts another CPU that has tasks.
pub(super) fn send_kick(cpu: CpuId) {
    if let Some(kick) = KICK.get() {
        kick(cpu);
    }
}

/// A CPU's tasks.
pub(super) fn lock(cpu: CpuId, irq: &IrqMasked) -> SpinGuard<'_, RunQueue> {
    RUNQUEUES.of(cpu).lock(irq)
}

/// A CPU's tasks; `None` if it is not up, or there is no such CPU.
pub(super) fn lock_if_up(cpu: CpuId, irq: &IrqMasked) -> Option<SpinGuard<'_, RunQueue>> {
    RUNQUEUES.try_of(cpu).map(|rq| rq.lock(irq)).filter(|rq| rq.is_up())
}

/// This CPU's tasks.
pub(super) fn own(irq: &IrqMasked) -> SpinGuard<'_, RunQueue> {
    RUNQUEUES.get(irq).lock(irq)
}

/// Locks the queue of a task's CPU (Linux: task_rq_lock).
pub(super) fn task_rq<'a>(task: &Task, irq: &'a IrqMasked) -> SpinGuard<'a, RunQueue> {
    loop {
        let cpu = task.cpu();
        let rq = lock(cpu, irq);
        // It changes under the lock of the old one alone.
        if task.cpu() == cpu {
            return rq;
        }
    }
}

/// Starts tasks on this CPU; the running code becomes its first one: `init` on the boot CPU, an
/// idle one elsewhere. Called once on each CPU, when it can be interrupted.
pub(crate) fn init_cpu() {
    with_masked(|irq| {
        let cpu = cpu::id(irq);
        if cpu == CpuId::BOOT {
            el0_entry::set_resched(preempt);
            alloc_pid(&init_task());
        }
        own(irq).bring_up(cpu, current().get());
        set_up(cpu, true);
        rcu::watch(irq, true);
    });
}

/// Takes [`init_cpu`] back, before the CPU has other tasks.
pub(crate) fn withdraw_cpu() {
    with_masked(|irq| {
        rcu::watch(irq, false);
        set_up(cpu::id(irq), false);
        let first = own(irq).take_down();
        drop((free_pid(&current()), first));
    });
}

/// Makes the current task the one that runs when no other does. It calls [`do_idle`] for ever,
/// and may not sleep.
pub(crate) fn make_idle() {
    with_masked(|irq| {
        own(irq).make_idle(current().get());
    });
}

/// Returns true if this CPU has tasks: then it has interrupts too, and can sleep.
#[must_use]
pub fn has_threads() -> bool {
    with_masked(|irq| own(irq).is_up())
}

/// Number of tasks of a CPU, its idle one included.
#[must_use]
pub fn threads(cpu: CpuId) -> usize {
    with_masked(|irq| lock_if_up(cpu, irq).map_or(0, |rq| rq.nr_threads()))
}

/// Returns true if the calling context may sleep: interrupts are not masked (as they are in
/// handlers and under spin locks), it is not the idle task, and it is not in an RCU read-side
/// section.
#[must_use]
pub fn may_sleep() -> bool {
    !is_masked() && !rcu::rcu_read_lock_held() && with_masked(|irq| !own(irq).is_idle())
}

/// Sets the state of the current task; see the module above for the order of things.
///
/// # Panics
/// The idle task may not sleep.
pub fn set_current_state(state: TaskState) {
    drop(with_masked(|irq| own(irq).set_current_state(state)));
}

/// Returns true if the current task has been asked to end (Linux: kthread_should_stop).
#[must_use]
pub fn should_stop() -> bool {
    current().should_stop()
}

/// Lets the next task run. Comes back when it is this one's turn: at once or later if its
/// state is `Running`, otherwise after it was woken. It may be on another CPU then, if its
/// affinity allows that. Process context.
///
/// # Panics
/// Where interrupts are masked, a lock is held or RCU's readers are at work: whoever holds an
/// [`IrqMasked`] relies on being alone on its CPU.
#[track_caller]
pub fn schedule() {
    if is_masked() {
        scheduling_while_atomic();
    }
    with_masked(switch);
}

#[cold]
#[track_caller]
fn scheduling_while_atomic() -> ! {
    let why = Atomic::now();
    panic!("scheduling while atomic: {why}");
}

/// Lets all tasks of this CPU run that are ready, and comes back (Linux: sched_yield). Process
/// context.
#[track_caller]
pub fn sched_yield() {
    set_current_state(TaskState::Running);
    schedule();
}

/// Calls [`schedule()`] if another task waits for this CPU. Returns true if one did. Process
/// context.
#[track_caller]
pub fn cond_resched() -> bool {
    might_sleep();
    let ready = with_masked(|irq| own(irq).has_ready());
    if ready {
        schedule();
    }
    ready
}

/// Calls [`schedule()`], to be woken when `timeout` jiffies have passed, if not before. Returns
/// the number of jiffies left. In the state `Running` it returns once the other tasks had
/// their turn. Process context.
#[track_caller]
pub fn schedule_timeout(timeout: u64) -> u64 {
    let until = jiffies().saturating_add(timeout);
    with_masked(|irq| own(irq).wake_current_at(until));
    schedule();
    set_current_state(TaskState::Running);
    until.saturating_sub(jiffies())
}

/// Jiffies since the machine came up, the same on all CPUs: [`HZ`] in a second.
#[must_use]
pub fn jiffies() -> u64 {
    cpu::ticks() / (cpu::timeout(1) / HZ).max(1)
}

/// Wakes the tasks of this CPU whose time has come. From its timer's interrupt.
pub(crate) fn tick(irq: &IrqMasked) {
    let now = jiffies();
    own(irq).tick(1_000_000_000 / HZ, interrupted_el0(irq));
    if cpu::id(irq) == CpuId::BOOT {
        stat::tick(now, irq);
    }
    loop {
        let mut rq = own(irq);
        match rq.expire(now) {
            Woken::No => break,
            Woken::GoesOn(timed) => {
                drop(rq);
                drop(timed);
            }
            Woken::Ready(task) => place(task, rq, irq),
        }
    }
    rcu::tick(irq);
}

/// Runs one round of the idle task: sleeps until an interrupt comes, unless a task is ready
/// or `pending` says that there is something to do, then lets tasks run.
pub(crate) fn do_idle(pending: impl FnOnce() -> bool) {
    with_masked(|irq| {
        // Masked: an interrupt that wakes a task from here on ends the wait.
        if !pending() && !own(irq).has_ready() && !take_from_the_busiest(irq) {
            set_idle(cpu::id(irq), true);
            cpu::wait_for_interrupt(irq);
            set_idle(cpu::id(irq), false);
        }
    });
    schedule();
}

/// Ends the current task.
pub(super) fn exit(code: i32) -> ! {
    assert!(!is_masked(), "a task ends with interrupts masked");
    let held = current().held_locks();
    assert!(held.is_empty(), "{} ends while {held} is held", current().comm());
    drop(mm::kthread_unuse_mm());
    with_masked(|irq| {
        let timed = own(irq).exit(code);
        drop(timed);
        switch(irq);
    });
    unreachable!("a task that has ended runs");
}

/// Lets others run before the current task goes back to EL0, as it was asked to
/// (`ThreadFlags::NEED_RESCHED`). Process context.
fn preempt() {
    with_masked(|irq| switch_to(|rq| rq.preempt(), irq));
}

fn switch(irq: &IrqMasked) {
    switch_to(|rq| rq.pick(), irq);
}

#[inline(always)]
fn switch_to(pick: impl FnOnce(&mut RunQueue) -> Option<Switch>, irq: &IrqMasked) {
    let held = held_locks(irq);
    assert!(held.is_empty(), "scheduling while atomic: {held} is held");
    rcu::note_context_switch(irq);
    let mut rq = own(irq);
    let Some(tasks) = pick(&mut rq) else { return };
    if rq.is_idle() {
        set_not_overloaded(cpu::id(irq));
    }
    drop(rq);
    drop(tasks.gone);
    // SAFETY: `prev` is the task that runs here; it is there until `finish` has seen that this
    // CPU has left it (`Switch`), and `next` is the queue's own.
    let (prev, next) = unsafe { (tasks.prev.as_ref(), tasks.next.as_ref()) };
    let has_mm = prev.has_mm();
    if has_mm {
        mm::switch_out(next, irq);
    }
    // SAFETY: `next` runs nowhere: whoever queues a task of another CPU waits until that has left
    // it (`on_cpu`). So its registers are where it left them when it came here, or where
    // `kthread` laid them out. Nobody else takes `prev` until `finish` clears `on_cpu`.
    let left = unsafe {
        cpu_switch_to(&prev.thread.saved, &next.thread.saved, tasks.prev.cast(), tasks.next.cast())
    };
    // This may be another CPU from here on.
    if has_mm {
        // SAFETY: a task is there while it is `on_cpu`.
        mm::switch_in(unsafe { left.cast().as_ref() }, irq);
    }
    // SAFETY: the switch handed over the task that was left.
    unsafe { finish_task_switch(left.cast(), irq) };
}

/// Finishes a switch on the stack of the new task (Linux: finish_task_switch). Interrupts are
/// masked since the switch began.
///
/// # Safety
/// `prev` is the task that this CPU has just left.
pub(super) unsafe fn finish_task_switch(prev: NonNull<Task>, irq: &IrqMasked) {
    // SAFETY: a task is there while it is `on_cpu`.
    let task = unsafe { prev.as_ref() };
    match task.departure() {
        Departure::None => task.set_on_cpu(false),
        Departure::Ended => end(task.get(), irq),
        Departure::Moves => depart(task.get(), irq),
    }
}

/// Ends the life of a task whose stack this CPU has left.
#[cold]
fn end(task: TaskRef, irq: &IrqMasked) {
    task.set_on_cpu(false);
    let listed = free_pid(&task);
    // Before anybody can learn of the end.
    task.thread.release_stack();
    own(irq).forget();
    task.set_life(Life::Dead);
    task.exited.wake_up();
    drop((listed, task));
}

/// Sends a task away that may no longer run on this CPU, and that it has left.
#[cold]
fn depart(task: TaskRef, irq: &IrqMasked) {
    let mut rq = own(irq);
    task.set_departure(Departure::None);
    let queued = rq.dequeue(&task);
    task.set_on_cpu(false);
    if queued.is_some() || task.is_running() {
        place(queued.unwrap_or_else(|| task.clone()), rq, irq);
    } else {
        drop(rq);
    }
}
