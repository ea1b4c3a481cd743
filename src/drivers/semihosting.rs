//! The semihosting host: QEMU or a debugger, asked by `hlt #0xf000`
//! (Arm, Semihosting for AArch32 and AArch64).
//!
//! Where nobody listens the instruction is undefined; the exception handler steps
//! over it and the call returns -1. [`present`] asks once and remembers.

use crate::sync::Once;
use arrayvec::ArrayVec;
use core::ffi::CStr;
use core::fmt;
use semihosting::fd::{AsFd, OwnedFd};
use semihosting::sys;
use semihosting::sys::arm_compat::{ExitReason, OpenMode, sys_exit_extended, sys_open, sys_writec};

/// Returns whether a host answers. Any context once the vectors are the kernel's own.
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

/// Bytes of the longest path of a file of the host's.
const PATH_MAX: usize = 256;

/// A file of the host's that is being written. What was written last may be lost unless
/// [`finish`](Self::finish) says otherwise.
pub struct HostFile {
    fd: OwnedFd,
    /// Bytes not sent to the host yet: a request takes longer than writing some bytes.
    bytes: ArrayVec<u8, 1024>,
}

impl HostFile {
    /// Makes the file empty, or a new one; `None` where the host can't, or there is no host,
    /// or the path is too long.
    #[must_use]
    pub fn create(path: &str) -> Option<Self> {
        let mut text = ArrayVec::<u8, PATH_MAX>::new();
        text.try_extend_from_slice(path.as_bytes()).ok()?;
        text.try_push(0).ok()?;
        let path = CStr::from_bytes_with_nul(&text).ok()?;
        if !present() {
            return None;
        }
        let fd = sys_open(path, OpenMode::WRONLY_TRUNC_BINARY).ok()?;
        Some(Self { fd, bytes: ArrayVec::new() })
    }

    /// Writes `bytes`.
    ///
    /// # Errors
    /// Where the host does not take what was written so far.
    pub fn put(&mut self, bytes: &[u8]) -> fmt::Result {
        for chunk in bytes.chunks(256) {
            if self.bytes.try_extend_from_slice(chunk).is_err() {
                self.flush()?;
                self.bytes.extend(chunk.iter().copied());
            }
        }
        Ok(())
    }

    /// Closes the file. Returns true if the host has taken all of it.
    #[must_use]
    pub fn finish(mut self) -> bool {
        self.flush().is_ok()
    }

    fn flush(&mut self) -> fmt::Result {
        let mut rest = &self.bytes[..];
        while !rest.is_empty() {
            match sys::write(self.fd.as_fd(), rest) {
                Ok(written @ 1..) => rest = rest.get(written..).unwrap_or(&[]),
                _ => return Err(fmt::Error),
            }
        }
        self.bytes.clear();
        Ok(())
    }
}

impl fmt::Write for HostFile {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.put(text.as_bytes())
    }
}
