//! Why a way is closed, and how what CPUs look at comes to say so: reasons come and go on any
//! CPU, and whoever writes what a CPU looks at may have seen older ones. The program `loom`
//! (examples/loom) tries it in every order.

use crate::sync::atomic::{AtomicU32, Ordering, Ordering::Relaxed, fence};

/// Reasons, a bit for each.
pub(super) struct Closed(AtomicU32);

impl Closed {
    /// No reason.
    pub(super) const fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    /// Takes a reason away, or adds it. The caller then [settles](Self::settle) what each CPU
    /// looks at.
    pub(super) fn set(&self, why: u32, open: bool) {
        match open {
            true => self.0.fetch_and(!why, Relaxed),
            false => self.0.fetch_or(why, Relaxed),
        };
        fence(Ordering::SeqCst);
    }

    /// Calls `apply` with whether the way is open, until that is what holds.
    pub(super) fn settle(&self, mut apply: impl FnMut(bool)) {
        let mut is_open = self.0.load(Relaxed) == 0;
        loop {
            apply(is_open);
            // Who opened or closed it meanwhile may have been here before: what holds comes last.
            fence(Ordering::SeqCst);
            let was_open = is_open;
            is_open = self.0.load(Relaxed) == 0;
            if is_open == was_open {
                return;
            }
        }
    }
}
