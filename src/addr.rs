//! Addresses, frame numbers, orders and ranges.
//!
//! Above this file no address is a bare integer. A [`PhysAddr`] names a byte of
//! physical memory, a [`VirtAddr`] a byte of the kernel's address space; neither
//! can be dereferenced, and neither converts into the other except through the
//! linear map (`arch::phys_to_virt`). A [`Pfn`] numbers a 4 KiB frame in 32 bits,
//! which reaches 16 TiB and makes a link between frames half the size of a pointer.
//!
//! Ranges are half open: `start..end`, and `start <= end` always holds.

use core::fmt;
use core::ops::{Add, Sub};

/// log2 of the page size: the 4 KiB granule (Arm ARM D8.2.3).
pub const PAGE_SHIFT: u32 = 12;
/// Bytes in a page and in a frame.
pub const PAGE_SIZE: usize = 1 << PAGE_SHIFT;
/// Bytes mapped by a level 2 block descriptor: 2 MiB.
pub const PMD_SIZE: usize = 1 << 21;
/// Bytes mapped by a level 1 block descriptor: 1 GiB.
pub const PUD_SIZE: usize = 1 << 30;
/// Bytes mapped by sixteen level 3 descriptors with the contiguous bit: 64 KiB.
pub const CONT_PTE_SIZE: usize = 16 * PAGE_SIZE;

/// The number of bits of a physical address that a [`Pfn`] can reach.
pub const PHYS_BITS: u32 = 32 + PAGE_SHIFT;

/// Rounds `value` down to a multiple of `align`, a power of two.
#[must_use]
pub const fn align_down(value: u64, align: u64) -> u64 {
    debug_assert!(align.is_power_of_two());
    value & !(align - 1)
}

/// Rounds `value` up to a multiple of `align`, a power of two; `None` past 2^64.
#[must_use]
pub const fn align_up(value: u64, align: u64) -> Option<u64> {
    debug_assert!(align.is_power_of_two());
    match value.checked_add(align - 1) {
        Some(v) => Some(v & !(align - 1)),
        None => None,
    }
}

macro_rules! address {
    ($(#[$doc:meta])* $name:ident, $int:ty) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        #[repr(transparent)]
        pub struct $name($int);

        impl $name {
            /// The address with this numeric value.
            #[must_use]
            pub const fn new(value: $int) -> Self {
                Self(value)
            }
            /// Returns the numeric value.
            #[must_use]
            pub const fn get(self) -> $int {
                self.0
            }
            /// Returns whether it is a multiple of `align` bytes, a power of two.
            #[must_use]
            pub const fn is_aligned(self, align: $int) -> bool {
                debug_assert!(align.is_power_of_two());
                self.0 & (align - 1) == 0
            }
            /// Rounded down to a multiple of `align` bytes, a power of two.
            #[must_use]
            pub const fn align_down(self, align: $int) -> Self {
                debug_assert!(align.is_power_of_two());
                Self(self.0 & !(align - 1))
            }
            /// Rounded up to a multiple of `align` bytes, a power of two; `None` past the top.
            #[must_use]
            pub const fn align_up(self, align: $int) -> Option<Self> {
                debug_assert!(align.is_power_of_two());
                match self.0.checked_add(align - 1) {
                    Some(v) => Some(Self(v & !(align - 1))),
                    None => None,
                }
            }
            /// `self + bytes`, or `None` past the top of the address space.
            #[must_use]
            pub const fn checked_add(self, bytes: $int) -> Option<Self> {
                match self.0.checked_add(bytes) {
                    Some(v) => Some(Self(v)),
                    None => None,
                }
            }
            /// `self + bytes`, held at the top of the address space.
            #[must_use]
            pub const fn saturating_add(self, bytes: $int) -> Self {
                Self(self.0.saturating_add(bytes))
            }
            /// The offset within the page of 4 KiB.
            #[must_use]
            pub const fn page_offset(self) -> usize {
                self.0 as usize & (PAGE_SIZE - 1)
            }
        }

        impl Add<$int> for $name {
            type Output = Self;
            fn add(self, bytes: $int) -> Self {
                Self(self.0 + bytes)
            }
        }
        impl Sub<$int> for $name {
            type Output = Self;
            fn sub(self, bytes: $int) -> Self {
                Self(self.0 - bytes)
            }
        }
        impl Sub for $name {
            type Output = $int;
            fn sub(self, other: Self) -> $int {
                self.0 - other.0
            }
        }
        impl fmt::LowerHex for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::LowerHex::fmt(&self.0, f)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:#x})"), self.0)
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:#x}", self.0)
            }
        }
    };
}

