//! Substitute for the machine under the files that are tried.

use std::cell::Cell;

pub const NR_CPUS: usize = 2;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct CpuId(usize);

impl CpuId {
    pub const BOOT: Self = Self(0);
    pub const fn new(n: usize) -> Option<Self> {
        if n < NR_CPUS { Some(Self(n)) } else { None }
    }
    pub const fn index(self) -> usize {
        self.0
    }
}

pub struct IrqMasked(());

loom::thread_local! {
    static HELD: Cell<u64> = Cell::new(0);
    static ID: Cell<usize> = Cell::new(0);
}

/// Makes the calling thread a CPU.
pub fn become_cpu(n: usize) {
    ID.with(|id| id.set(n));
}

pub mod irq {
    use super::IrqMasked;
    pub fn with_masked<R>(f: impl FnOnce(&IrqMasked) -> R) -> R {
        f(&IrqMasked(()))
    }
    /// Returns false: all code that is tried here runs in threads.
    pub fn is_masked() -> bool {
        false
    }
}

pub mod cpu {
    use super::atomic::AtomicU32;
    use super::{CpuId, HELD, ID, IrqMasked};
    use std::cell::Cell;

    pub fn id(_: &IrqMasked) -> CpuId {
        CpuId(ID.with(Cell::get))
    }
    pub fn holder(irq: &IrqMasked) -> u32 {
        id(irq).index() as u32 + 1
    }
    pub fn held_ranks<R>(_: &IrqMasked, f: impl FnOnce(&Cell<u64>) -> R) -> R {
        HELD.with(f)
    }
    pub fn relax() {
        loom::thread::yield_now();
    }
    pub fn wait_changed(_: &AtomicU32, _: u32) {
        relax();
    }
    pub fn lock_taken(_: usize) {}
    pub fn lock_given_up(_: usize) {}
}

/// Loom's atomics, made where they are first used: loom's have no constant constructor.
pub mod atomic {
    pub use loom::sync::atomic::{Ordering, fence};
    use std::sync::OnceLock;

    /// Methods of loom's atomic, by the same names.
    macro_rules! forward {
        ($($name:ident($($arg:ident: $of:ty),*) $(-> $result:ty)?;)*) => {
            $(
                #[track_caller]
                pub fn $name(&self, $($arg: $of),*) $(-> $result)? {
                    self.word().$name($($arg),*)
                }
            )*
        };
    }

    macro_rules! atomic {
        ($name:ident, $number:ty) => {
            pub struct $name {
                first: $number,
                word: OnceLock<loom::sync::atomic::$name>,
            }

            impl $name {
                pub const fn new(first: $number) -> Self {
                    Self { first, word: OnceLock::new() }
                }
                fn word(&self) -> &loom::sync::atomic::$name {
                    self.word.get_or_init(|| loom::sync::atomic::$name::new(self.first))
                }
                forward! {
                    load(order: Ordering) -> $number;
                    store(value: $number, order: Ordering);
                    swap(value: $number, order: Ordering) -> $number;
                    fetch_add(value: $number, order: Ordering) -> $number;
                    fetch_sub(value: $number, order: Ordering) -> $number;
                    fetch_or(value: $number, order: Ordering) -> $number;
                    fetch_and(value: $number, order: Ordering) -> $number;
                    fetch_update(
                        success: Ordering,
                        failure: Ordering,
                        f: impl FnMut($number) -> Option<$number>
                    ) -> Result<$number, $number>;
                    compare_exchange(
                        current: $number,
                        new: $number,
                        success: Ordering,
                        failure: Ordering
                    ) -> Result<$number, $number>;
                    compare_exchange_weak(
                        current: $number,
                        new: $number,
                        success: Ordering,
                        failure: Ordering
                    ) -> Result<$number, $number>;
                }
            }
        };
    }

    atomic!(AtomicU16, u16);
    atomic!(AtomicU32, u32);
    atomic!(AtomicU64, u64);
    atomic!(AtomicUsize, usize);
}

