//! Read-copy-update (Linux: kernel/rcu/, include/linux/rcupdate.h): readers of an object that
//! others replace take no lock and wait for nobody; the old object is freed only when all
//! readers that may have found it are done.
//!
//! A reader holds a [`RcuReadGuard`]. Under it no thread gives its CPU up: [`schedule()`]
//! refuses. So a CPU that has switched threads, or was interrupted by its tick outside of all
//! guards, has left every section that it was in before: that is a quiescent state. When each
//! CPU has passed one, a grace period is over.
//!
//! ```text
//! reader                              updater
//! guard = rcu_read_lock()             replace the pointer
//! follow the pointer, read            synchronize_rcu(), or call_rcu(old, free)
//! drop(guard)                         free the old
//! ```
//!
//! # Order
//! Grace periods have numbers. A waiter draws the next one behind a full barrier after its change.
//! A CPU in a quiescent state reads the latest number, and stores it as the one that it has passed,
//! between two full barriers. Once the waiter sees there its own number or a later one, all that was
//! read before that quiescent state is over; and as the CPU had seen the number, whatever it reads
//! afterwards sees the change. So a reader needs no barrier, and a waiter keeps nothing for each CPU.
//! A CPU that has no threads yet, and each on the hosted machine, does not tick: there a reader has
//! a barrier, and a CPU without a guard is quiescent.
//!
//! # Callbacks
//! [`call_rcu`] takes no memory: what is to be freed lies in the object, in its [`RcuHead`].
//! Callbacks run one after the other, in the order in which they were queued, by the thread
//! that `mm::rcu` starts or by whoever calls [`rcu_barrier`].

use super::{TaskState, WaitQueue, kick, may_sleep, schedule, schedule_timeout, set_current_state};
#[cfg(target_os = "none")]
use crate::arch::IrqMasked;
use crate::arch::irq::{is_masked, with_masked};
use crate::arch::{CpuId, cpu};
use crate::machine_local;
use crate::per_cpu;
use crate::percpu::possible_cpus;
use crate::sync::{Rank, SpinLock};
use core::cell::Cell;
use core::marker::PhantomData;
use core::ptr::{self, NonNull};
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, compiler_fence, fence};

/// State of a CPU. Only that CPU writes here.
struct CpuState {
    /// Guards that it holds, one inside the other.
    nesting: AtomicU32,
    /// The latest grace period that had begun at its last quiescent state.
    passed: AtomicU64,
    /// True once the CPU switches threads and ticks. Until then its readers have a memory
    /// barrier, and end their quiescent states themselves.
    watched: AtomicBool,
}

impl CpuState {
    const fn new() -> Self {
        let (nesting, passed) = (AtomicU32::new(0), AtomicU64::new(0));
        Self { nesting, passed, watched: AtomicBool::new(false) }
    }

    /// Passes a quiescent state.
    fn pass(&self) {
        fence(SeqCst);
        self.passed.store(GRACE_PERIODS.load(Relaxed), Relaxed);
        fence(SeqCst);
    }
}

/// Callbacks that wait for a grace period, in the order in which they came.
struct Queue {
    first: *mut RcuHead,
    last: *mut RcuHead,
}

// SAFETY: what is on the list was given up to it, by `call_rcu`.
unsafe impl Send for Queue {}

per_cpu! {
    static CPUS: CpuState = CpuState::new();
}

machine_local! {
    /// Number of grace periods that were waited for: that of the latest.
    static GRACE_PERIODS: AtomicU64 = AtomicU64::new(0);
    static QUEUE: SpinLock<Queue> = SpinLock::new(
        Rank::Rcu,
        Queue { first: ptr::null_mut(), last: ptr::null_mut() },
    );
    /// Callbacks that were queued, and that have run.
    static QUEUED: AtomicU64 = AtomicU64::new(0);
    static DONE: AtomicU64 = AtomicU64::new(0);
    /// True while a thread runs callbacks: one at a time, so that they run in order.
    static RUNNING: AtomicBool = AtomicBool::new(false);
    /// Waiters for callbacks to be queued, and waiters for them to have run.
    static WORK: WaitQueue = WaitQueue::new();
    static RAN: WaitQueue = WaitQueue::new();
}

/// Guard of a read-side section (Linux: rcu_read_lock). Objects found by pointers that are
/// published for readers are not freed while it lives. It stays on its CPU.
pub struct RcuReadGuard {
    on_this_cpu: PhantomData<*mut ()>,
}

