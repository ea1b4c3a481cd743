//! Timers that fire once, at a time of a clock, to the precision of the CPU's own timer (Linux:
//! kernel/time/hrtimer.c).
//!
//! Each CPU has a queue for each clock, ordered by time. A timer is on the queue of the CPU that
//! started it last, and its function is called there, in the interrupt of that CPU's timer, which is
//! told the earliest of all times (`set_program`). A function never runs before its time. On a CPU
//! that has no interrupts nothing fires.
//!
//! ```text
//! heap       policy: the queue
//! base       a CPU's queues
//! ```
//!
//! # Memory
//! A timer lies where its owner has put it: on a stack, in a box or a static. [`HrTimer::start`]
//! takes it pinned, and dropping it cancels it: so a queue never names memory of which the owner has
//! disposed. A timer's function borrows nothing, since a pinned value may be leaked.
//!
//! # Locks
//! The queues of a CPU have a lock, `Rank::HrTimer`, under which nothing is called. The function runs
//! without it: meanwhile `running` of the CPU names the timer, and whoever cancels it waits.

mod base;
mod heap;

#[cfg(test)]
mod tests;

use super::timekeeping::{getboottime64, ktime_get};
use crate::arch::atomic_fn::AtomicFn;
use crate::arch::irq::with_masked;
use crate::arch::{CpuId, IrqMasked, cpu};
use crate::per_cpu;
use crate::percpu::possible_cpus;
use crate::sync::{Rank, SpinGuard, SpinLock};
use base::{Base, Node, NodePtr};
use core::marker::PhantomPinned;
use core::pin::Pin;
use core::ptr::NonNull;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};

/// A clock by which timers are set (Linux: clockid_t).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClockId {
    /// Time since the kernel's start (CLOCK_MONOTONIC).
    Monotonic,
    /// Time since 1970, which may be set (CLOCK_REALTIME): then its timers fire at the time that the
    /// clock shows from then on.
    Realtime,
}

impl ClockId {
    /// Returns what the clock shows, in nanoseconds.
    #[must_use]
    pub fn now(self) -> u64 {
        ktime_get() + self.offset()
    }
    /// Nanoseconds by which it is ahead of the monotonic clock.
    fn offset(self) -> u64 {
        match self {
            Self::Monotonic => 0,
            Self::Realtime => getboottime64(),
        }
    }
}

/// Decision of a timer's function (Linux: enum hrtimer_restart).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HrTimerRestart {
    /// The timer is done (HRTIMER_NORESTART).
    NoRestart,
    /// The timer fires again at the time to which it was [forwarded](Expiry::hrtimer_forward)
    /// (HRTIMER_RESTART).
    Restart,
}

/// Result of [`HrTimer::try_to_cancel`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cancel {
    /// The timer was not waiting for its time (0).
    Inactive,
    /// The timer was waiting, and does so no more (1).
    Cancelled,
    /// The timer's function runs at the moment (-1).
    Busy,
}

/// The time of a timer that has fired, for its function.
pub struct Expiry {
    expires: u64,
    now: u64,
}

impl Expiry {
    /// Returns the time for which the timer was set, in nanoseconds of its clock.
    #[must_use]
    pub const fn expires(&self) -> u64 {
        self.expires
    }
    /// Returns the time at which it fired.
    #[must_use]
    pub const fn now(&self) -> u64 {
        self.now
    }
    /// Sets the next time, in nanoseconds of the timer's clock (Linux: hrtimer_set_expires).
    pub const fn hrtimer_set_expires(&mut self, time: u64) {
        self.expires = time;
    }
    /// Sets the next time, a multiple of `interval` nanoseconds after the last one and later than now.
    /// Returns the number of intervals: more than 1 where some have passed unnoticed (Linux:
    /// hrtimer_forward_now). An interval of 0 counts as 1.
    pub fn hrtimer_forward(&mut self, interval: u64) -> u64 {
        let interval = interval.max(1);
        let Some(late) = self.now.checked_sub(self.expires) else { return 0 };
        let overruns = late / interval + 1;
        self.expires = self.expires.saturating_add(interval.saturating_mul(overruns));
        overruns
    }
}

