//! Flags and errors of kmem caches (Linux: include/linux/slab.h, SLAB_*).
#![deny(unsafe_code)]

use bitflags::bitflags;
use core::fmt;

bitflags! {
    /// What a kmem cache asks for beyond size and alignment.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct SlabFlags: u32 {
        /// Objects start on cache lines, small ones on an even share of one.
        const HWCACHE_ALIGN = 1 << 0;
        /// Slabs come from ZONE_DMA.
        const CACHE_DMA = 1 << 1;
        /// Slabs come from memory below 4 GiB.
        const CACHE_DMA32 = 1 << 2;
        /// The objects can be reclaimed through a shrinker: slabs lie in RECLAIMABLE pageblocks.
        const RECLAIM_ACCOUNT = 1 << 3;
        /// Each free is checked against the slab's freelist.
        const CONSISTENCY_CHECKS = 1 << 8;
        /// A guarded word follows each object; writes past its end are found.
        const RED_ZONE = 1 << 9;
        /// Free objects are filled with a pattern; writes after free are found.
        const POISON = 1 << 10;

        /// Flags that make every operation go through the slab itself, without sheaves.
        const DEBUG = Self::CONSISTENCY_CHECKS.bits() | Self::RED_ZONE.bits()
            | Self::POISON.bits();
    }
}

/// Why a cache was not created.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CreateError {
    /// The size is zero, or no block of the page allocator holds such an object.
    Size,
    /// The alignment is no power of two, or above a page.
    Align,
    /// No memory for the cache itself.
    NoMemory,
}

impl fmt::Display for CreateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Size => "object size out of range",
            Self::Align => "alignment is no power of two up to a page",
            Self::NoMemory => "out of memory",
        })
    }
}

/// Why a cache was not destroyed; it stays usable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DestroyError {
    /// So many of its objects are still allocated.
    Live(usize),
    /// It is one of the caches that the allocator itself lives on.
    Permanent,
}

impl fmt::Display for DestroyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Live(n) => write!(f, "{n} objects are still allocated"),
            Self::Permanent => f.write_str("the allocator itself uses it"),
        }
    }
}
