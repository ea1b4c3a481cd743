//! The part of a task that `arch` uses (Linux: struct thread_info and struct thread_struct,
//! arch/arm64/include/asm/thread_info.h, processor.h).
//!
//! It lies at the beginning of a task, so that the address of a task, which SP_EL0 holds at EL1, is
//! that of its `ThreadInfo` too.

#[cfg(target_os = "none")]
use super::fpsimd::FpsimdThread;
#[cfg(target_os = "none")]
use super::tls::TlsRegs;
use bitflags::bitflags;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

bitflags! {
    /// Work that a task has to do on its way back to EL0 (Linux: _TIF_WORK_MASK).
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct ThreadFlags: u32 {
        /// Another task is to run first (TIF_NEED_RESCHED).
        const NEED_RESCHED = 1 << 1;
        /// The FP and SIMD registers don't hold what the task has in them (TIF_FOREIGN_FPSTATE).
        const FOREIGN_FPSTATE = 1 << 3;
    }
}

/// The part of a task that `arch` uses.
#[repr(C)]
pub struct ThreadInfo {
    flags: AtomicU32,
    #[cfg(target_os = "none")]
    pub(in crate::arch) tls: TlsRegs,
    #[cfg(target_os = "none")]
    pub(in crate::arch) fpsimd: FpsimdThread,
}

impl ThreadInfo {
    /// Creates that of a task that has not been at EL0.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            flags: AtomicU32::new(0),
            #[cfg(target_os = "none")]
            tls: TlsRegs::new(),
            #[cfg(target_os = "none")]
            fpsimd: FpsimdThread::new(),
        }
    }

    /// Returns the work that is to be done on the way back to EL0 (Linux: read_thread_flags).
    #[inline(always)]
    #[must_use]
    pub fn flags(&self) -> ThreadFlags {
        ThreadFlags::from_bits_retain(self.flags.load(Relaxed))
    }
    /// Adds work. Any CPU (Linux: set_ti_thread_flag).
    pub fn set_thread_flag(&self, flags: ThreadFlags) {
        self.flags.fetch_or(flags.bits(), Relaxed);
    }
    /// Takes work away (Linux: clear_ti_thread_flag).
    pub fn clear_thread_flag(&self, flags: ThreadFlags) {
        self.flags.fetch_and(!flags.bits(), Relaxed);
    }
}

impl Default for ThreadInfo {
    fn default() -> Self {
        Self::new()
    }
}