address!(
    /// A physical address, in bytes.
    PhysAddr,
    u64
);
address!(
    /// A virtual address of the kernel's half, in bytes.
    VirtAddr,
    usize
);

impl PhysAddr {
    /// The frame that holds this byte; `None` above 16 TiB.
    #[must_use]
    pub const fn pfn(self) -> Option<Pfn> {
        if self.0 < Pfn::LIMIT.phys().0 { Some(Pfn((self.0 >> PAGE_SHIFT) as u32)) } else { None }
    }
}

impl VirtAddr {
    /// The address of a pointer's target.
    #[must_use]
    pub fn from_ptr<T: ?Sized>(ptr: *const T) -> Self {
        Self(ptr.expose_provenance())
    }
}

/// A page frame number: a physical address divided by 4 KiB.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Pfn(u32);

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
        PhysAddr((self.0 as u64) << PAGE_SHIFT)
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
pub struct Order(u8);

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

macro_rules! range {
    ($(#[$doc:meta])* $name:ident, $at:ty, $len:ty) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash)]
        pub struct $name {
            start: $at,
            end: $at,
        }

        impl $name {
            /// `start..end`; empty at `start` if `end` lies below it.
            #[must_use]
            pub const fn new(start: $at, end: $at) -> Self {
                let end = if end.0 < start.0 { start } else { end };
                Self { start, end }
            }
            /// The first address in it.
            #[must_use]
            pub const fn start(self) -> $at {
                self.start
            }
            /// The first address after it.
            #[must_use]
            pub const fn end(self) -> $at {
                self.end
            }
            /// Returns the length.
            #[must_use]
            pub const fn len(self) -> $len {
                self.end.0 - self.start.0
            }
            /// Returns whether it holds nothing.
            #[must_use]
            pub const fn is_empty(self) -> bool {
                self.end.0 == self.start.0
            }
            /// Returns whether `at` lies in it.
            #[must_use]
            pub const fn contains(self, at: $at) -> bool {
                self.start.0 <= at.0 && at.0 < self.end.0
            }
            /// Returns whether all of `other` lies in it.
            #[must_use]
            pub const fn contains_range(self, other: Self) -> bool {
                self.start.0 <= other.start.0 && other.end.0 <= self.end.0
            }
            /// Returns the intersection, empty if the ranges are disjoint.
            #[must_use]
            pub const fn intersect(self, other: Self) -> Self {
                let start = if self.start.0 > other.start.0 { self.start } else { other.start };
                let end = if self.end.0 < other.end.0 { self.end } else { other.end };
                Self::new(start, end)
            }
            /// Returns whether something lies in both.
            #[must_use]
            pub const fn overlaps(self, other: Self) -> bool {
                !self.intersect(other).is_empty()
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "[{:#x}..{:#x})", self.start.0, self.end.0)
            }
        }
    };
}

range!(
    /// A half-open range of physical addresses, in bytes.
    PhysRange,
    PhysAddr,
    u64
);
range!(
    /// A half-open range of virtual addresses, in bytes.
    VirtRange,
    VirtAddr,
    usize
);
range!(
    /// A half-open range of frames.
    PfnRange,
    Pfn,
    u32
);

