//! Data-cache maintenance by virtual address (Arm ARM D7.5.9).
//!
//! Used where somebody who does not share our caches looks at memory: the table
//! walker and our own loads before the MMU is on, other cores that wait with
//! their caches off, devices.

use super::errata;
use crate::arch::errata::Workarounds;
use core::arch::asm;

/// The smallest line of any data cache, in bytes (CTR_EL0.DminLine).
#[inline(always)]
#[must_use]
pub fn line_size() -> usize {
    let ctr: u64;
    // SAFETY: reads an ID register.
    unsafe { asm!("mrs {}, ctr_el0", out(reg) ctr, options(nomem, nostack, preserves_flags)) };
    4 << ((ctr >> 16) & 0xf)
}

/// Discards what the caches hold of `start..end`, without writing it back: for
/// memory that was written with the MMU off. Begins with `dmb sy`, which such writes
/// need to come before (Linux: preserve_boot_args), and ends with `dsb sy`.
///
/// # Safety
/// Lines that reach beyond the range are lost too: both ends are aligned to lines,
/// or nothing in the lines at the edges is dirty. Nothing in the range that
/// matters is dirty in a cache.
#[inline(always)]
pub unsafe fn invalidate_poc(start: usize, end: usize) {
    let line = line_size();
    let mut at = start & !(line - 1);
    // SAFETY: a barrier.
    unsafe { asm!("dmb sy", options(nostack, preserves_flags)) };
    while at < end {
        // SAFETY: the caller owns the range.
        unsafe { asm!("dc ivac, {}", in(reg) at, options(nostack, preserves_flags)) };
        at += line;
    }
    // SAFETY: a barrier.
    unsafe { asm!("dsb sy", options(nostack, preserves_flags)) };
}

/// Writes back what the caches hold of `start..end` to the point of coherency.
/// Ends with `dsb sy`.
///
/// # Safety
/// The range is mapped.
pub unsafe fn clean_poc(start: usize, end: usize) {
    let line = line_size();
    let invalidate_too = errata::workarounds().contains(Workarounds::CLEAN_INVALIDATE);
    let mut at = start & !(line - 1);
    while at < end {
        // SAFETY: neither changes a byte; the caller says that it is mapped.
        unsafe {
            if invalidate_too {
                asm!("dc civac, {}", in(reg) at, options(nostack, preserves_flags));
            } else {
                asm!("dc cvac, {}", in(reg) at, options(nostack, preserves_flags));
            }
        }
        at += line;
    }
    // SAFETY: a barrier.
    unsafe { asm!("dsb sy", options(nostack, preserves_flags)) };
}
