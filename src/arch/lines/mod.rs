//! The blocks of memory that an instruction by address acts on: lines of a cache, blocks of
//! `DC ZVA`.
//!
//! The loops of both machines take their bounds from here, so that tests on a host hold those
//! of the loops that emulation does not punish for a line too few. Plain integers only, and
//! nothing that panics: the early boot uses it with the MMU off.
#![deny(unsafe_code)]

#[cfg(test)]
mod tests;

/// The lines that hold bytes of a range, from the lowest address up.
pub struct Lines {
    /// The address of the next line.
    at: usize,
    /// Number of lines left.
    left: usize,
    size: usize,
    start: usize,
    end: usize,
}

/// A line that holds bytes of the range.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Line {
    /// First byte, a multiple of the size of a line.
    pub at: usize,
    /// True if all its bytes are of the range.
    pub whole: bool,
}

impl Lines {
    /// Returns the lines of `start..end`, of `size` bytes, a power of two; none if `end` is not
    /// above `start`.
    #[inline(always)]
    #[must_use]
    pub const fn of(start: usize, end: usize, size: usize) -> Self {
        let last = size.wrapping_sub(1);
        let at = start & !last;
        let left = if end > start {
            (end.wrapping_sub(1).wrapping_sub(at) >> size.trailing_zeros()) + 1
        } else {
            0
        };
        Self { at, left, size, start, end }
    }
}

impl Iterator for Lines {
    type Item = Line;

    #[inline(always)]
    fn next(&mut self) -> Option<Line> {
        if self.left == 0 {
            return None;
        }
        let at = self.at;
        self.left = self.left.wrapping_sub(1);
        // The last line may be the last of the address space.
        self.at = at.wrapping_add(self.size);
        let last = at.wrapping_add(self.size.wrapping_sub(1));
        Some(Line { at, whole: at >= self.start && last < self.end })
    }
}
