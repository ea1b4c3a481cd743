//! Walks the chain of frame records (AAPCS64 6.4.6): x29 points at the caller's
//! x29 and the return address. The kernel is built with frame pointers throughout.

use super::image;
use crate::addr::VirtAddr;
use core::arch::asm;

/// Return addresses, innermost first.
pub struct Backtrace {
    fp: usize,
    left: usize,
}

impl Backtrace {
    /// From the caller's own frame.
    #[inline(always)]
    #[must_use]
    pub fn here() -> Self {
        let fp: usize;
        // SAFETY: reads a register.
        unsafe { asm!("mov {}, x29", out(reg) fp, options(nomem, nostack, preserves_flags)) };
        Self::from_fp(fp)
    }

    /// From the frame record at `fp`.
    #[must_use]
    pub const fn from_fp(fp: usize) -> Self {
        Self { fp, left: 64 }
    }
}

impl Iterator for Backtrace {
    type Item = VirtAddr;

    fn next(&mut self) -> Option<VirtAddr> {
        let at = VirtAddr::new(self.fp);
        let on_stack = image::boot_stack().contains(at) || image::emergency_stacks().contains(at);
        if self.left == 0 || !on_stack || !at.is_aligned(16) {
            return None;
        }
        self.left -= 1;
        let record = core::ptr::with_exposed_provenance::<[usize; 2]>(self.fp);
        // SAFETY: 16 aligned bytes within a stack, which is always mapped.
        let [fp, lr] = unsafe { record.read() };
        self.fp = fp;
        if lr == 0 { None } else { Some(VirtAddr::new(lr)) }
    }
}
