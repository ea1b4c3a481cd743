//! Flags and errors of kmem caches (Linux: include/linux/slab.h, SLAB_*).
#![deny(unsafe_code)]

use bitflags::bitflags;
use core::fmt;

bitflags! {
    /// Properties of a kmem cache beyond size and alignment (Linux: slab_flags_t).
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct SlabFlags: u32 {
        /// Objects start on cache lines, small ones on an even share of one.
        const HWCACHE_ALIGN = 1 << 0;
        /// Slabs come from ZONE_DMA.
        const CACHE_DMA = 1 << 1;
        /// Slabs come from memory below 4 GiB.
        const CACHE_DMA32 = 1 << 2;
        /// The objects can be reclaimed through a shrinker: slabs lie in RECLAIMABLE
        /// pageblocks, and count as SReclaimable.
        const RECLAIM_ACCOUNT = 1 << 3;
        /// The kernel can't go on without the cache: creating it panics where it fails.
        const PANIC = 1 << 4;
        /// Each object is handed out filled with zeros. Not with a constructor.
        const ZERO = 1 << 5;
        /// Pages of the cache's slabs are counted as charged to whoever allocates.
        const ACCOUNT = 1 << 6;
        /// The cache shares its slabs with no other cache.
        const NO_MERGE = 1 << 7;
        /// Each free is checked against the slab's freelist.
        const CONSISTENCY_CHECKS = 1 << 8;
        /// Guarded words lie round each object; writes past its ends are found.
        const RED_ZONE = 1 << 9;
        /// Free objects are filled with a pattern; writes after free are found.
        const POISON = 1 << 10;
        /// Records who last allocated and who last freed an object, beside it.
        const STORE_USER = 1 << 11;
        /// Each allocation and each free is logged, with its stack.
        const TRACE = 1 << 12;
        /// `failslab=` fails its allocations where it is told to fail no other cache's.
        const FAILSLAB = 1 << 13;
        /// A kmalloc class: the size that was asked for is kept where debugging needs it
        /// (Linux: SLAB_KMALLOC). The allocator's own; a user's is ignored.
        const KMALLOC = 1 << 14;
        /// Memory of an object that was freed stays memory of the same cache until an RCU
        /// grace period has passed (Linux: SLAB_TYPESAFE_BY_RCU): a reader that found the
        /// object before may still read it, as another object of this cache perhaps.
        const TYPESAFE_BY_RCU = 1 << 15;

        /// Flags that are stored beside or in an object (Linux: DEBUG_METADATA_FLAGS).
        const DEBUG_METADATA = Self::RED_ZONE.bits() | Self::POISON.bits()
            | Self::STORE_USER.bits();
        /// Flags of `slab_debug` without letters (Linux: DEBUG_DEFAULT_FLAGS).
        const DEBUG_DEFAULT = Self::DEBUG_METADATA.bits() | Self::CONSISTENCY_CHECKS.bits();
        /// Flags that make every operation go through the slab itself, without sheaves.
        const DEBUG = Self::DEBUG_DEFAULT.bits() | Self::TRACE.bits();
        /// A cache with one of these is never merged (Linux: SLAB_NEVER_MERGE).
        const NEVER_MERGE = Self::DEBUG.bits() | Self::FAILSLAB.bits()
            | Self::NO_MERGE.bits() | Self::ZERO.bits() | Self::TYPESAFE_BY_RCU.bits();
        /// Flags in which caches that are merged must agree (Linux: SLAB_MERGE_SAME).
        const MERGE_SAME = Self::CACHE_DMA.bits() | Self::CACHE_DMA32.bits()
            | Self::RECLAIM_ACCOUNT.bits() | Self::ACCOUNT.bits();
    }
}

/// There is no memory for what was asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AllocError;

impl fmt::Display for AllocError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("out of memory")
    }
}

impl core::error::Error for AllocError {}

/// Reason why a cache was not created.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CreateError {
    /// The size is zero, or no block of the page allocator holds such an object.
    Size,
    /// The alignment is no power of two, or above both a page and the object's size.
    Align,
    /// `ZERO` and a constructor: each would undo the other's work.
    Flags,
    /// No memory for the cache itself.
    NoMemory,
}

impl fmt::Display for CreateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Size => "object size out of range",
            Self::Align => "alignment is no power of two up to a page or the object's size",
            Self::Flags => "a constructor's work can't be filled with zeros",
            Self::NoMemory => "out of memory",
        })
    }
}

impl core::error::Error for CreateError {}

/// Reason why a cache was not destroyed; it stays usable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DestroyError {
    /// So many of its objects are still allocated.
    Live(usize),
    /// The cache is one of those that the allocator itself uses.
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

impl core::error::Error for DestroyError {}
