//! The lines that were typed before.
#![deny(unsafe_code)]

use super::line::Text;
use arrayvec::ArrayVec;

/// Lines that are remembered.
const LINES: usize = 16;

/// The last lines, oldest first, and where in them who looks through them is.
pub(super) struct History {
    lines: ArrayVec<Text, LINES>,
    /// The line that is shown; none while a line of its own is typed.
    at: Option<usize>,
    /// The line that was being typed when looking began.
    draft: Text,
}

impl History {
    pub const fn new() -> Self {
        Self { lines: ArrayVec::new_const(), at: None, draft: Text::new_const() }
    }

    /// Remembers a line, unless it is blank or the same as the last, and stops looking.
    pub fn add(&mut self, line: &Text) {
        self.leave();
        if line.trim().is_empty() || self.lines.last() == Some(line) {
            return;
        }
        if self.lines.is_full() {
            self.lines.remove(0);
        }
        self.lines.push(*line);
    }

    /// Stops looking.
    pub fn leave(&mut self) {
        self.at = None;
    }

    /// The line before; `current` is what stands there when looking begins.
    pub fn older(&mut self, current: &Text) -> Option<Text> {
        let before = self.at.unwrap_or(self.lines.len()).checked_sub(1)?;
        if self.at.is_none() {
            self.draft = *current;
        }
        self.at = Some(before);
        self.lines.get(before).copied()
    }

    /// The line after; after the last the one that was being typed.
    pub fn newer(&mut self) -> Option<Text> {
        let after = self.at? + 1;
        self.at = (after < self.lines.len()).then_some(after);
        Some(self.lines.get(after).copied().unwrap_or(self.draft))
    }
}