/// Begins a section in which objects that others replace can be read. Sections may nest. Any
/// context; interrupts may be on, but the thread may not sleep nor give its CPU up before the
/// guard is dropped.
#[inline]
#[must_use]
pub fn rcu_read_lock() -> RcuReadGuard {
    with_masked(|irq| {
        let this = CPUS.get(irq);
        this.nesting.store(this.nesting.load(Relaxed) + 1, Relaxed);
        if !this.watched.load(Relaxed) {
            fence(SeqCst);
        }
    });
    // What is read stays behind this, for the compiler; the CPU's own interrupts see both.
    compiler_fence(SeqCst);
    RcuReadGuard { on_this_cpu: PhantomData }
}

impl Drop for RcuReadGuard {
    #[inline]
    fn drop(&mut self) {
        with_masked(|irq| {
            let this = CPUS.get(irq);
            let nesting = this.nesting.load(Relaxed) - 1;
            this.nesting.store(nesting, Release);
            // An unwatched CPU has no switches or ticks to pass a quiescent state for it.
            if nesting == 0 && !this.watched.load(Relaxed) {
                this.pass();
            }
        });
    }
}

/// Returns true inside of an RCU read-side section of this CPU.
#[must_use]
pub fn rcu_read_lock_held() -> bool {
    with_masked(|irq| CPUS.get(irq).nesting.load(Relaxed) != 0)
}

/// Passes a quiescent state: the CPU is between two threads, or its thread between two pieces of
/// work.
///
/// # Panics
/// Inside of a section of readers.
#[cfg(target_os = "none")]
#[inline]
#[track_caller]
pub(super) fn note_context_switch(irq: &IrqMasked) {
    let this = CPUS.get(irq);
    assert!(this.nesting.load(Relaxed) == 0, "scheduling inside of an RCU read section");
    this.pass();
}

/// Begins (`on`) or ends the watching of this CPU, which has threads and ticks from here on, or
/// no longer. Called outside of RCU read-side sections.
#[cfg(target_os = "none")]
pub(super) fn watch(irq: &IrqMasked, on: bool) {
    let this = CPUS.get(irq);
    assert!(this.nesting.load(Relaxed) == 0, "a CPU comes or goes inside of an RCU read section");
    this.pass();
    this.watched.store(on, SeqCst);
}

/// A tick interrupted this CPU.
#[cfg(target_os = "none")]
pub(super) fn tick(irq: &IrqMasked) {
    let this = CPUS.get(irq);
    if this.nesting.load(Relaxed) == 0 {
        this.pass();
    }
}

/// Returns true if CPU `id` has left all read-side sections that it was in when grace period number
/// `period` began.
fn is_through(id: CpuId, period: u64) -> bool {
    let state = CPUS.of(id);
    let is_idle = || !state.watched.load(SeqCst) && state.nesting.load(SeqCst) == 0;
    state.passed.load(Relaxed) >= period || is_idle()
}

/// Waits for a grace period: until all who were reading when it was called are done. Process
/// context.
///
/// # Panics
/// Inside of a section of readers, or with interrupts masked.
#[track_caller]
pub fn synchronize_rcu() {
    assert!(!is_masked(), "waiting for a grace period with interrupts masked");
    assert!(!rcu_read_lock_held(), "waiting for a grace period inside of an RCU read section");
    fence(SeqCst);
    let period = GRACE_PERIODS.fetch_add(1, Relaxed) + 1;
    fence(SeqCst);
    let own = with_masked(cpu::id);
    let waits_for = |id: &CpuId| *id != own && !is_through(*id, period);
    let mut round = 0u32;
    loop {
        let mut behind = possible_cpus().filter(waits_for).peekable();
        if behind.peek().is_none() {
            break;
        }
        // One that sleeps in its idle thread passes when it is woken.
        if round.is_multiple_of(64) {
            behind.for_each(|id| _ = kick(id));
        }
        wait_a_moment(round);
        round = round.saturating_add(1);
    }
    fence(SeqCst);
}

/// Lets others run; after a few times, for as long as a tick takes.
fn wait_a_moment(round: u32) {
    if round >= 64 && may_sleep() {
        set_current_state(TaskState::Uninterruptible);
        schedule_timeout(1);
    } else {
        schedule();
        cpu::relax();
    }
}

