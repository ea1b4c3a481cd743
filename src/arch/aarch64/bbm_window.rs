//! Detection of spurious translation faults: a CPU that faults on the kernel's tables learns
//! whether the entry was only invalid between break and make (Linux:
//! is_spurious_el1_translation_fault). The program `loom` (examples/loom) tries it in every
//! order.

use crate::arch::atomic::{AtomicU32, Ordering, fence};
use crate::arch::cpu;

/// Break-before-make windows of the kernel's mappings, opened by one CPU at a time.
pub(super) struct BbmWindow {
    /// Number of breaks begun, and number of breaks over.
    counts: [AtomicU32; 2],
    /// CPU that is doing a break, plus 1; 0 for none.
    breaker: AtomicU32,
}

impl BbmWindow {
    /// Creates the state in which no break has begun.
    pub(super) const fn new() -> Self {
        Self { counts: [AtomicU32::new(0), AtomicU32::new(0)], breaker: AtomicU32::new(0) }
    }

    /// Notes that CPU number `cpu` is about to break a mapping.
    pub(super) fn begin(&self, cpu: u32) {
        self.breaker.store(cpu + 1, Ordering::Relaxed);
        self.counts[0].fetch_add(1, Ordering::AcqRel);
        // Seen by whoever sees what is written to the tables from here on.
        fence(Ordering::SeqCst);
    }

    /// Notes that everything is mapped again, and visible to walkers.
    pub(super) fn end(&self) {
        self.breaker.store(0, Ordering::Relaxed);
        self.counts[1].fetch_add(1, Ordering::Release);
    }

    /// Returns true if a translation fault that CPU number `cpu` took was spurious, so that the
    /// access can be retried. `is_mapped` asks the MMU, and is asked again while another CPU's
    /// break is under way. A fault taken by the CPU that is doing the break is never spurious.
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
