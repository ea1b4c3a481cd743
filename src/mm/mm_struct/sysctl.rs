//! Numbers of `/proc/sys/vm` that limit address spaces.

use crate::addr::PAGE_SIZE;
use crate::machine_local;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Areas of an address space at most, by default (Linux: DEFAULT_MAX_MAP_COUNT).
pub const DEFAULT_MAX_MAP_COUNT: usize = 65530;

machine_local! {
    static MAX_MAP_COUNT: AtomicUsize = AtomicUsize::new(DEFAULT_MAX_MAP_COUNT);
    static MMAP_MIN_ADDR: AtomicUsize = AtomicUsize::new(32768);
    static STACK_GUARD_GAP: AtomicUsize = AtomicUsize::new(256 * PAGE_SIZE);
    static LEGACY_VA_LAYOUT: AtomicUsize = AtomicUsize::new(0);
}

/// Areas of an address space at most (Linux: max_map_count).
#[must_use]
#[inline]
pub fn max_map_count() -> usize {
    MAX_MAP_COUNT.load(Relaxed)
}

/// Sets [`max_map_count`].
pub fn set_max_map_count(count: usize) {
    MAX_MAP_COUNT.store(count, Relaxed);
}

/// Lowest address that a program may map without CAP_SYS_RAWIO, and that is chosen for one (Linux:
/// mmap_min_addr). Debian's on arm64 by default.
#[must_use]
#[inline]
pub fn mmap_min_addr() -> usize {
    MMAP_MIN_ADDR.load(Relaxed)
}

/// Sets [`mmap_min_addr`], rounded up to a page.
pub fn set_mmap_min_addr(at: usize) {
    MMAP_MIN_ADDR.store(at.next_multiple_of(PAGE_SIZE), Relaxed);
}

/// Bytes that stay free below a stack (Linux: stack_guard_gap).
#[must_use]
#[inline]
pub fn stack_guard_gap() -> usize {
    STACK_GUARD_GAP.load(Relaxed)
}

/// Sets [`stack_guard_gap`], in pages.
pub fn set_stack_guard_gap(pages: usize) {
    STACK_GUARD_GAP.store(pages.saturating_mul(PAGE_SIZE), Relaxed);
}

/// Returns whether mappings grow upwards in new address spaces (Linux: legacy_va_layout).
#[must_use]
pub fn legacy_va_layout() -> bool {
    LEGACY_VA_LAYOUT.load(Relaxed) != 0
}

/// Sets [`legacy_va_layout`].
pub fn set_legacy_va_layout(legacy: bool) {
    LEGACY_VA_LAYOUT.store(legacy.into(), Relaxed);
}