/// Part of an object by which [`call_rcu`] frees it (Linux: struct rcu_head).
pub struct RcuHead {
    next: Cell<*mut RcuHead>,
    callback: Cell<Option<RcuCallback>>,
    argument: Cell<*mut ()>,
}

// SAFETY: nobody reads or writes it but who has it on the queue.
unsafe impl Send for RcuHead {}
// SAFETY: as above; it has no method but `new`.
unsafe impl Sync for RcuHead {}

/// Function to call after a grace period, with the pointer that `call_rcu` was given. It runs in
/// a thread, and may not wait for a grace period.
pub type RcuCallback = unsafe fn(*mut ());

impl RcuHead {
    /// Creates a head that is on no queue.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            next: Cell::new(ptr::null_mut()),
            callback: Cell::new(None),
            argument: Cell::new(ptr::null_mut()),
        }
    }
}

impl Default for RcuHead {
    fn default() -> Self {
        Self::new()
    }
}

/// Lets `callback` run with `argument` once a grace period has passed. Any context, also under
/// a guard or locks of lower rank (Linux: call_rcu).
///
/// # Safety
/// `head` stays where it is, and nobody uses it, until `callback` runs. `callback` may be
/// called with `argument` then, from any thread.
pub unsafe fn call_rcu(head: NonNull<RcuHead>, callback: RcuCallback, argument: *mut ()) {
    // SAFETY: it is there, and no one else's, as the caller says.
    let at = unsafe { head.as_ref() };
    at.next.set(ptr::null_mut());
    at.callback.set(Some(callback));
    at.argument.set(argument);
    with_masked(|irq| {
        let mut queue = QUEUE.lock(irq);
        if queue.last.is_null() {
            queue.first = head.as_ptr();
        } else {
            // SAFETY: what is on the queue stays there until it is taken off, under the lock.
            unsafe { &*queue.last }.next.set(head.as_ptr());
        }
        queue.last = head.as_ptr();
        QUEUED.fetch_add(1, Relaxed);
    });
    WORK.wake_up();
}

/// Number of callbacks that have not run yet.
#[must_use]
pub fn rcu_pending() -> u64 {
    let done = DONE.load(Acquire);
    QUEUED.load(Relaxed).saturating_sub(done)
}

/// Runs the callbacks that are queued, after a grace period; nothing where another thread is
/// about to. Process context, outside of sections of readers.
fn run_callbacks() {
    if RUNNING.swap(true, Acquire) {
        return;
    }
    let mut at = with_masked(|irq| {
        let mut queue = QUEUE.lock(irq);
        queue.last = ptr::null_mut();
        core::mem::replace(&mut queue.first, ptr::null_mut())
    });
    if !at.is_null() {
        synchronize_rcu();
    }
    while let Some(head) = NonNull::new(at) {
        // SAFETY: it was on the queue, and is there until its callback runs.
        let RcuHead { next, callback, argument } = unsafe { head.as_ref() };
        at = next.get();
        let (callback, argument) = (callback.get(), argument.get());
        if let Some(callback) = callback {
            // SAFETY: a grace period has passed since `call_rcu`, whose caller says that it
            // may be called now.
            unsafe { callback(argument) };
        }
        DONE.fetch_add(1, Release);
    }
    RUNNING.store(false, SeqCst);
    RAN.wake_up();
    WORK.wake_up();
}

/// Waits until all callbacks that were queued before have run; runs them itself where nobody
/// does (Linux: rcu_barrier). Process context, not from a callback.
///
/// # Panics
/// As [`synchronize_rcu`].
#[track_caller]
pub fn rcu_barrier() {
    assert!(!is_masked(), "waiting for callbacks with interrupts masked");
    assert!(!rcu_read_lock_held(), "waiting for callbacks inside of an RCU read section");
    let until = QUEUED.load(SeqCst);
    let are_done = || DONE.load(Acquire) >= until;
    while !are_done() {
        run_callbacks();
        RAN.wait_event(|| are_done() || !RUNNING.load(Acquire));
    }
}

/// Runs callbacks as they come, for ever: the body of a thread.
#[cfg(target_os = "none")]
pub fn rcu_thread() {
    loop {
        WORK.wait_event(|| rcu_pending() > 0 && !RUNNING.load(Acquire));
        run_callbacks();
    }
}
