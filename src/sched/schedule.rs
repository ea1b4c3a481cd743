//! Thread switching (Linux: kernel/sched/core.c, kernel/sched/idle.c).

use super::HZ;
use super::rcu;
use super::rq::{Comm, RunQueue};
use super::task::{NR_THREADS, Slot, TASK_NORMAL, TaskState, ThreadId};
use super::wait::WaitQueue;
use crate::arch::irq::{is_masked, with_masked};
use crate::arch::switch::{SavedSp, cpu_switch_to};
use crate::arch::{CpuId, IrqMasked, cpu};
use crate::machine_local;
use crate::per_cpu;
use crate::sync::{Once, Rank, SpinGuard, SpinLock};
use core::cell::Cell;

/// Function that frees a thread's stack.
pub type Release = fn(crate::addr::VirtRange);

/// A CPU's threads, and what each of them owns.
pub struct Rq {
    pub(super) queue: RunQueue,
    /// Initial stack pointers of threads that have never run.
    pub(super) start: [Option<SavedSp>; NR_THREADS],
    pub(super) stacks: [Option<super::Stack>; NR_THREADS],
}

impl Rq {
    const fn new() -> Self {
        Self {
            queue: RunQueue::new(),
            start: [const { None }; NR_THREADS],
            stacks: [const { None }; NR_THREADS],
        }
    }
}

per_cpu! {
    static RUNQUEUES: SpinLock<Rq> = SpinLock::new(Rank::RunQueue, Rq::new());
    /// Saved stack pointers of a CPU's threads that don't run. Used by that CPU alone.
    static SAVED: [SavedSp; NR_THREADS] = [const { SavedSp::none() }; NR_THREADS];
    /// The thread that ended and whose stack this CPU is about to leave.
    static ENDED: Cell<Option<Slot>> = Cell::new(None);
}

machine_local! {
    /// Waiters for a thread's end.
    pub(super) static ENDS: WaitQueue = WaitQueue::new();
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

/// A CPU's threads.
pub(super) fn lock(cpu: CpuId, irq: &IrqMasked) -> SpinGuard<'_, Rq> {
    RUNQUEUES.of(cpu).lock(irq)
}

/// A CPU's threads; `None` if it is not up, or there is no such CPU.
pub(super) fn lock_if_up(cpu: CpuId, irq: &IrqMasked) -> Option<SpinGuard<'_, Rq>> {
    RUNQUEUES.try_of(cpu).map(|rq| rq.lock(irq)).filter(|rq| rq.queue.is_up())
}

fn own(irq: &IrqMasked) -> SpinGuard<'_, Rq> {
    lock(cpu::id(irq), irq)
}

/// Starts threading on this CPU; the running code becomes its first thread, called `name`.
/// Called once on each CPU, when it can be interrupted.
pub(crate) fn init_cpu(name: &str) {
    with_masked(|irq| {
        own(irq).queue.bring_up(name);
        rcu::watch(irq, true);
    });
}

/// Takes [`init_cpu`] back, before the CPU has other threads.
pub(crate) fn withdraw_cpu() {
    with_masked(|irq| {
        rcu::watch(irq, false);
        own(irq).queue.take_down();
    });
}

/// Makes the current thread the one that runs when no other does. It calls [`do_idle`] for
/// ever, and may not sleep.
pub(crate) fn make_idle() {
    with_masked(|irq| {
        let mut rq = own(irq);
        let current = rq.queue.current();
        rq.queue.make_idle(current);
    });
}

/// The thread that runs; `None` before this CPU has threads.
#[must_use]
pub fn current() -> Option<ThreadId> {
    with_masked(|irq| {
        let cpu = cpu::id(irq);
        let rq = lock(cpu, irq);
        let slot = rq.queue.current();
        let generation = rq.queue.generation(slot);
        rq.queue.is_up().then_some(ThreadId { cpu, slot, generation })
    })
}

/// Current thread and its name, for reports; `None` if they can't be read now.
#[must_use]
pub fn try_current() -> Option<(ThreadId, Comm)> {
    with_masked(|irq| {
        let rq = RUNQUEUES.get(irq).try_lock(irq)?;
        let slot = rq.queue.current();
        let id = ThreadId { cpu: cpu::id(irq), slot, generation: rq.queue.generation(slot) };
        rq.queue.is_up().then(|| (id, rq.queue.comm(slot)))
    })
}

/// The name of the thread that runs, as [`try_current`] has it.
#[must_use]
pub fn current_comm() -> Option<Comm> {
    try_current().map(|(_, comm)| comm)
}

/// Number of threads of a CPU, its first included.
#[must_use]
pub fn threads(cpu: CpuId) -> usize {
    with_masked(|irq| lock_if_up(cpu, irq).map_or(0, |rq| rq.queue.nr_threads()))
}

/// Returns true if the calling context may sleep: interrupts are not masked (as they are in
/// handlers and under spin locks), it is not the idle thread, and it is not in an RCU read-side
/// section.
#[must_use]
pub fn may_sleep() -> bool {
    !is_masked() && !rcu::rcu_read_lock_held() && with_masked(|irq| !own(irq).queue.is_idle())
}

/// Sets the state of the current thread; see the module above for the order of things.
///
/// # Panics
/// The idle thread may not sleep.
pub fn set_current_state(state: TaskState) {
    with_masked(|irq| own(irq).queue.set_current_state(state));
}

