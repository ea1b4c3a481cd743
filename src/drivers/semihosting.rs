//! The semihosting host: QEMU or a debugger, asked by `hlt #0xf000`
//! (Arm, Semihosting for AArch32 and AArch64).
//!
//! Where nobody listens the instruction is undefined; the exception handler steps
//! over it and the call returns -1. [`present`] asks once and remembers.

use crate::sync::Once;
use core::ffi::CStr;
use semihosting::fd::{AsFd, OwnedFd};
use semihosting::sys::arm_compat::{
    ExitReason, OpenMode, sys_exit_extended, sys_open, sys_write_orig, sys_writec,
};

/// Whether a host answers. Any context once the vectors are the kernel's own.
pub fn present() -> bool {
    static PRESENT: Once<bool> = Once::new();
    *PRESENT.call_once(|| {
        let answer: isize;
        // SAFETY: SYS_ISERROR (8) with a parameter block of one word, 0: a host says
        // 0; without one the exception handler puts -1 in x0.
        unsafe {
            core::arch::asm!("hlt #0xf000", inout("x0") 8isize => answer,
                in("x1") &raw const ZERO, options(nostack));
        }
        answer == 0
    })
}

static ZERO: u64 = 0;

/// Writes bytes to the host's console, if there is a host.
pub fn write(bytes: &[u8]) {
    if present() {
        for &byte in bytes {
            sys_writec(byte);
        }
    }
}

/// Ends the machine with `code`; returns where no host is there.
pub fn exit(code: u8) {
    if present() {
        sys_exit_extended(ExitReason::ADP_Stopped_ApplicationExit, usize::from(code));
    }
}

/// A file of the host's, open for writing.
pub struct HostFile(OwnedFd);

impl HostFile {
    /// Creates the file, or empties it: `None` where there is no host, or it can't. A path of
    /// the host's, without NUL and of at most 255 bytes.
    #[must_use]
    pub fn create(path: &str) -> Option<Self> {
        let mut bytes = [0; 256];
        bytes.get_mut(..path.len())?.copy_from_slice(path.as_bytes());
        let path = CStr::from_bytes_until_nul(&bytes).ok()?;
        if !present() || path.is_empty() {
            return None;
        }
        sys_open(path, OpenMode::WRONLY_TRUNC_BINARY).ok().map(Self)
    }

    /// Writes all of `bytes`; whether that went well.
    #[must_use]
    pub fn write_all(&mut self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            // The call tells how much was not written.
            match sys_write_orig(self.0.as_fd(), bytes) {
                Ok(left) if left < bytes.len() => bytes = &bytes[bytes.len() - left..],
                _ => return false,
            }
        }
        true
    }
}
