//! Cycle counts of the boot's steps.

use crate::arch::cpu;
use arrayvec::ArrayVec;

/// The steps so far. The counter was zero at the first instruction.
pub struct Steps {
    done: ArrayVec<(&'static str, u64), 16>,
    last: u64,
}

impl Steps {
    pub(super) fn start() -> Self {
        Self { done: ArrayVec::new(), last: 0 }
    }

    /// The step that began where the one before it ended is over.
    pub(super) fn done(&mut self, name: &'static str) {
        let now = cpu::cycles();
        // A name too many is a step that is not reported.
        let _ = self.done.try_push((name, now - self.last));
        self.last = cpu::cycles();
    }

    /// Each step's name and cycles, in order: instructions under `-icount shift=0`.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.done.iter().copied()
    }

    /// The same, the longest first.
    pub(super) fn longest(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let mut steps = self.done.clone();
        steps.sort_unstable_by_key(|&(_, cycles)| core::cmp::Reverse(cycles));
        steps.into_iter()
    }

    /// Cycles from the first instruction to the end of the step called `name`; `None` where
    /// there is no such step.
    #[must_use]
    pub fn until(&self, name: &str) -> Option<u64> {
        let last = self.done.iter().position(|step| step.0 == name)?;
        Some(self.done[..=last].iter().map(|step| step.1).sum())
    }

    /// Cycles from the first instruction to the end of the last step.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.done.iter().map(|step| step.1).sum()
    }
}
