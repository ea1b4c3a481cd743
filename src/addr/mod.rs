//! Addresses, frame numbers, orders and ranges.
//!
//! Above this file no address is a bare integer. A [`PhysAddr`] names a byte of
//! physical memory, a [`VirtAddr`] a byte of the kernel's address space; neither
//! can be dereferenced, and neither converts into the other except through the
//! linear map (`arch::phys_to_virt`). A [`UserAddr`] names a byte of a user's address space, an
//! [`Ipa`] one of a guest's physical memory; they convert into neither. A [`Pfn`] numbers a 4 KiB frame in 32 bits,
//! which reaches 16 TiB and makes a link between frames half the size of a pointer.
//!
//! Ranges are half open: `start..end`, and `start <= end` always holds.

mod address;
mod frame;
mod range;
mod user;

#[cfg(test)]
mod tests;

pub use address::{Ipa, PhysAddr, VirtAddr};
pub use frame::{Order, Pfn};
pub use range::{IpaRange, PfnRange, PhysRange, VirtRange};
pub use user::{TASK_SIZE, UserAddr, UserRange};

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
