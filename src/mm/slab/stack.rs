//! Who called: the innermost return addresses (Linux: stack_trace_save).
//!
//! The one place that knows how a stack is kept: a depot of distinct stacks would come
//! here.
#![deny(unsafe_code)]

use super::memory::Slots;
use crate::addr::VirtAddr;
use crate::arch::Backtrace;
use crate::sync::Once;
use core::fmt;

/// Return addresses that are kept.
const DEPTH: usize = 8;

/// The innermost return addresses of a moment. The emulated machine has none.
#[derive(Clone, Copy)]
pub(super) struct StackTrace([usize; DEPTH]);

/// Writes the name of what an address of code lies in.
pub type Symbolizer = fn(VirtAddr, &mut fmt::Formatter<'_>) -> fmt::Result;

static SYMBOLIZER: Once<Symbolizer> = Once::new();

/// Says who knows the names of functions; without him reports have addresses alone.
pub fn set_symbolizer(symbolizer: Symbolizer) {
    SYMBOLIZER.call_once(|| symbolizer);
}

impl StackTrace {
    /// Words that it takes.
    pub const WORDS: usize = DEPTH;

    /// Of the caller's callers.
    #[inline(always)]
    pub fn capture() -> Self {
        let mut entries = [0; DEPTH];
        for (entry, at) in entries.iter_mut().zip(Backtrace::here()) {
            *entry = at.get();
        }
        Self(entries)
    }

    /// Puts it at offset `at` of an object.
    pub fn store(&self, slots: &Slots, index: u16, at: u32) {
        for (&entry, at) in self.0.iter().zip((at..).step_by(8)) {
            slots.set_word(index, at, entry as u64);
        }
    }

    /// What `store` put there.
    pub fn load(slots: &Slots, index: u16, at: u32) -> Self {
        let mut entries = [0; DEPTH];
        for (entry, at) in entries.iter_mut().zip((at..).step_by(8)) {
            *entry = slots.word(index, at) as usize;
        }
        Self(entries)
    }
}

impl fmt::Display for StackTrace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for at in self.0.iter().take_while(|&&at| at != 0).map(|&at| VirtAddr::new(at)) {
            write!(f, "  {at} ")?;
            if let Some(symbolize) = SYMBOLIZER.get() {
                symbolize(at, f)?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}