impl PhysRange {
    /// `size` bytes from `start`, cut at the top of the address space.
    #[must_use]
    pub const fn from_size(start: PhysAddr, size: u64) -> Self {
        Self::new(start, start.saturating_add(size))
    }
    /// The whole frames in it, cut at [`Pfn::LIMIT`].
    #[must_use]
    pub const fn whole_pages(self) -> PfnRange {
        let page = PAGE_SIZE as u64;
        let Some(start) = self.start.align_up(page) else {
            return PfnRange::new(Pfn::LIMIT, Pfn::LIMIT);
        };
        let (Some(start), end) = (start.pfn(), self.end.align_down(page)) else {
            return PfnRange::new(Pfn::LIMIT, Pfn::LIMIT);
        };
        match end.pfn() {
            Some(end) => PfnRange::new(start, end),
            None => PfnRange::new(start, Pfn::LIMIT),
        }
    }
}

impl VirtRange {
    /// `size` bytes from `start`, cut at the top of the address space.
    #[must_use]
    pub const fn from_size(start: VirtAddr, size: usize) -> Self {
        Self::new(start, start.saturating_add(size))
    }
}

impl PfnRange {
    /// The physical addresses of these frames.
    #[must_use]
    pub const fn phys(self) -> PhysRange {
        PhysRange::new(self.start.phys(), self.end.phys())
    }
    /// The frames, rising.
    pub fn iter(self) -> impl DoubleEndedIterator<Item = Pfn> {
        (self.start.0..self.end.0).map(Pfn)
    }
    /// Cuts the range into the fewest aligned blocks of orders up to `max`, rising:
    /// how memory is handed to a buddy allocator.
    pub fn blocks(self, max: Order) -> impl Iterator<Item = (Pfn, Order)> {
        let mut at = self.start;
        core::iter::from_fn(move || {
            let left = self.end.0 - at.0;
            if left == 0 {
                return None;
            }
            let fits = left.ilog2();
            let aligned = at.0.trailing_zeros();
            let order = Order(fits.min(aligned).min(u32::from(max.0)) as u8);
            let block = (at, order);
            at = at + order.pages();
            Some(block)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_for_bytes_is_get_order() {
        for (bytes, order) in
            [(0, 0), (1, 0), (4096, 0), (4097, 1), (8192, 1), (8193, 2), (4 << 20, 10)]
        {
            assert_eq!(Order::for_bytes(bytes), Order::new(order), "{bytes}");
        }
        assert_eq!(Order::for_bytes((4 << 20) + 1), None);
        assert_eq!(Order::for_bytes(usize::MAX), None);
    }

    #[test]
    fn whole_pages_cut_ragged_edges_and_the_top() {
        let r = |a, b| PhysRange::new(PhysAddr::new(a), PhysAddr::new(b)).whole_pages();
        assert_eq!(r(0x40000800, 0x40003800), PfnRange::new(Pfn::new(0x40001), Pfn::new(0x40003)));
        assert!(r(0x40000800, 0x40000900).is_empty());
        assert!(r(u64::MAX - 10, u64::MAX).is_empty());
        assert_eq!(r(0, u64::MAX).end(), Pfn::LIMIT);
        assert!(r(1 << 50, 1 << 51).is_empty());
    }

    #[test]
    fn blocks_tile_the_range() {
        for (start, end) in [(0u32, 4096u32), (3, 1029), (1023, 1025), (5, 5), (1, 9000)] {
            let mut at = start;
            for (pfn, order) in PfnRange::new(Pfn::new(start), Pfn::new(end)).blocks(Order::MAX) {
                assert_eq!(pfn.get(), at);
                assert!(pfn.is_aligned(order));
                at += order.pages();
            }
            assert_eq!(at, end);
        }
    }

    #[test]
    fn pfn_align_up_holds_at_the_limit() {
        assert_eq!(Pfn::new(1).align_up(Order::MAX), Pfn::new(1024));
        assert_eq!(Pfn::new(u32::MAX - 1).align_up(Order::MAX), Pfn::LIMIT);
    }
}
