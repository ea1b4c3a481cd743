//! Bytes of a user's memory.

use super::{Efault, copied, machine};
use crate::addr::{UserAddr, UserRange};

/// A range of bytes in a user's memory, with or without memory behind it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UserSlice(UserRange);

impl UserSlice {
    /// No bytes.
    pub const EMPTY: Self = match UserAddr::new(0) {
        Some(start) => match UserRange::from_size(start, 0) {
            Some(range) => Self(range),
            None => unreachable!(),
        },
        None => unreachable!(),
    };

    /// The bytes of a range.
    #[must_use]
    pub const fn new(range: UserRange) -> Self {
        Self(range)
    }

    /// `len` bytes from `start` on.
    ///
    /// # Errors
    /// [`Efault`] if they reach beyond the user's half (Linux: access_ok).
    pub fn from_size(start: UserAddr, len: usize) -> Result<Self, Efault> {
        UserRange::from_size(start, len).map(Self).ok_or(Efault { not_copied: len })
    }

    /// Number of bytes.
    #[must_use]
    pub const fn len(self) -> usize {
        self.0.len()
    }

    /// Returns true for no bytes.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// The first `n` bytes and the rest; `None` if there are fewer.
    #[must_use]
    pub fn split_at(self, n: usize) -> Option<(Self, Self)> {
        let rest = self.len().checked_sub(n)?;
        let first = UserRange::from_size(self.0.start(), n)?;
        // The rest of none may begin at the end of the user's half, which is no address.
        let rest = match self.0.start().checked_add(n) {
            Some(middle) => UserRange::from_size(middle, rest)?,
            None => UserRange::from_size(self.0.start(), 0)?,
        };
        Some((Self(first), Self(rest)))
    }

    /// Copies the bytes to `to` (Linux: copy_from_user). In case of an error `to` has all that could
    /// be read, and behind that what it had.
    ///
    /// # Errors
    /// [`Efault`]
    ///
    /// # Panics
    /// If `to` is of another length.
    pub fn copy_to(self, to: &mut [u8]) -> Result<(), Efault> {
        copied(machine::copy_from_user(to, self.0))
    }

    /// Fills the bytes from `from` (Linux: copy_to_user).
    ///
    /// # Errors
    /// [`Efault`]
    ///
    /// # Panics
    /// If `from` is of another length.
    pub fn copy_from(self, from: &[u8]) -> Result<(), Efault> {
        copied(machine::copy_to_user(self.0, from))
    }

    /// Fills the bytes with zeros (Linux: clear_user).
    ///
    /// # Errors
    /// [`Efault`]
    pub fn clear(self) -> Result<(), Efault> {
        copied(machine::clear_user(self.0))
    }

    /// Returns the number of bytes before the first zero, or of all if there is none (Linux:
    /// strnlen_user, which counts the zero).
    ///
    /// # Errors
    /// [`Efault`] if a byte up to there can't be read.
    pub fn strnlen(self) -> Result<usize, Efault> {
        let (start, len) = (self.0.start(), self.len());
        let mut n = 0;
        while n < len {
            let at = start.checked_add(n).ok_or(Efault { not_copied: len - n })?;
            // An aligned word is on one page: all of it can be read, or its first byte can't.
            let size = if at.is_aligned(8) && len - n >= 8 { 8 } else { 1 };
            let word = UserRange::from_size(at, size).and_then(machine::get_user);
            let word = word.ok_or(Efault { not_copied: len - n })?;
            let zero = word.to_le_bytes()[..size].iter().position(|&byte| byte == 0);
            if let Some(zero) = zero {
                return Ok(n + zero);
            }
            n += size;
        }
        Ok(len)
    }
}
