//! The gate through which one allocation in each interval goes to KFENCE (Linux:
//! kfence_allocation_gate). The program `loom` (examples/loom) tries it in every order.

use crate::sync::atomic::{AtomicU32, Ordering};

const CLOSED: u32 = 0;
/// The gate is being opened: its key is about to be turned on.
const OPENING: u32 = 1;
const OPEN: u32 = 2;

/// Gate that is open for one allocation at most. While it is open its static key is on, which
/// leads allocations here; the one that passes turns the key off.
pub(super) struct Gate(AtomicU32);

impl Gate {
    /// Creates a closed gate.
    pub(super) const fn new() -> Self {
        Self(AtomicU32::new(CLOSED))
    }

    /// Returns true if the gate is closed.
    pub(super) fn is_closed(&self) -> bool {
        self.0.load(Ordering::Relaxed) == CLOSED
    }

    /// Opens the gate if it is closed, and turns its key on before.
    pub(super) fn open(&self, take_key: impl FnOnce()) {
        let closed = (CLOSED, OPENING);
        let relaxed = Ordering::Relaxed;
        if self.0.compare_exchange(closed.0, closed.1, relaxed, relaxed).is_ok() {
            take_key();
            self.0.store(OPEN, Ordering::Release);
        }
    }

    /// Returns true if the gate is open. The answer may be out of date at once.
    pub(super) fn is_open(&self) -> bool {
        self.0.load(Ordering::Relaxed) == OPEN
    }

    /// Passes the gate if it is open: closes it, and turns its key off. Returns true if it passed.
    pub(super) fn pass(&self, give_key_back: impl FnOnce()) -> bool {
        let through =
            self.0.compare_exchange(OPEN, CLOSED, Ordering::Acquire, Ordering::Relaxed).is_ok();
        if through {
            give_key_back();
        }
        through
    }
}
