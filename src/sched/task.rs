//! The object of a task (Linux: struct task_struct, include/linux/sched.h).
//!
//! | field | who writes it |
//! | --- | --- |
//! | `flags`, `mems_allowed`, `held` | the task itself |
//! | `sigkill` | the task itself and whoever kills it, by atomic steps |
//! | `state`, `wake_at`, `cpu` | the holder of the lock of the run queue of `cpu` |
//! | `cpus_allowed`, `departure`, `slice`, `runtime`, `utime` | as above |
//! | `thread_info`, `mm` | the task itself; any CPU adds to the flags |
//! | `nice` | any CPU |
//! | `on_cpu` | set under that lock, cleared by the CPU that has left the task's stack |
//! | `life`, `exit_code` | the CPU that the task ends on |
//! | `pid` | the holder of the lock of the pids |
#![deny(unsafe_code)]

#[path = "task/state.rs"]
mod state;

use super::fair::Nice;
use super::task_list::Links;
use super::task_ref::ReleaseTask;
use super::wait::WaitQueue;
use crate::arch::CpuId;
use crate::arch::cpumask::{AtomicCpuMask, CpuMask};
#[cfg(target_os = "none")]
use crate::arch::switch::SavedSp;
use crate::arch::thread_info::ThreadInfo;
use crate::sync::atomic::AtomicU32 as RefCount;
use crate::sync::{HeldLocks, SleepRank};
use arrayvec::ArrayString;
use core::fmt;
use core::ptr::NonNull;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use core::sync::atomic::{
    AtomicBool, AtomicI8, AtomicI32, AtomicI64, AtomicPtr, AtomicU8, AtomicU32, AtomicU64,
};

pub(super) use state::{Departure, TASK_WAKEKILL};
pub use state::{Life, TASK_NORMAL, TaskState};
use state::{SIGKILL_ALLOWED, SIGKILL_PENDING};

/// A task's name, cut to 15 bytes (Linux: TASK_COMM_LEN).
pub type Comm = ArrayString<15>;

/// `name` as a [`Comm`].
#[must_use]
pub fn comm(name: &str) -> Comm {
    let mut comm = Comm::new();
    for c in name.chars() {
        if comm.try_push(c).is_err() {
            break;
        }
    }
    comm
}

/// A task. It lives in one place, and is reached through a [`TaskRef`](super::TaskRef) or, by
/// itself, through [`current`](super::current()).
#[repr(C)]
pub struct Task {
    /// At the beginning, where `arch` finds it.
    thread_info: ThreadInfo,
    /// An `Mm` that the task has a reference to, null for none.
    mm: AtomicPtr<()>,
    flags: AtomicU32,
    mems_allowed: AtomicU32,
    pub(super) usage: RefCount,
    pid: AtomicU32,
    cpu: AtomicU8,
    state: AtomicU8,
    life: AtomicU8,
    departure: AtomicU8,
    on_cpu: AtomicBool,
    should_stop: AtomicBool,
    sigkill: AtomicU8,
    held: AtomicU64,
    nice: AtomicI8,
    exit_code: AtomicI32,
    /// Nanoseconds of its CPU's time that the task has before others, less than 0 for a debt.
    slice: AtomicI64,
    /// Nanoseconds that the task ran, in ticks (Linux: sum_exec_runtime).
    runtime: AtomicU64,
    /// Part of `runtime` at EL0.
    utime: AtomicU64,
    wake_at: AtomicU64,
    comm: [AtomicU64; 2],
    cpus_allowed: AtomicCpuMask,
    /// Links of the lists that it can be on, by their kinds.
    pub(super) links: [Links; 2],
    /// Waiters for its end.
    pub(super) exited: WaitQueue,
    pub(super) release: ReleaseTask,
    #[cfg(target_os = "none")]
    pub(super) thread: Thread,
}

