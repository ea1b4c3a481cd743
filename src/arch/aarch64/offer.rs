//! The CPU number that a core is sent off with: the core claims it when it comes, or the boot
//! CPU withdraws it, which has waited long enough. One compare-exchange decides, so that nobody
//! else gets what a late core may still use. The program `loom` (examples/loom) tries it in
//! every order.

use crate::arch::atomic::{AtomicU32, Ordering};

/// State of a number for which no core was sent off.
const NONE: u32 = 0;
/// A core was sent off to come as this CPU.
const SENT: u32 = 1;
/// The core did not come in time: should it come, it parks.
const WITHDRAWN: u32 = 2;
/// The core has come.
const CLAIMED: u32 = 3;
/// The core is up.
const UP: u32 = 4;
/// The core lacks the requirement whose index is the number above this one, and has parked.
const LACKS: u32 = 5;

/// Progress of a core that was sent off.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Progress {
    /// The core was sent off, and has not come.
    Sent,
    /// The core has come, and will be up or refused.
    Claimed,
    /// The core is up.
    Up,
    /// The core lacks the requirement with this number.
    Lacks(usize),
    /// No core is expected: none was sent off, or the offer was withdrawn.
    NotExpected,
}

/// Offer of a CPU number to a core, and the core's answer.
pub(super) struct Offer(AtomicU32);

impl Offer {
    /// Creates an offer of a number that no core was given.
    pub(super) const fn new() -> Self {
        Self(AtomicU32::new(NONE))
    }

    /// Marks the number as the boot CPU's own.
    pub(super) fn is_own(&self) {
        self.0.store(UP, Ordering::Relaxed);
    }

    /// Notes that a core is sent off with the number. Returns true if it is the first to get it.
    /// Called by the boot CPU.
    #[must_use]
    pub(super) fn send(&self) -> bool {
        self.0.swap(SENT, Ordering::Relaxed) == NONE
    }

    /// Resets the offer after no core was sent off. Called by the boot CPU.
    pub(super) fn take_back(&self) {
        self.0.store(NONE, Ordering::Relaxed);
    }

    /// Withdraws the offer. Returns true if the core had not come by then. Called by the boot CPU.
    pub(super) fn withdraw(&self) -> bool {
        self.0.compare_exchange(SENT, WITHDRAWN, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Claims the number for the calling core. Returns false if the offer was withdrawn: the core
    /// must park.
    #[must_use]
    pub(super) fn claim(&self) -> bool {
        self.0.compare_exchange(SENT, CLAIMED, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Notes that the calling core, which claimed the number, lacks a requirement and parks.
    pub(super) fn lacks(&self, requirement: usize) {
        self.0.store(LACKS + requirement as u32, Ordering::Release);
    }

    /// Notes that the calling core, which claimed the number, is up.
    pub(super) fn came_up(&self) {
        self.0.store(UP, Ordering::Release);
    }

    /// Returns the core's progress.
    pub(super) fn progress(&self) -> Progress {
        match self.0.load(Ordering::Acquire) {
            SENT => Progress::Sent,
            CLAIMED => Progress::Claimed,
            UP => Progress::Up,
            lacks @ LACKS.. => Progress::Lacks((lacks - LACKS) as usize),
            _ => Progress::NotExpected,
        }
    }
}
