//! Interrupt masking: a flag per thread, and interrupts that come while it is not set.
//!
//! A thread that runs under [`with_interrupts`] calls a handler at each point at which its CPU
//! could be interrupted and the emulated machine has a say: before interrupts are masked, after
//! they are let in again, and in each wait. The handler decides how often it does something.
//! Per-CPU data that is reached without the mask ends the test.
//!
//! Under [`with_rival`] another CPU takes its turn wherever this one is about to take a lock and
//! holds none.

use crate::arch::IrqMasked;
use std::cell::Cell;
use std::sync::{Mutex, PoisonError};

std::thread_local! {
    static MASKED: Cell<bool> = const { Cell::new(false) };
    static HANDLER: Cell<Option<&'static dyn Fn()>> = const { Cell::new(None) };
    static RIVAL: Cell<Option<&'static dyn Fn()>> = const { Cell::new(None) };
    /// Mutex that the threads of one CPU hold, one at a time, with interrupts masked.
    static TURN: Cell<Option<&'static Mutex<()>>> = const { Cell::new(None) };
}

/// Puts a flag back.
struct Restore(bool);

impl Drop for Restore {
    fn drop(&mut self) {
        MASKED.set(self.0);
    }
}

/// Runs `f` with interrupts masked on this CPU, and restores the mask afterwards.
pub fn with_masked<R>(f: impl FnOnce(&IrqMasked) -> R) -> R {
    if MASKED.get() {
        // SAFETY: the flag that stands for the mask is set, and stays so until whoever set it
        // drops its `_restore`, which is after `f`.
        return f(&unsafe { IrqMasked::assume() });
    }
    interrupt_point();
    let result = {
        let _turn = TURN.get().map(|turn| turn.lock().unwrap_or_else(PoisonError::into_inner));
        let _restore = Restore(MASKED.replace(true));
        // SAFETY: the flag that stands for the mask is set until `_restore` drops, after `f`.
        f(&unsafe { IrqMasked::assume() })
    };
    interrupt_point();
    result
}

/// Returns true if interrupts are masked on this CPU.
#[must_use]
pub fn is_masked() -> bool {
    MASKED.get()
}

/// Runs `f` on this CPU, and `handler` as an interrupt's, with interrupts masked, at each point
/// of it at which one may come. What the handler does is not interrupted.
pub fn with_interrupts<R>(handler: &dyn Fn(), f: impl FnOnce() -> R) -> R {
    // SAFETY: `f` ends before the borrow does, and `with_handler` takes the handler away then.
    let handler = unsafe { core::mem::transmute::<&dyn Fn(), &'static dyn Fn()>(handler) };
    with_handler(Some(handler), f)
}

/// Runs `f` on this CPU, and `rival` as another one, which calls [`Machine::on_cpu`], wherever
/// this one is about to take a lock and holds none. Nobody takes turns with what the rival does.
///
/// [`Machine::on_cpu`]: super::Machine::on_cpu
pub fn with_rival<R>(rival: &dyn Fn(), f: impl FnOnce() -> R) -> R {
    // SAFETY: `f` ends before the borrow does, and `_back` takes the rival away then.
    let rival = unsafe { core::mem::transmute::<&dyn Fn(), &'static dyn Fn()>(rival) };
    let _back = Back(&RIVAL, RIVAL.replace(Some(rival)));
    f()
}

/// A point at which other CPUs may take a lock before this one does.
pub(super) fn rival_point() {
    if let Some(rival) = RIVAL.get() {
        rival();
    }
}

type Place = std::thread::LocalKey<Cell<Option<&'static dyn Fn()>>>;

/// Puts what was called back.
struct Back(&'static Place, Option<&'static dyn Fn()>);

impl Drop for Back {
    fn drop(&mut self) {
        self.0.set(self.1);
    }
}

fn with_handler<R>(handler: Option<&'static dyn Fn()>, f: impl FnOnce() -> R) -> R {
    let _back = Back(&HANDLER, HANDLER.replace(handler));
    f()
}

/// A point at which this CPU may be interrupted, unless interrupts are masked.
pub(super) fn interrupt_point() {
    if MASKED.get() {
        return;
    }
    if let Some(handler) = HANDLER.get() {
        let _restore = Restore(MASKED.replace(true));
        handler();
    }
    if TURN.get().is_some() {
        // Another thread of the CPU may run.
        std::thread::yield_now();
    }
}

/// Runs `f` as another CPU does, which has a mask and interrupts of its own.
pub(super) fn as_another_cpu<R>(f: impl FnOnce() -> R) -> R {
    let _restore = Restore(MASKED.replace(false));
    let _back = Back(&RIVAL, RIVAL.replace(None));
    with_handler(None, f)
}

/// Runs `f` on a thread of a CPU that has several, which run one at a time with interrupts
/// masked: in `turn`.
pub(super) fn in_turn<R>(turn: &'static Mutex<()>, f: impl FnOnce() -> R) -> R {
    TURN.set(Some(turn));
    let result = f();
    TURN.set(None);
    result
}

/// Checks that nothing may interrupt this CPU, before its own data is reached.
#[track_caller]
pub(super) fn assert_masked() {
    assert!(MASKED.get(), "data of a CPU's own is reached with interrupts on");
}