/// A timer that calls `F` in an interrupt handler when its time has come (Linux: struct hrtimer).
#[repr(C)]
pub struct HrTimer<F> {
    node: Node,
    function: F,
    pinned: PhantomPinned,
}

// SAFETY: the node is changed under the lock of a queue alone, and the function may be called by any
// CPU.
unsafe impl<F: Send + Sync> Sync for HrTimer<F> {}
// SAFETY: as above; it is on no queue while it can be moved.
unsafe impl<F: Send + Sync> Send for HrTimer<F> {}

per_cpu! {
    static BASES: SpinLock<Base> = SpinLock::new(Rank::HrTimer, Base::new());
}

/// Function that has the timer of this CPU fire at [`next_event`], or earlier.
static PROGRAM: AtomicFn<fn()> = AtomicFn::none();
/// Function that has all CPUs do so.
static PROGRAM_ALL: AtomicFn<fn()> = AtomicFn::none();

/// Registers who tells the CPUs' timers when to fire: for the calling CPU, and for all CPUs.
pub fn set_program(own: fn(), all: fn()) {
    PROGRAM.store(Some(own), Relaxed);
    PROGRAM_ALL.store(Some(all), Relaxed);
}

/// Has timers of the realtime clock fire at the time that it shows now (Linux: clock_was_set).
pub(super) fn clock_was_set() {
    if let Some(all) = PROGRAM_ALL.load(Relaxed) {
        all();
    }
}

/// The queues of the CPU that a timer belongs to, locked.
fn lock_base<'a>(node: &Node, irq: &'a IrqMasked) -> (SpinGuard<'a, Base>, CpuId) {
    loop {
        let cpu = node.cpu(Acquire);
        let base = BASES.of(cpu).lock(irq);
        // It changes under the lock of the old one alone.
        if node.cpu(Relaxed) == cpu {
            return (base, cpu);
        }
    }
}

impl<F: Fn(&mut Expiry) -> HrTimerRestart + Send + Sync + 'static> HrTimer<F> {
    /// Creates a timer of a clock that is not started (Linux: hrtimer_setup). `function` is called in
    /// an interrupt handler, with interrupts masked: it must not sleep.
    #[must_use]
    pub const fn new(clock: ClockId, function: F) -> Self {
        Self { node: Node::new(clock, Self::call), function, pinned: PhantomPinned }
    }

    /// Calls the function of the timer at `node`.
    ///
    /// # Safety
    /// `node` is that of a timer of this type, which is there until this returns.
    unsafe fn call(node: NodePtr, expiry: &mut Expiry) -> HrTimerRestart {
        // SAFETY: the node is the first field of a timer that is there, as the caller says.
        let timer = unsafe { node.get().cast::<Self>().as_ref() };
        (timer.function)(expiry)
    }

    /// Has it fire when its clock shows `expires` nanoseconds, at once if it does already. One that
    /// waits for another time waits for this one instead. It fires on this CPU, unless its function
    /// runs on another at the moment. Any context, under any lock of lower rank (Linux: hrtimer_start,
    /// HRTIMER_MODE_ABS).
    pub fn start(self: Pin<&Self>, expires: u64) {
        let at = self.get_ref().at();
        let node = &self.get_ref().node;
        let is_next = with_masked(|irq| {
            let own = cpu::id(irq);
            loop {
                let (mut base, cpu) = lock_base(node, irq);
                base.dequeue(at);
                if cpu == own || base.runs(at) {
                    // The first time too: it has been started from here on.
                    node.set_cpu(cpu, Relaxed);
                    base.enqueue(at, expires);
                    return cpu == own && base.is_first(at);
                }
                node.set_cpu(own, Release);
            }
        });
        if is_next && let Some(program) = PROGRAM.load(Relaxed) {
            program();
        }
    }

    /// Has it fire when `ns` nanoseconds have passed (Linux: HRTIMER_MODE_REL). Context as
    /// [`HrTimer::start`].
    pub fn start_after(self: Pin<&Self>, ns: u64) {
        let now = self.node.clock().now();
        self.start(now.saturating_add(ns));
    }

    /// Returns true if it waits for its time, or its function runs (Linux: hrtimer_active).
    #[must_use]
    pub fn is_active(&self) -> bool {
        let at = self.at();
        with_masked(|irq| {
            let (base, _) = lock_base(&self.node, irq);
            self.node.is_queued() || base.runs(at)
        })
    }
}

