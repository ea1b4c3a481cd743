//! The kernel's log, kept to be read again (Linux: printk's ring buffer, /dev/kmsg).
#![deny(unsafe_code)]

use core::sync::atomic::{AtomicU8, Ordering::Relaxed};

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

    /// The bytes from `from` on, as many as `into` takes; how many, and where to go on. What
    /// was overwritten meanwhile is left out.
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    fn all<const N: usize>(ring: &Ring<N>, end: usize, step: usize) -> Vec<u8> {
        let (mut at, mut text) = (ring.first(end), Vec::new());
        loop {
            let mut some = [0; 16];
            let (count, next) = ring.read(at, end, &mut some[..step]);
            if count == 0 {
                return text;
            }
            text.extend_from_slice(&some[..count]);
            at = next;
        }
    }

    #[test]
    fn a_line_that_is_cut_is_left_out() {
        let ring = Ring::<16>::new();
        let mut end = ring.write(0, b"one\ntwo\n");
        assert_eq!(all(&ring, end, 3), b"one\ntwo\n");
        end = ring.write(end, b"three\nfour\n");
        assert_eq!(all(&ring, end, 3), b"two\nthree\nfour\n");
        // Who reads while it is overwritten goes on with what is there.
        assert_eq!(ring.read(0, end, &mut [0; 2]), (2, 6));
    }

    proptest! {
        /// A reader gets the end of the log, as much as there is room for, from the start of a
        /// line.
        #[test]
        fn keeps_the_end(lines in prop::collection::vec("[a-z]{0,40}\n", 0..40), step in 1usize..16) {
            let ring = Ring::<64>::new();
            let (mut end, mut written) = (0, Vec::new());
            for line in &lines {
                end = ring.write(end, line.as_bytes());
                written.extend_from_slice(line.as_bytes());
            }
            let read = all(&ring, end, step);
            prop_assert!(written.ends_with(&read));
            if written.len() < 64 {
                prop_assert_eq!(read, written);
            } else {
                // A line more would not have had room, but for its own start.
                let before = &written[..written.len() - read.len()];
                let line = before[..before.len() - 1].iter().rposition(|&b| b == b'\n').map_or(0, |n| n + 1);
                prop_assert!(before.ends_with(b"\n") && written.len() - line >= 64);
            }
        }
    }
}
