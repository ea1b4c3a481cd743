//! Names of what each CPU has one of.
#![deny(unsafe_code)]

use crate::arch::NR_CPUS;

#[cfg(test)]
mod tests;

/// Names of `N` things, a prefix and a number from 0 on, of at most `LEN` bytes each.
pub struct Names<const LEN: usize, const N: usize = NR_CPUS>([Name<LEN>; N]);

#[derive(Clone, Copy)]
struct Name<const LEN: usize> {
    bytes: [u8; LEN],
    len: u8,
}

impl<const LEN: usize, const N: usize> Names<LEN, N> {
    /// Creates the names.
    ///
    /// # Panics
    /// One is longer than `LEN`: in a constant, an error when it is compiled.
    #[must_use]
    pub const fn new(prefix: &str) -> Self {
        let mut names = [Name { bytes: [0; LEN], len: 0 }; N];
        let mut n = 0;
        while n < N {
            names[n] = Name::new(prefix.as_bytes(), n);
            n += 1;
        }
        Self(names)
    }

    /// The name of number `n`.
    pub fn get(&self, n: usize) -> Option<&str> {
        let name = self.0.get(n)?;
        core::str::from_utf8(name.bytes.get(..name.len.into())?).ok()
    }
}

impl<const LEN: usize> Name<LEN> {
    const fn new(prefix: &[u8], n: usize) -> Self {
        let digits = match n.checked_ilog10() {
            Some(log) => log as usize + 1,
            None => 1,
        };
        let len = prefix.len() + digits;
        assert!(len <= LEN, "a name is too long");
        let (mut bytes, mut at, mut rest) = ([0; LEN], 0, n);
        while at < prefix.len() {
            bytes[at] = prefix[at];
            at += 1;
        }
        at = len;
        while at > prefix.len() {
            at -= 1;
            bytes[at] = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        Self { bytes, len: len as u8 }
    }
}
