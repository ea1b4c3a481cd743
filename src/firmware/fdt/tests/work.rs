//! Counts steps of reading, so that a test can tell work that grows with a tree from
//! work that explodes, on a machine of any speed.

use std::cell::Cell;

std::thread_local! {
    static STEPS: Cell<u64> = const { Cell::new(0) };
}

/// A token, or an entry of a list, was looked at.
pub(crate) fn step() {
    STEPS.with(|steps| steps.set(steps.get() + 1));
}

/// Counts the steps that `f` makes on this thread; returns its result too.
pub(crate) fn steps_of<R>(f: impl FnOnce() -> R) -> (u64, R) {
    let before = STEPS.with(Cell::get);
    let result = f();
    (STEPS.with(Cell::get) - before, result)
}
