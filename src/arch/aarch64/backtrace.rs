//! Walks the chain of frame records (AAPCS64 6.4.6): x29 points at the caller's
//! x29 and the return address. The kernel is built with frame pointers throughout.

use super::{image, probe};
use crate::addr::VirtAddr;
use crate::arch::irq::with_masked;
use crate::arch::layout;
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
        // Stacks are the image's or vmalloc's, whatever a broken chain says.
        let may_be_stack = image::boot_stack().contains(at)
            || image::emergency_stacks().contains(at)
            || layout::VMALLOC.contains(at);
        if self.left == 0 || !may_be_stack || !at.is_aligned(16) {
            return None;
        }
        self.left -= 1;
        let (fp, lr) =
            with_masked(|irq| Some((probe::read_u64(at, irq)?, probe::read_u64(at + 8, irq)?)))?;
        self.fp = fp as usize;
        if lr == 0 { None } else { Some(VirtAddr::new(lr as usize)) }
    }
}
