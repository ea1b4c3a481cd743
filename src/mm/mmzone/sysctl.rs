//! Settings of watermarks and reserves, for each machine (Linux: vm.* of
//! Documentation/admin-guide/sysctl/vm.rst). `page_alloc` has the setters, which compute anew
//! whatever depends on them.

use super::MAX_NR_ZONES;
use crate::machine_local;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

machine_local! {
    /// The distance between watermarks, in fractions of 10000 of the zone.
    static WATERMARK_SCALE_FACTOR: AtomicU32 = AtomicU32::new(10);
    /// Boost of watermarks, in 10000ths of the high one.
    static WATERMARK_BOOST_FACTOR: AtomicU32 = AtomicU32::new(15_000);
    /// 1/n of the wider zones' pages are kept back in a zone, by its kind; 0 for none.
    static LOWMEM_RESERVE_RATIO: [AtomicU32; MAX_NR_ZONES] =
        [AtomicU32::new(256), AtomicU32::new(256), AtomicU32::new(32), AtomicU32::new(0)];
}

/// The distance between watermarks in 10000ths of a zone (Linux: vm.watermark_scale_factor).
#[must_use]
pub fn watermark_scale_factor() -> u32 {
    WATERMARK_SCALE_FACTOR.load(Relaxed)
}

/// Sets it, within Linux's bounds, 1 to 3000.
pub(in crate::mm) fn set_scale_factor(factor: u32) {
    WATERMARK_SCALE_FACTOR.store(factor.clamp(1, 3000), Relaxed);
}

/// Returns the boost of watermarks, in 10000ths of the high one; 0 for none (Linux:
/// vm.watermark_boost_factor).
#[must_use]
pub fn watermark_boost_factor() -> u32 {
    WATERMARK_BOOST_FACTOR.load(Relaxed)
}

/// Sets [`watermark_boost_factor`], from the next pageblock on that changes hands.
pub fn set_watermark_boost_factor(factor: u32) {
    WATERMARK_BOOST_FACTOR.store(factor, Relaxed);
}

/// 1/n of the wider zones' pages are kept back in a zone from allocations that could go
/// there, by the zone's kind; 0 for none (Linux: vm.lowmem_reserve_ratio).
#[must_use]
pub fn lowmem_reserve_ratio() -> [u32; MAX_NR_ZONES] {
    core::array::from_fn(|kind| LOWMEM_RESERVE_RATIO[kind].load(Relaxed))
}

/// Sets it.
pub(in crate::mm) fn set_reserve_ratio(ratio: [u32; MAX_NR_ZONES]) {
    for (own, ratio) in LOWMEM_RESERVE_RATIO.iter().zip(ratio) {
        own.store(ratio, Relaxed);
    }
}
