//! Page tables that lie in the image.

use core::cell::UnsafeCell;

/// Table of the boot: a page of descriptors.
#[repr(C, align(4096))]
pub(super) struct BootTable(pub(super) UnsafeCell<[u64; 512]>);

// SAFETY: written by the boot CPU alone before others run; afterwards by `fixmap`
// under its own rules.
unsafe impl Sync for BootTable {}

impl BootTable {
    pub(super) const fn new() -> Self {
        Self(UnsafeCell::new([0; 512]))
    }
}
