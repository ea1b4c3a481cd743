//! Byte addresses, physical and virtual.

use super::{PAGE_SHIFT, PAGE_SIZE, Pfn};
use core::fmt;
use core::ops::{Add, Sub};

macro_rules! address {
    ($(#[$doc:meta])* $name:ident, $int:ty) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        #[repr(transparent)]
        pub struct $name(pub(super) $int);

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
address!(
    /// An intermediate physical address, in bytes: what a guest takes for a physical one.
    Ipa,
    u64
);

impl PhysAddr {
    /// The frame that holds this byte; `None` above 16 TiB.
    #[must_use]
    pub const fn pfn(self) -> Option<Pfn> {
        if self.0 < Pfn::LIMIT.phys().0 {
            Some(Pfn::new((self.0 >> PAGE_SHIFT) as u32))
        } else {
            None
        }
    }
}

impl VirtAddr {
    /// The address of a pointer's target.
    #[must_use]
    pub fn from_ptr<T: ?Sized>(ptr: *const T) -> Self {
        Self(ptr.expose_provenance())
    }
}