/// The part of a task that the switch uses (Linux: struct thread_struct).
#[cfg(target_os = "none")]
pub(super) struct Thread {
    pub saved: SavedSp,
    /// The stack, which goes back when the task has ended: first byte, 0 where it is not the
    /// task's to give back.
    pub stack: core::sync::atomic::AtomicUsize,
    /// Function that takes the stack back.
    pub release_stack: super::ReleaseStack,
}

const fn words(name: &str) -> [u64; 2] {
    let (bytes, mut words, mut i) = (name.as_bytes(), [0; 2], 0);
    while i < bytes.len() {
        words[i / 8] |= (bytes[i] as u64) << (i % 8 * 8);
        i += 1;
    }
    words
}

impl Task {
    /// A task that no CPU has yet, called `name`, with one reference. It may run on
    /// `allowed`, and is on `cpu`.
    ///
    /// # Panics
    /// The name is longer than 15 bytes.
    pub(super) const fn new(
        name: &str,
        cpu: CpuId,
        allowed: CpuMask,
        release: ReleaseTask,
        #[cfg(target_os = "none")] release_stack: super::ReleaseStack,
    ) -> Self {
        assert!(name.len() <= 15, "a comm has 15 bytes");
        let [low, high] = words(name);
        Self {
            thread_info: ThreadInfo::new(),
            mm: AtomicPtr::new(core::ptr::null_mut()),
            flags: AtomicU32::new(0),
            mems_allowed: AtomicU32::new(u32::MAX),
            usage: RefCount::new(1),
            pid: AtomicU32::new(0),
            cpu: AtomicU8::new(cpu.index() as u8),
            state: AtomicU8::new(TaskState::Running as u8),
            life: AtomicU8::new(Life::New as u8),
            departure: AtomicU8::new(Departure::None as u8),
            on_cpu: AtomicBool::new(false),
            should_stop: AtomicBool::new(false),
            sigkill: AtomicU8::new(0),
            held: AtomicU64::new(0),
            nice: AtomicI8::new(0),
            exit_code: AtomicI32::new(0),
            slice: AtomicI64::new(super::fair::BASE_SLICE),
            runtime: AtomicU64::new(0),
            utime: AtomicU64::new(0),
            wake_at: AtomicU64::new(0),
            comm: [AtomicU64::new(low), AtomicU64::new(high)],
            cpus_allowed: AtomicCpuMask::new(allowed),
            links: [const { Links::new() }; 2],
            exited: WaitQueue::new(),
            release,
            #[cfg(target_os = "none")]
            thread: Thread {
                saved: SavedSp::none(),
                stack: core::sync::atomic::AtomicUsize::new(0),
                release_stack,
            },
        }
    }

