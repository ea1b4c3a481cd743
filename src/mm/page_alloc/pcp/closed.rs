//! Set of reasons that close a fast path, and the protocol by which what each CPU reads comes to
//! agree with it. Reasons are set and cleared on any CPU, and a CPU that updates the copies may
//! have seen an older set. The program `loom` (examples/loom) tries it in every order.

use crate::sync::atomic::{AtomicU32, Ordering, Ordering::Relaxed, fence};

/// Reasons, a bit for each.
pub(super) struct Closed(AtomicU32);

impl Closed {
    /// Creates a set without reasons.
    pub(super) const fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    /// Takes a reason away, or adds it. The caller then [updates](Self::update) what each CPU
    /// looks at.
    pub(super) fn set(&self, why: u32, open: bool) {
        match open {
            true => self.0.fetch_and(!why, Relaxed),
            false => self.0.fetch_or(why, Relaxed),
        };
        fence(Ordering::SeqCst);
    }

    /// Calls `apply` with whether the path is open, again until the answer no longer changes.
    pub(super) fn update(&self, mut apply: impl FnMut(bool)) {
        let mut is_open = self.0.load(Relaxed) == 0;
        loop {
            apply(is_open);
            // A CPU that changed the set meanwhile may have applied it before us: apply again.
            fence(Ordering::SeqCst);
            let was_open = is_open;
            is_open = self.0.load(Relaxed) == 0;
            if is_open == was_open {
                return;
            }
        }
    }
}
