//! Addresses of users: the lower half, which TTBR0_EL1 translates.

use super::PAGE_SIZE;
use core::fmt;

/// Number of bytes of a user's address space, and the first address past it: 48 bits (Linux:
/// TASK_SIZE_64).
pub const TASK_SIZE: usize = 1 << 48;

/// A virtual address of a user, in bytes: always below [`TASK_SIZE`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(transparent)]
pub struct UserAddr(usize);

impl UserAddr {
    /// The address with this numeric value; `None` from [`TASK_SIZE`] on.
    #[must_use]
    pub const fn new(value: usize) -> Option<Self> {
        if value < TASK_SIZE { Some(Self(value)) } else { None }
    }
    /// Returns the numeric value.
    #[must_use]
    pub const fn get(self) -> usize {
        self.0
    }
    /// Returns whether it is a multiple of `align` bytes, a power of two.
    #[must_use]
    pub const fn is_aligned(self, align: usize) -> bool {
        debug_assert!(align.is_power_of_two());
        self.0 & (align - 1) == 0
    }
    /// Rounded down to a multiple of `align` bytes, a power of two.
    #[must_use]
    pub const fn align_down(self, align: usize) -> Self {
        debug_assert!(align.is_power_of_two());
        Self(self.0 & !(align - 1))
    }
    /// `self + bytes`; `None` if that is no address of a user.
    #[must_use]
    pub const fn checked_add(self, bytes: usize) -> Option<Self> {
        match self.0.checked_add(bytes) {
            Some(value) => Self::new(value),
            None => None,
        }
    }
    /// The offset within the page of 4 KiB.
    #[must_use]
    pub const fn page_offset(self) -> usize {
        self.0 & (PAGE_SIZE - 1)
    }
}

impl fmt::LowerHex for UserAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::LowerHex::fmt(&self.0, f)
    }
}
impl fmt::Debug for UserAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UserAddr({:#x})", self.0)
    }
}
impl fmt::Display for UserAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// A half-open range of addresses of a user, in bytes. Its end may be [`TASK_SIZE`].
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct UserRange {
    start: UserAddr,
    len: usize,
}

impl UserRange {
    /// `bytes` bytes from `start`; `None` if they reach past [`TASK_SIZE`] (Linux: access_ok).
    #[must_use]
    pub const fn from_size(start: UserAddr, bytes: usize) -> Option<Self> {
        if bytes <= TASK_SIZE - start.0 { Some(Self { start, len: bytes }) } else { None }
    }
    /// The first address in it.
    #[must_use]
    pub const fn start(self) -> UserAddr {
        self.start
    }
    /// The numeric value of the first address after it, [`TASK_SIZE`] at the most.
    #[must_use]
    pub const fn end(self) -> usize {
        self.start.0 + self.len
    }
    /// Returns the length.
    #[must_use]
    pub const fn len(self) -> usize {
        self.len
    }
    /// Returns whether it holds nothing.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.len == 0
    }
    /// Returns whether `at` lies in it.
    #[must_use]
    pub const fn contains(self, at: UserAddr) -> bool {
        self.start.0 <= at.0 && at.0 < self.end()
    }
    /// Returns whether something lies in both.
    #[must_use]
    pub const fn overlaps(self, other: Self) -> bool {
        let start = if self.start.0 > other.start.0 { self.start.0 } else { other.start.0 };
        let end = if self.end() < other.end() { self.end() } else { other.end() };
        start < end
    }
}

impl fmt::Debug for UserRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{:#x}..{:#x})", self.start, self.end())
    }
}
