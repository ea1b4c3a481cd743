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
    static HELD: Cell<u32> = Cell::new(0);
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
    pub fn held_ranks<R>(_: &IrqMasked, f: impl FnOnce(&Cell<u32>) -> R) -> R {
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

/// CPU 0 with threads, as `sched::schedule` has it: the same steps under the same lock, on the
/// kernel's own queue.
pub mod sched {
    use super::{CpuId, IrqMasked, cpu};
    use crate::sched::rq::RunQueue;
    use crate::sched::task::{Slot, TASK_NORMAL, TaskState};
    use crate::sync::{Rank, SpinLock};
    use std::cell::RefCell;
    use std::sync::Arc;

    /// The CPU's queue, and the thread that this one is.
    #[derive(Clone)]
    pub struct Cpu0(pub Arc<SpinLock<RunQueue>>);

    loom::thread_local! {
        static CPU0: RefCell<Option<(Cpu0, Option<Slot>)>> = RefCell::new(None);
    }

    /// Lets the calling thread reach the CPU, as its thread `slot` or from elsewhere.
    pub fn attach(cpu: Cpu0, slot: Option<Slot>) {
        CPU0.with(|cpu0| *cpu0.borrow_mut() = Some((cpu, slot)));
    }

    fn cpu0() -> (Cpu0, Option<Slot>) {
        CPU0.with(|cpu0| cpu0.borrow().clone().expect("attached"))
    }

    fn with_queue<R>(f: impl FnOnce(&mut RunQueue) -> R) -> R {
        let irq = IrqMasked(());
        f(&mut cpu0().0.0.lock(&irq))
    }

    /// The thread that this one is, and its generation.
    pub fn own() -> Option<(Slot, u32)> {
        let slot = cpu0().1?;
        Some((slot, with_queue(|queue| queue.generation(slot))))
    }

    pub fn set_current_state(state: TaskState) {
        with_queue(|queue| queue.set_current_state(state));
    }

    /// The thread's last step on its CPU; then the idle thread's rounds, until it is its turn.
    pub fn schedule() {
        let own = cpu0().1.expect("a thread of the CPU");
        with_queue(|queue| queue.pick());
        while with_queue(|queue| queue.current() != own) {
            cpu::relax();
            with_queue(|queue| queue.pick());
        }
    }

    /// A thread that is not the idle one may.
    pub fn may_sleep() -> bool {
        true
    }

    pub fn cond_resched() -> bool {
        unreachable!("who may sleep does not poll")
    }

    pub fn schedule_timeout(_: u64) -> u64 {
        unreachable!("nothing here waits for a time")
    }

    pub fn should_stop() -> bool {
        false
    }

    pub fn wake_slot(cpu: CpuId, slot: Slot, states: u8, irq: &IrqMasked) {
        assert!(cpu == CpuId::BOOT && states == TASK_NORMAL);
        let cpu0 = cpu0().0;
        let mut queue = cpu0.0.lock(irq);
        let generation = queue.generation(slot);
        queue.wake(slot, generation, states);
    }
}