    /// Returns the part that `arch` uses.
    #[inline(always)]
    pub(crate) fn thread_info(&self) -> &ThreadInfo {
        &self.thread_info
    }
    /// Returns true if it has users' memory, so that it may run at EL0.
    #[inline]
    #[must_use]
    pub fn has_mm(&self) -> bool {
        !self.mm.load(Relaxed).is_null()
    }
    /// Returns the address space that it refers to.
    #[inline]
    pub(super) fn mm(&self) -> Option<NonNull<()>> {
        NonNull::new(self.mm.load(Relaxed))
    }
    /// Sets the address space that it refers to.
    ///
    /// # Safety
    /// The task is the current one. `mm` is the address of an `Mm`, with a reference that is the
    /// task's until this is called again.
    #[expect(unsafe_code, reason = "says what its callers answer for")]
    pub(super) unsafe fn set_mm(&self, mm: Option<NonNull<()>>) {
        self.mm.store(mm.map_or(core::ptr::null_mut(), NonNull::as_ptr), Relaxed);
    }
    /// Returns its nice value.
    #[must_use]
    pub fn nice(&self) -> Nice {
        Nice::new(self.nice.load(Relaxed).into()).unwrap_or_default()
    }
    /// Sets its nice value, which counts from its next slice on. Any context (Linux:
    /// set_user_nice).
    pub fn set_user_nice(&self, nice: Nice) {
        self.nice.store(nice.get() as i8, Relaxed);
    }
    /// Returns the nanoseconds that it ran, as ticks have counted them.
    #[must_use]
    pub fn runtime(&self) -> u64 {
        self.runtime.load(Relaxed)
    }
    /// Returns the part of [`runtime`](Self::runtime) that it ran at EL0.
    #[must_use]
    pub fn utime(&self) -> u64 {
        self.utime.load(Relaxed)
    }
    pub(super) fn charge(&self, ns: u64, at_el0: bool) {
        self.runtime.store(self.runtime() + ns, Relaxed);
        if at_el0 {
            self.utime.store(self.utime() + ns, Relaxed);
        }
    }
    pub(super) fn slice(&self) -> i64 {
        self.slice.load(Relaxed)
    }
    pub(super) fn set_slice(&self, ns: i64) {
        self.slice.store(ns, Relaxed);
    }
    /// Returns the task's flags of memory management (Linux: the PF_MEMALLOC* of
    /// task_struct.flags). Only the task itself writes them; an interrupt handler sees those of
    /// the task that it interrupted.
    #[must_use]
    #[inline(always)]
    pub fn flags(&self) -> &AtomicU32 {
        &self.flags
    }
    /// Returns the nodes that allocations with `__GFP_HARDWALL` may use, a bit each (Linux:
    /// task_struct.mems_allowed). Only the task itself writes them.
    #[must_use]
    #[inline(always)]
    pub fn mems_allowed(&self) -> &AtomicU32 {
        &self.mems_allowed
    }
    /// Returns its number, 1 at least; 0 for idle tasks, for tasks that have ended, and before
    /// the CPU has tasks.
    #[must_use]
    #[inline]
    pub fn pid(&self) -> u32 {
        self.pid.load(Relaxed)
    }
    pub(super) fn set_pid(&self, pid: u32) {
        self.pid.store(pid, Relaxed);
    }
    /// Returns its name.
    #[must_use]
    pub fn comm(&self) -> Comm {
        let mut bytes = [0; 16];
        for (to, word) in bytes.chunks_exact_mut(8).zip(&self.comm) {
            to.copy_from_slice(&word.load(Relaxed).to_le_bytes());
        }
        let len = bytes.iter().position(|&byte| byte == 0).unwrap_or(15);
        core::str::from_utf8(&bytes[..len]).map_or(Comm::new(), comm)
    }
    /// Gives it a name, cut to 15 bytes (Linux: set_task_comm).
    pub fn set_comm(&self, name: &str) {
        let comm = comm(name);
        let words = words(&comm);
        self.comm.iter().zip(words).for_each(|(to, word)| to.store(word, Relaxed));
    }
    /// Returns the CPU whose run queue it belongs to: where it runs, waits, or last ran (Linux:
    /// task_cpu). For another task than the current one it may be out of date at once.
    #[must_use]
    #[inline]
    pub fn cpu(&self) -> CpuId {
        CpuId::new(self.cpu.load(Acquire).into()).unwrap_or(CpuId::BOOT)
    }
    pub(super) fn set_cpu(&self, cpu: CpuId) {
        self.cpu.store(cpu.index() as u8, Release);
    }
    /// Returns its state.
    #[must_use]
    pub fn state(&self) -> TaskState {
        TaskState::from_bit(self.state.load(Relaxed))
    }
    #[inline]
    pub(super) fn is_running(&self) -> bool {
        self.state.load(Relaxed) == TaskState::Running as u8
    }
    pub(super) fn set_state(&self, state: TaskState) {
        self.state.store(state as u8, Relaxed);
    }
    /// Returns the stage of its life.
    #[must_use]
    pub fn life(&self) -> Life {
        match self.life.load(Acquire) {
            0 => Life::New,
            1 => Life::Live,
            2 => Life::Exiting,
            _ => Life::Dead,
        }
    }
    pub(super) fn set_life(&self, life: Life) {
        self.life.store(life as u8, Release);
    }
    #[inline]
    pub(super) fn departure(&self) -> Departure {
        match self.departure.load(Relaxed) {
            0 => Departure::None,
            1 => Departure::Ended,
            _ => Departure::Moves,
        }
    }
    pub(super) fn set_departure(&self, departure: Departure) {
        self.departure.store(departure as u8, Relaxed);
    }
    /// Returns true while a CPU is on its stack.
    #[inline]
    pub(super) fn on_cpu(&self) -> bool {
        self.on_cpu.load(Acquire)
    }
    #[inline]
    pub(super) fn set_on_cpu(&self, on: bool) {
        self.on_cpu.store(on, Release);
    }
    /// Returns true if it was asked to end.
    #[must_use]
    pub fn should_stop(&self) -> bool {
        self.should_stop.load(Acquire)
    }
    pub(super) fn ask_to_stop(&self) {
        self.should_stop.store(true, Release);
    }
    /// Has SIGKILL end the task's killable waits from now on (Linux: allow_kernel_signal).
    pub(super) fn allow_sigkill(&self) {
        self.sigkill.fetch_or(SIGKILL_ALLOWED, Relaxed);
    }
    /// Notes that SIGKILL was sent. Returns false, and does nothing, if the task ignores it.
    pub(super) fn set_sigkill(&self) -> bool {
        let allowed = self.sigkill.load(Relaxed) & SIGKILL_ALLOWED != 0;
        if allowed {
            self.sigkill.fetch_or(SIGKILL_PENDING, Release);
        }
        allowed
    }
    /// Returns true if SIGKILL was sent to it (Linux: fatal_signal_pending).
    #[must_use]
    pub fn fatal_signal_pending(&self) -> bool {
        self.sigkill.load(Acquire) & SIGKILL_PENDING != 0
    }
    /// Returns true if the task is not to sleep in `state` any more (Linux: signal_pending_state).
    pub(super) fn signal_pending_state(&self, state: TaskState) -> bool {
        match state {
            TaskState::Running | TaskState::Uninterruptible => false,
            TaskState::Killable => self.fatal_signal_pending(),
            TaskState::Interruptible => self.should_stop() || self.fatal_signal_pending(),
        }
    }
    /// Returns the sleeping locks that the task holds, as far as the build knows: without debug
    /// assertions none (Linux: task_struct.held_locks).
    #[must_use]
    pub fn held_locks(&self) -> HeldLocks<SleepRank> {
        HeldLocks::of(self.held.load(Relaxed))
    }
    /// The word of [`Task::held_locks`], which the task itself writes.
    pub(super) fn held(&self) -> &AtomicU64 {
        &self.held
    }
    /// Returns the code that it ended with; 0 before.
    #[must_use]
    pub fn exit_code(&self) -> i32 {
        self.exit_code.load(Relaxed)
    }
    pub(super) fn set_exit_code(&self, code: i32) {
        self.exit_code.store(code, Relaxed);
    }
    pub(super) fn wake_at(&self) -> u64 {
        self.wake_at.load(Relaxed)
    }
    pub(super) fn set_wake_at(&self, time: u64) {
        self.wake_at.store(time, Relaxed);
    }
    /// Returns the CPUs that it may run on (Linux: task_struct.cpus_mask).
    #[must_use]
    pub fn cpus_allowed(&self) -> CpuMask {
        self.cpus_allowed.load(Relaxed)
    }
    #[inline]
    pub(super) fn may_run_on(&self, cpu: CpuId) -> bool {
        self.cpus_allowed.contains(cpu, Relaxed)
    }
    pub(super) fn set_cpus_mask(&self, mask: CpuMask) {
        self.cpus_allowed.store(mask, Relaxed);
    }
}

/// SP_EL0 has the address of a task, which is that of its `ThreadInfo`.
const _: () = assert!(core::mem::offset_of!(Task, thread_info) == 0);

impl fmt::Debug for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({}, {:?}, {:?})", self.comm(), self.pid(), self.life(), self.state())
    }
}
