//! GFP flags: what an allocation asks for and what it may do to get it
//! (Linux: include/linux/gfp_types.h).
//!
//! docs/gfp.md tells of each flag what shows its effect, and which of Linux's there are not.
#![deny(unsafe_code)]

use crate::mm::ids::{Migratetype, ZoneType};
use crate::sched::might_sleep_as;
use bitflags::bitflags;

bitflags! {
    /// Flags of a page allocation (Linux: gfp_t, include/linux/gfp_types.h).
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
    pub struct Gfp: u32 {
        // Zone modifiers: which zones will do.
        /// Memory that devices with the narrowest DMA limit reach (ZONE_DMA).
        const __GFP_DMA = 1 << 0;
        /// HIGHMEM does not exist on a 64-bit kernel; with `__GFP_MOVABLE` it selects ZONE_MOVABLE.
        const __GFP_HIGHMEM = 1 << 1;
        /// Memory below 4 GiB (ZONE_DMA32).
        const __GFP_DMA32 = 1 << 2;
        /// The pages can be moved or reclaimed: they lie in MOVABLE pageblocks and may borrow CMA.
        const __GFP_MOVABLE = 1 << 3;
        /// The pages can be reclaimed through a shrinker: they lie in RECLAIMABLE pageblocks.
        const __GFP_RECLAIMABLE = 1 << 4;

        // Watermark modifiers: how deep into the reserves it may reach.
        /// High priority: half of the min watermark may be used (`ALLOC_MIN_RESERVE`).
        const __GFP_HIGH = 1 << 5;
        /// The caller frees more than it takes: all reserves are open to it.
        const __GFP_MEMALLOC = 1 << 6;
        /// No reserves whatever else is asked for.
        const __GFP_NOMEMALLOC = 1 << 7;

        // Reclaim modifiers: what it may do when memory is short.
        /// May start physical input and output, through shrinkers that need to; may compact.
        const __GFP_IO = 1 << 8;
        /// May call into file systems, through shrinkers that need to.
        const __GFP_FS = 1 << 9;
        /// May reclaim itself, and so sleep.
        const __GFP_DIRECT_RECLAIM = 1 << 10;
        /// Wakes background reclaim when the low watermark is reached.
        const __GFP_KSWAPD_RECLAIM = 1 << 11;
        /// Fails rather than trying hard: one light attempt.
        const __GFP_NORETRY = 1 << 12;
        /// Tries hard, and may fail yet.
        const __GFP_RETRY_MAYFAIL = 1 << 13;
        /// Never fails: the caller can't go on without. Only with direct reclaim.
        const __GFP_NOFAIL = 1 << 14;

        // Action modifiers.
        /// Prints no report on failure.
        const __GFP_NOWARN = 1 << 15;
        /// A compound page: freed as a whole, its tails know their head.
        const __GFP_COMP = 1 << 16;
        /// Filled with zeros.
        const __GFP_ZERO = 1 << 17;
        /// Allocates from the preferred node, or fails.
        const __GFP_THISNODE = 1 << 18;
        /// Charged to a control group, of which there are none: the allocation is traced as
        /// accounted, and like any other.
        const __GFP_ACCOUNT = 1 << 19;
        /// Allocates from the thread's allowed nodes only (`mems_allowed_scope`).
        const __GFP_HARDWALL = 1 << 20;

        /// Any reclaim at all.
        const __GFP_RECLAIM = Self::__GFP_DIRECT_RECLAIM.bits() | Self::__GFP_KSWAPD_RECLAIM.bits();

        /// Can't sleep, may use reserves: interrupt handlers.
        const GFP_ATOMIC = Self::__GFP_HIGH.bits() | Self::__GFP_KSWAPD_RECLAIM.bits();
        /// The usual allocation of the kernel for itself.
        const GFP_KERNEL = Self::__GFP_RECLAIM.bits() | Self::__GFP_IO.bits() | Self::__GFP_FS.bits();
        /// Ordinary allocation of the kernel, charged to a control group.
        const GFP_KERNEL_ACCOUNT = Self::GFP_KERNEL.bits() | Self::__GFP_ACCOUNT.bits();
        /// Can't sleep, uses no reserves, fails silently.
        const GFP_NOWAIT = Self::__GFP_KSWAPD_RECLAIM.bits() | Self::__GFP_NOWARN.bits();
        /// May reclaim but start no input or output.
        const GFP_NOIO = Self::__GFP_RECLAIM.bits();
        /// May reclaim but call into no file system.
        const GFP_NOFS = Self::__GFP_RECLAIM.bits() | Self::__GFP_IO.bits();
        /// Allocation for user space, mapped or read by the kernel too.
        const GFP_USER = Self::GFP_KERNEL.bits() | Self::__GFP_HARDWALL.bits();
        /// Allocation from ZONE_DMA, with nothing else allowed.
        const GFP_DMA = Self::__GFP_DMA.bits();
        /// Allocation from ZONE_DMA32 or below, with nothing else allowed.
        const GFP_DMA32 = Self::__GFP_DMA32.bits();
        /// Allocation for user space; the kernel needs no permanent address of it.
        const GFP_HIGHUSER = Self::GFP_USER.bits() | Self::__GFP_HIGHMEM.bits();
        /// Movable allocation for user space.
        const GFP_HIGHUSER_MOVABLE = Self::GFP_HIGHUSER.bits() | Self::__GFP_MOVABLE.bits();
        /// A huge page, without trying hard.
        const GFP_TRANSHUGE_LIGHT = (Self::GFP_HIGHUSER_MOVABLE.bits() | Self::__GFP_COMP.bits()
            | Self::__GFP_NOMEMALLOC.bits() | Self::__GFP_NOWARN.bits()) & !Self::__GFP_RECLAIM.bits();
        /// A huge page.
        const GFP_TRANSHUGE = Self::GFP_TRANSHUGE_LIGHT.bits() | Self::__GFP_DIRECT_RECLAIM.bits();
    }
}

