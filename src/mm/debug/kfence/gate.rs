//! The gate through which one allocation in each interval goes to KFENCE (Linux:
//! kfence_allocation_gate). The program `loom` (examples/loom) tries it in every order.

use crate::sync::atomic::{AtomicU32, Ordering};

const CLOSED: u32 = 0;
/// Whoever opens it is about to take the key.
const OPENING: u32 = 1;
const OPEN: u32 = 2;

/// Open for one allocation at most. While it is open its key is taken, which leads allocations
/// here; whoever comes through gives the key back.
pub(super) struct Gate(AtomicU32);

impl Gate {
    /// A gate that is closed.
    pub(super) const fn new() -> Self {
        Self(AtomicU32::new(CLOSED))
    }

    /// Whether it is closed.
    pub(super) fn is_closed(&self) -> bool {
        self.0.load(Ordering::Relaxed) == CLOSED
    }

    /// Opens it if it is closed, and takes the key before.
    pub(super) fn open(&self, take_key: impl FnOnce()) {
        let closed = (CLOSED, OPENING);
        let relaxed = Ordering::Relaxed;
        if self.0.compare_exchange(closed.0, closed.1, relaxed, relaxed).is_ok() {
            take_key();
            self.0.store(OPEN, Ordering::Release);
        }
    }

    /// Whether it is open; that may be over by the next look.
    pub(super) fn is_open(&self) -> bool {
        self.0.load(Ordering::Relaxed) == OPEN
    }

    /// Goes through if it is open, and gives the key back; whether it did.
    pub(super) fn pass(&self, give_key_back: impl FnOnce()) -> bool {
        let through =
            self.0.compare_exchange(OPEN, CLOSED, Ordering::Acquire, Ordering::Relaxed).is_ok();
        if through {
            give_key_back();
        }
        through
    }
}
