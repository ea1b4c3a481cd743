//! Walks the chain of frame records (AAPCS64 6.4.6): x29 points at the caller's
//! x29 and the return address. The kernel is built with frame pointers throughout.

use super::switch::{THREAD_ALIGN, THREAD_SIZE};
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
    /// Starts from the caller's own frame.
    #[inline(always)]
    #[must_use]
    pub fn here() -> Self {
        let fp: usize;
        // SAFETY: reads a register.
        unsafe { asm!("mov {}, x29", out(reg) fp, options(nomem, nostack, preserves_flags)) };
        Self::from_fp(fp)
    }

    /// Starts from the frame record at `fp`.
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
            || image::emergency_stack().contains(at)
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

/// The return addresses of the caller's callers, innermost first, as many as fit; says how
/// many. Trusts the chain no further than the stack that it is on, and so needs no help of
/// the MMU's. Any context (Linux: stack_trace_save).
#[inline(never)]
pub fn save_stack_trace(entries: &mut [usize]) -> usize {
    let fp: usize;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, x29", out(reg) fp, options(nomem, nostack, preserves_flags)) };
    let end = stack_end(VirtAddr::new(fp)).get();
    let (mut at, mut n, mut first) = (fp, 0, true);
    while n < entries.len() && at % 16 == 0 && at <= end - 16 {
        let record = core::ptr::with_exposed_provenance::<[usize; 2]>(at);
        // SAFETY: 16 aligned bytes of the stack that this runs on, above its own frame.
        let [next, lr] = unsafe { record.read_volatile() };
        if lr == 0 {
            break;
        }
        // The first record is this function's own.
        if !core::mem::take(&mut first) {
            entries[n] = lr;
            n += 1;
        }
        if next <= at {
            break;
        }
        at = next;
    }
    n
}

/// Returns the end of the stack that `at`, a place on it, is part of: a thread's or the boot
/// CPU's. All begin at multiples of [`THREAD_ALIGN`], and are smaller.
fn stack_end(at: VirtAddr) -> VirtAddr {
    let boot = image::boot_stack();
    if boot.contains(at) { boot.end() } else { at.align_down(THREAD_ALIGN) + THREAD_SIZE }
}

/// A place on the caller's stack: what it has there lies above.
#[inline(always)]
#[must_use]
pub fn stack_pointer() -> VirtAddr {
    let sp: usize;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, sp", out(reg) sp, options(nomem, nostack, preserves_flags)) };
    VirtAddr::new(sp)
}
