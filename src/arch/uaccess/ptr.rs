//! Pointers to values in a user's memory.

use super::{Efault, FromBytes, IntoBytes, copied, machine};
use crate::addr::{UserAddr, UserRange};
use core::fmt;
use core::marker::PhantomData;

/// The address of a `T` in a user's memory (Linux: `T __user *`). Any address, with or without
/// memory, aligned or not.
pub struct UserPtr<T> {
    at: UserAddr,
    of: PhantomData<fn(T) -> T>,
}

impl<T> UserPtr<T> {
    /// The pointer to the value at `at`.
    #[must_use]
    pub const fn new(at: UserAddr) -> Self {
        Self { at, of: PhantomData }
    }

    /// The address.
    #[must_use]
    pub const fn addr(self) -> UserAddr {
        self.at
    }

    /// The pointer to element `n` of an array that begins here; `None` beyond the user's half.
    #[must_use]
    pub fn offset(self, n: usize) -> Option<Self> {
        Some(Self::new(self.at.checked_add(n.checked_mul(size_of::<T>())?)?))
    }

    fn range(self) -> Result<UserRange, Efault> {
        UserRange::from_size(self.at, size_of::<T>()).ok_or(Efault { not_copied: size_of::<T>() })
    }
}

impl<T: FromBytes> UserPtr<T> {
    /// Reads the value (Linux: get_user, copy_from_user).
    ///
    /// # Errors
    /// [`Efault`]
    #[inline]
    pub fn get(self) -> Result<T, Efault> {
        let range = self.range()?;
        T::read_with(|bytes| match bytes.len() {
            1 | 2 | 4 | 8 => {
                let value = machine::get_user(range).ok_or(Efault { not_copied: range.len() })?;
                bytes.copy_from_slice(&value.to_le_bytes()[..range.len()]);
                Ok(())
            }
            _ => copied(machine::copy_from_user(bytes, range)),
        })
    }
}

impl<T: IntoBytes> UserPtr<T> {
    /// Writes a value (Linux: put_user, copy_to_user).
    ///
    /// # Errors
    /// [`Efault`]
    #[inline]
    pub fn put(self, value: T) -> Result<(), Efault> {
        let range = self.range()?;
        value.with_bytes(|bytes| match bytes.len() {
            len @ (1 | 2 | 4 | 8) => {
                let mut word = [0; 8];
                word[..len].copy_from_slice(bytes);
                let done = machine::put_user(range, u64::from_le_bytes(word));
                copied(if done { 0 } else { len })
            }
            _ => copied(machine::copy_to_user(range, bytes)),
        })
    }
}

impl<T> Clone for UserPtr<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for UserPtr<T> {}

impl<T> PartialEq for UserPtr<T> {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}
impl<T> Eq for UserPtr<T> {}

impl<T> fmt::Debug for UserPtr<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UserPtr({})", self.at)
    }
}
