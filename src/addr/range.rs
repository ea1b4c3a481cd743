//! Half-open ranges of addresses and frames.

use super::{Ipa, Order, PAGE_SIZE, Pfn, PhysAddr, VirtAddr};
use core::fmt;

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
    /// A half-open range of intermediate physical addresses, in bytes.
    IpaRange,
    Ipa,
    u64
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

impl IpaRange {
    /// `size` bytes from `start`, cut at the top of the address space.
    #[must_use]
    pub const fn from_size(start: Ipa, size: u64) -> Self {
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