impl<F> HrTimer<F> {
    fn at(&self) -> NodePtr {
        // SAFETY: the node is the first field. The timer is borrowed here, and what keeps the value
        // for longer is a queue, after `start`, which takes the timer pinned.
        unsafe { NodePtr::new(NonNull::from(self).cast()) }
    }

    /// Cancels it, without waiting for its function. Any context, under any lock of lower rank (Linux:
    /// hrtimer_try_to_cancel).
    pub fn try_to_cancel(&self) -> Cancel {
        let at = self.at();
        with_masked(|irq| {
            let (mut base, _) = lock_base(&self.node, irq);
            if base.runs(at) {
                return Cancel::Busy;
            }
            if base.dequeue(at) { Cancel::Cancelled } else { Cancel::Inactive }
        })
    }

    /// Cancels it, and waits for its function where another CPU runs that. Returns true if it was
    /// waiting for its time. Any context but the function itself (Linux: hrtimer_cancel).
    ///
    /// # Panics
    /// Its function calls this: it would wait for itself.
    pub fn cancel(&self) -> bool {
        loop {
            match self.try_to_cancel() {
                Cancel::Busy => {
                    self.assert_elsewhere();
                    cpu::relax();
                }
                result => return result == Cancel::Cancelled,
            }
        }
    }

    fn assert_elsewhere(&self) {
        let at = self.at();
        let here = with_masked(|irq| BASES.get(irq).lock(irq).runs(at));
        assert!(!here, "the function of a timer cancels it, and would wait for itself");
    }
}

impl<F> Drop for HrTimer<F> {
    fn drop(&mut self) {
        // One that was never started can't be known to a queue, nor can its CPU have one.
        if self.node.was_started() {
            self.cancel();
        }
    }
}

/// Returns the time of the monotonic clock at which the first timer of this CPU is to fire.
#[must_use]
pub fn next_event(irq: &IrqMasked) -> Option<u64> {
    BASES.get(irq).lock(irq).next_event(ClockId::Realtime.offset())
}

/// Rounds after which the rest waits for the next interrupt (Linux: hrtimer_interrupt).
const ROUNDS: usize = 3;

/// Calls the functions of this CPU's timers whose time has come. From the interrupt of its timer,
/// which the caller then programs anew (Linux: hrtimer_interrupt).
pub fn hrtimer_run_queues(irq: &IrqMasked) {
    for _ in 0..ROUNDS {
        let now = ktime_get();
        while run_one(now, irq) {}
        if next_event(irq).is_none_or(|next| next > ktime_get()) {
            break;
        }
    }
}

/// Calls the function of the first timer, if its time has come at `now`. Returns true if it did.
fn run_one(now: u64, irq: &IrqMasked) -> bool {
    let offset = ClockId::Realtime.offset();
    let base = BASES.get(irq);
    let Some((at, expires, clock)) = base.lock(irq).begin(now, offset) else { return false };
    let now = now + if clock == ClockId::Realtime { offset } else { 0 };
    let mut expiry = Expiry { expires, now };
    // SAFETY: it is `running` on this CPU, and whoever drops it waits for the end of that.
    let restart = unsafe { at.call(&mut expiry) };
    // Not again in this round, whatever the function says.
    let again = (restart == HrTimerRestart::Restart).then(|| expiry.expires.max(now + 1));
    base.lock(irq).end(at, again);
    true
}

/// Number of timers of a CPU that wait for their time; for reports and tests.
#[must_use]
pub fn nr_active(cpu: CpuId) -> usize {
    with_masked(|irq| BASES.try_of(cpu).map_or(0, |base| base.lock(irq).len()))
}

/// Number of timers of all CPUs that wait for their time; for reports and tests.
#[must_use]
pub fn nr_active_all() -> usize {
    possible_cpus().map(nr_active).sum()
}
