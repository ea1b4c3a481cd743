//! Frame numbers and orders.

use super::{PAGE_SHIFT, PAGE_SIZE, PhysAddr};
use core::fmt;
use core::ops::{Add, Sub};

/// A page frame number: a physical address divided by 4 KiB.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Pfn(pub(super) u32);

impl Pfn {
    /// The first frame number that is never used, a multiple of the largest
    /// order below 2^32: an exclusive end of a range fits, and so does a null link.
    pub const LIMIT: Self = Self(!(Order::MAX.pages() - 1));

    /// The frame of this number.
    #[must_use]
    pub const fn new(number: u32) -> Self {
        Self(number)
    }
    /// Returns the number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
    /// The physical address of its first byte.
    #[must_use]
    pub const fn phys(self) -> PhysAddr {
        PhysAddr::new((self.0 as u64) << PAGE_SHIFT)
    }
    /// Returns whether a block of `order` may start here.
    #[must_use]
    pub const fn is_aligned(self, order: Order) -> bool {
        self.0 & (order.pages() - 1) == 0
    }
    /// The start of the block of `order` that this frame lies in.
    #[must_use]
    pub const fn align_down(self, order: Order) -> Self {
        Self(self.0 & !(order.pages() - 1))
    }
    /// The first frame at or above this one where a block of `order` may start,
    /// held at [`Pfn::LIMIT`].
    #[must_use]
    pub const fn align_up(self, order: Order) -> Self {
        let mask = order.pages() - 1;
        match self.0.checked_add(mask) {
            Some(v) if v & !mask <= Self::LIMIT.0 => Self(v & !mask),
            _ => Self::LIMIT,
        }
    }
    /// The other half of the block of `order + 1` that the block at `self` belongs to.
    #[must_use]
    pub const fn buddy(self, order: Order) -> Self {
        Self(self.0 ^ order.pages())
    }
}

impl Add<u32> for Pfn {
    type Output = Self;
    fn add(self, frames: u32) -> Self {
        Self(self.0 + frames)
    }
}
impl Sub<u32> for Pfn {
    type Output = Self;
    fn sub(self, frames: u32) -> Self {
        Self(self.0 - frames)
    }
}
impl Sub for Pfn {
    type Output = u32;
    fn sub(self, other: Self) -> u32 {
        self.0 - other.0
    }
}
impl fmt::Debug for Pfn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pfn({:#x})", self.0)
    }
}
impl fmt::Display for Pfn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// log2 of a number of contiguous frames that are allocated as one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(transparent)]
pub struct Order(pub(super) u8);

impl Order {
    /// A single page.
    pub const ZERO: Self = Self(0);
    /// The largest block of the buddy allocator: 4 MiB (Linux: MAX_PAGE_ORDER).
    pub const MAX: Self = Self(10);
    /// A pageblock, the unit that has a migratetype: 2 MiB (Linux: pageblock_order).
    pub const PAGEBLOCK: Self = Self(9);
    /// The number of orders from 0 to [`Order::MAX`] (Linux: NR_PAGE_ORDERS).
    pub const COUNT: usize = Self::MAX.0 as usize + 1;

    /// Creates the order; `None` above [`Order::MAX`].
    #[must_use]
    pub const fn new(order: u8) -> Option<Self> {
        if order <= Self::MAX.0 { Some(Self(order)) } else { None }
    }
    /// The smallest order of at least `bytes` bytes; `None` above [`Order::MAX`]
    /// (Linux: get_order).
    #[must_use]
    pub const fn for_bytes(bytes: usize) -> Option<Self> {
        if bytes <= PAGE_SIZE {
            return Some(Self::ZERO);
        }
        let order = usize::BITS - ((bytes - 1) >> PAGE_SHIFT).leading_zeros();
        if order <= Self::MAX.0 as u32 { Some(Self(order as u8)) } else { None }
    }
    /// Returns the number, 0 to 10.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }
    /// Returns the number as an index into tables of [`Order::COUNT`] entries.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
    /// The number of frames of such a block.
    #[must_use]
    pub const fn pages(self) -> u32 {
        1 << self.0
    }
    /// The number of bytes of such a block.
    #[must_use]
    pub const fn bytes(self) -> usize {
        PAGE_SIZE << self.0
    }
    /// The next larger order; `None` after [`Order::MAX`].
    #[must_use]
    pub const fn up(self) -> Option<Self> {
        Self::new(self.0 + 1)
    }
    /// The next smaller order; `None` below zero.
    #[must_use]
    pub const fn down(self) -> Option<Self> {
        if self.0 > 0 { Some(Self(self.0 - 1)) } else { None }
    }
    /// All orders from `self` to [`Order::MAX`], rising.
    pub fn and_up(self) -> impl DoubleEndedIterator<Item = Self> {
        (self.0..=Self::MAX.0).map(Self)
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}