/// Returns true if the current thread has been asked to end (Linux: kthread_should_stop).
#[must_use]
pub fn should_stop() -> bool {
    with_masked(|irq| own(irq).queue.should_stop())
}

/// Lets the next thread run. Comes back when it is this one's turn: at once or later if its
/// state is `Running`, otherwise after it was woken. Process context.
///
/// # Panics
/// Where interrupts are masked, a lock is held or RCU's readers are at work: whoever holds an [`IrqMasked`] relies on
/// being alone on its CPU.
#[track_caller]
pub fn schedule() {
    assert!(!is_masked(), "scheduling while atomic: interrupts are masked");
    with_masked(switch);
}

/// Calls [`schedule()`] if another thread waits for this CPU. Returns true if one did. Process
/// context.
#[track_caller]
pub fn cond_resched() -> bool {
    let ready = with_masked(|irq| own(irq).queue.has_ready());
    if ready {
        schedule();
    }
    ready
}

/// Calls [`schedule()`], to be woken when `timeout` jiffies have passed, if not before. Returns
/// the number of jiffies left. In the state `Running` it returns once the other threads had
/// their turn. Process context.
#[track_caller]
pub fn schedule_timeout(timeout: u64) -> u64 {
    let until = jiffies().saturating_add(timeout);
    with_masked(|irq| own(irq).queue.wake_current_at(until));
    schedule();
    set_current_state(TaskState::Running);
    until.saturating_sub(jiffies())
}

/// Jiffies since the machine came up, the same on all CPUs: [`HZ`] in a second.
#[must_use]
pub fn jiffies() -> u64 {
    cpu::ticks() / (cpu::timeout(1) / HZ).max(1)
}

/// Wakes a thread from either kind of sleep. Returns true if it slept. Any context, under any
/// lock of lower rank. A thread that has ended is not woken.
pub fn wake_up_process(id: ThreadId) -> bool {
    with_masked(|irq| wake(id.cpu, irq, |rq| rq.wake(id.slot, id.generation, TASK_NORMAL)))
}

/// Wakes the thread that has a number now.
pub(super) fn wake_slot(cpu: CpuId, slot: Slot, states: u8, irq: &IrqMasked) {
    wake(cpu, irq, |rq| rq.wake(slot, rq.generation(slot), states));
}

/// Runs `f` on a CPU's queue; if that says that it woke a thread, the CPU leaves its sleep.
pub(super) fn wake(cpu: CpuId, irq: &IrqMasked, f: impl FnOnce(&mut RunQueue) -> bool) -> bool {
    let mut rq = lock(cpu, irq);
    let woken = f(&mut rq.queue);
    let sleeps = rq.queue.is_idle();
    drop(rq);
    // On this CPU the interrupt or the thread that wakes comes back to the idle thread.
    if woken
        && sleeps
        && cpu != cpu::id(irq)
        && let Some(kick) = KICK.get()
    {
        kick(cpu);
    }
    woken
}

/// Wakes the threads of this CPU whose time has come. From its timer's interrupt.
pub(crate) fn tick(irq: &IrqMasked) {
    own(irq).queue.expire(jiffies());
    rcu::tick(irq);
}

/// Runs one round of the idle thread: sleeps until an interrupt comes, unless a thread is ready
/// or `pending` says that there is something to do, then lets threads run.
pub(crate) fn do_idle(pending: impl FnOnce() -> bool) {
    with_masked(|irq| {
        // Masked: an interrupt that wakes a thread from here on ends the wait.
        if !pending() && !own(irq).queue.has_ready() {
            cpu::wait_for_interrupt(irq);
        }
    });
    schedule();
}

/// Ends the current thread.
pub(super) fn exit(code: i32) -> ! {
    assert!(!is_masked(), "a thread ends with interrupts masked");
    with_masked(|irq| {
        let slot = own(irq).queue.exit(code);
        ENDED.get(irq).set(Some(slot));
        switch(irq);
    });
    unreachable!("a thread that has ended runs");
}

fn switch(irq: &IrqMasked) {
    #[cfg(debug_assertions)]
    cpu::held_ranks(irq, |held| {
        assert!(held.get() == 0, "scheduling while atomic: locks are held, {:#x}", held.get());
    });
    rcu::note_context_switch(irq);
    let saved = SAVED.get(irq);
    let mut rq = own(irq);
    let Some((prev, next)) = rq.queue.pick() else { return };
    if let Some(start) = rq.start[next.index()].take() {
        saved[next.index()].set(start);
    }
    drop(rq);
    // SAFETY: `next` is a thread of this CPU that doesn't run: its registers are where it
    // left them when it came here, or where `kthread` laid them out. Other CPUs may
    // queue `prev` from here on, and only this one takes it off again, after the switch.
    unsafe { cpu_switch_to(&saved[prev.index()], &saved[next.index()]) };
    finish(irq);
}

/// Finishes a switch on the stack of the new thread: if the previous thread has ended, frees its
/// stack (Linux: finish_task_switch). Interrupts are masked since the switch began.
pub(super) fn finish(irq: &IrqMasked) {
    let Some(slot) = ENDED.get(irq).take() else { return };
    let stack = own(irq).stacks[slot.index()].take();
    // Before anybody can learn of the end.
    drop(stack);
    own(irq).queue.finish_task_switch(slot);
    ENDS.wake_up();
}
