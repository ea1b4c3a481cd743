//! Access to a user's memory (Linux: include/linux/uaccess.h).
//!
//! [`UserPtr`] and [`UserSlice`] are addresses that nothing can dereference: their methods copy,
//! with the user's rights, and say [`Efault`] where the user has none. Types that are copied as a
//! whole are [`FromBytes`], as a user may write any bytes, and [`IntoBytes`], so that no byte of
//! the kernel's gets out in their padding; [`user_struct!`](crate::user_struct) declares such ones.
//!
//! [`IoSink`] and [`IoSource`] are buffers of users or of the kernel, for reads and writes of files.
//!
//! All of it may fault, and sleep while a page is brought in.
#![deny(unsafe_code)]

mod bytes;
mod iov_iter;
mod ptr;
mod slice;
#[cfg(test)]
mod tests;

#[cfg(target_os = "none")]
use super::aarch64::uaccess as machine;
#[cfg(not(target_os = "none"))]
use super::hosted::uaccess as machine;

pub use bytes::{FromBytes, IntoBytes};
pub use iov_iter::{IoSink, IoSource, KernelSink, UserBuffers};
pub use ptr::UserPtr;
pub use slice::UserSlice;

/// A user's memory could not be read or written (Linux: -EFAULT).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Efault {
    /// The bytes that were not copied, exactly: all before them were.
    pub not_copied: usize,
}

impl From<Efault> for crate::errno::Errno {
    fn from(_: Efault) -> Self {
        Self::EFAULT
    }
}

/// The result of a copy that left out `not_copied` bytes.
const fn copied(not_copied: usize) -> Result<(), Efault> {
    if not_copied == 0 { Ok(()) } else { Err(Efault { not_copied }) }
}