impl Gfp {
    /// Returns true if the caller may sleep (Linux: gfpflags_allow_blocking).
    #[must_use]
    pub const fn allows_blocking(self) -> bool {
        self.contains(Self::__GFP_DIRECT_RECLAIM)
    }

    /// The widest zone that will do (Linux: gfp_zone).
    #[inline]
    #[must_use]
    pub const fn zone(self) -> ZoneType {
        if self.contains(Self::__GFP_DMA) {
            ZoneType::Dma
        } else if self.contains(Self::__GFP_DMA32) {
            ZoneType::Dma32
        } else if self.contains(Self::__GFP_HIGHMEM) && self.contains(Self::__GFP_MOVABLE) {
            ZoneType::Movable
        } else {
            ZoneType::Normal
        }
    }

    /// Migratetype of the pageblocks that the pages belong in (Linux: gfp_migratetype).
    #[inline]
    #[must_use]
    pub const fn migratetype(self) -> Migratetype {
        if self.contains(Self::__GFP_RECLAIMABLE) {
            Migratetype::Reclaimable
        } else if self.contains(Self::__GFP_MOVABLE) {
            Migratetype::Movable
        } else {
            Migratetype::Unmovable
        }
    }
}

/// Says that an allocation with `gfp` comes, in builds with debug assertions (Linux:
/// might_alloc).
///
/// # Panics
/// Where it may sleep and its caller may not: in an interrupt handler, under a lock, or in a
/// section of RCU's readers.
#[inline(always)]
#[track_caller]
pub fn might_alloc(gfp: Gfp) {
    if cfg!(debug_assertions) && gfp.allows_blocking() {
        might_sleep_as(format_args!(
            "an allocation that may sleep ({gfp:?}), not GFP_ATOMIC or GFP_NOWAIT"
        ));
    }
}