/// CPU 0 with tasks, as `sched::schedule` has it: the same steps under the same lock, on the
/// kernel's own queue.
pub mod sched {
    use super::{CpuId, IrqMasked, cpu};
    use crate::sched::rq::{RunQueue, Woken};
    use crate::sched::task::{TASK_NORMAL, Task, TaskState};
    use crate::sched::task_ref::TaskRef;
    use crate::sync::{Rank, SpinLock};
    use std::cell::RefCell;
    use std::sync::Arc;

    /// The CPU's queue.
    #[derive(Clone)]
    pub struct Cpu0(pub Arc<SpinLock<RunQueue>>);

    loom::thread_local! {
        static CPU0: RefCell<Option<(Cpu0, TaskRef)>> = RefCell::new(None);
        /// The task of a thread that looks again and again while it waits, as an idle thread does.
        static POLLS: RefCell<Option<TaskRef>> = RefCell::new(None);
    }

    /// Makes the calling thread a CPU's idle thread while `f` runs.
    pub fn as_idle<R>(task: TaskRef, f: impl FnOnce() -> R) -> R {
        POLLS.with(|polls| *polls.borrow_mut() = Some(task));
        let result = f();
        drop(POLLS.with(|polls| polls.borrow_mut().take()));
        result
    }

    fn polls() -> Option<TaskRef> {
        POLLS.with(|polls| polls.borrow().clone())
    }

    /// Lets the calling thread reach the CPU, as its task `task` or from another CPU as that.
    pub fn attach(cpu: Cpu0, task: TaskRef) {
        CPU0.with(|cpu0| *cpu0.borrow_mut() = Some((cpu, task)));
    }

    /// Takes [`attach`] back.
    pub fn detach() {
        let attached = CPU0.with(|cpu0| cpu0.borrow_mut().take());
        drop(attached);
    }

    fn attached() -> (Cpu0, TaskRef) {
        CPU0.with(|cpu0| cpu0.borrow().clone().expect("attached"))
    }

    fn with_queue<R>(f: impl FnOnce(&mut RunQueue) -> R) -> R {
        let irq = IrqMasked(());
        let cpu = attached().0;
        f(&mut cpu.0.lock(&irq))
    }

    /// The task that this thread is.
    pub fn current() -> TaskRef {
        polls().unwrap_or_else(|| attached().1)
    }

    pub fn set_current_state(state: TaskState) {
        drop(with_queue(|queue| queue.set_current_state(state)));
    }

    fn pick() {
        drop(with_queue(|queue| queue.pick().and_then(|tasks| tasks.gone)));
    }

    /// The task's last step on its CPU; then the idle task's rounds, until it is its turn.
    pub fn schedule() {
        let own = current();
        pick();
        let runs = |queue: &mut RunQueue| queue.current().is_some_and(|at| std::ptr::eq(at, &*own));
        while !with_queue(runs) {
            cpu::relax();
            pick();
        }
    }

    pub fn has_threads() -> bool {
        true
    }

    /// A task that is not the idle one may.
    pub fn may_sleep() -> bool {
        polls().is_none()
    }

    /// Does nothing: all code that is tried here may sleep.
    pub fn might_sleep() {}

    /// Lets other CPUs go on: this one has no other task.
    pub fn cond_resched() -> bool {
        assert!(polls().is_some(), "who may sleep does not poll");
        false
    }

    pub fn schedule_timeout(_: u64) -> u64 {
        unreachable!("nothing here waits for a time")
    }

    pub fn should_stop() -> bool {
        false
    }

    pub fn wake_up_state(task: &Task, states: u8, irq: &IrqMasked) -> bool {
        if polls().is_some() {
            return false;
        }
        assert!(task.cpu() == CpuId::BOOT && states == TASK_NORMAL);
        let cpu = attached().0;
        let mut queue = cpu.0.lock(irq);
        match queue.wake(task, states) {
            Woken::No => false,
            Woken::GoesOn(timed) => {
                assert!(timed.is_none());
                true
            }
            Woken::Ready(task) => {
                queue.enqueue(task);
                true
            }
        }
    }
}
