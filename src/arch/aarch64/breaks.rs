//! How a CPU that faults on the kernel's tables comes to know that a translation was lacking for
//! a moment, between break and make (Linux: is_spurious_el1_translation_fault). The program
//! `loom` (examples/loom) tries it in every order.

use crate::arch::atomic::{AtomicU32, Ordering, fence};
use crate::arch::cpu;

/// Breaks of the kernel's mappings, by one CPU at a time.
pub(super) struct Breaks {
    /// How many there were, and how many of these are over.
    counts: [AtomicU32; 2],
    /// The CPU that is at one, plus 1; 0 for none.
    breaker: AtomicU32,
}

impl Breaks {
    /// None.
    pub(super) const fn new() -> Self {
        Self { counts: [AtomicU32::new(0), AtomicU32::new(0)], breaker: AtomicU32::new(0) }
    }

    /// CPU number `cpu` is about to break a mapping.
    pub(super) fn breaks(&self, cpu: u32) {
        self.breaker.store(cpu + 1, Ordering::Relaxed);
        self.counts[0].fetch_add(1, Ordering::AcqRel);
        // Seen by whoever sees what is written to the tables from here on.
        fence(Ordering::SeqCst);
    }

    /// All is mapped again, and visible to walkers.
    pub(super) fn made(&self) {
        self.breaker.store(0, Ordering::Relaxed);
        self.counts[1].fetch_add(1, Ordering::Release);
    }

    /// Whether a translation fault that CPU number `cpu` took was of a moment: `is_mapped` asks
    /// the MMU, and is asked again while something is broken. A fault of the CPU that breaks is
    /// none of these.
    pub(super) fn is_spurious_fault(&self, cpu: u32, mut is_mapped: impl FnMut() -> bool) -> bool {
        loop {
            let began = self.counts[0].load(Ordering::Acquire);
            let quiet = self.counts[1].load(Ordering::Acquire) == began;
            if is_mapped() {
                return true;
            }
            fence(Ordering::SeqCst);
            if self.breaker.load(Ordering::Relaxed) == cpu + 1 {
                return false;
            }
            if quiet && self.counts[0].load(Ordering::Acquire) == began {
                return false;
            }
            cpu::relax();
        }
    }
}
