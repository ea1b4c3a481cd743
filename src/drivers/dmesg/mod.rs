//! The kernel's log, kept to be read again (Linux: printk's ring buffer, /dev/kmsg).
#![deny(unsafe_code)]

use core::sync::atomic::{AtomicU8, Ordering::Relaxed};

#[cfg(test)]
mod tests;

/// Bytes that are kept, a power of two.
const KEPT: usize = 16 << 10;

/// A ring of bytes: the last of what was written. Atomics, so that a static one needs no
/// place in the image; who writes holds the console's lock.
pub(super) struct Ring<const N: usize = KEPT> {
    bytes: [AtomicU8; N],
}

impl<const N: usize> Ring<N> {
    pub const fn new() -> Self {
        Self { bytes: [const { AtomicU8::new(0) }; N] }
    }

    /// Writes `bytes` behind the `end` that were written before; the end then.
    pub fn write(&self, end: usize, bytes: &[u8]) -> usize {
        for (n, &byte) in bytes.iter().enumerate() {
            self.bytes[end.wrapping_add(n) % N].store(byte, Relaxed);
        }
        end.wrapping_add(bytes.len())
    }

    /// Returns where reading can begin, of the `end` bytes that were written: at the start of
    /// the first line that is there as a whole.
    pub fn first(&self, end: usize) -> usize {
        if end < N {
            return 0;
        }
        let mut at = end - N;
        while at < end && self.at(at) != b'\n' {
            at += 1;
        }
        (at + 1).min(end)
    }

    /// Copies the bytes from `from` on, as many as `into` takes. Returns their number, and where
    /// to go on. Bytes that were overwritten meanwhile are left out.
    pub fn read(&self, from: usize, end: usize, into: &mut [u8]) -> (usize, usize) {
        let from = if end.saturating_sub(from) > N { self.first(end) } else { from };
        let count = end.saturating_sub(from).min(into.len());
        for (n, byte) in into[..count].iter_mut().enumerate() {
            *byte = self.at(from + n);
        }
        (count, from + count)
    }

    fn at(&self, n: usize) -> u8 {
        self.bytes[n % N].load(Relaxed)
    }
}
