//! Pseudo-random numbers that repeat from run to run (Linux: lib/random32.c). Secrets come from
//! `crate::drivers::random`.
#![deny(unsafe_code)]

/// Numbers that repeat from run to run (xorshift64*).
pub struct Random(u64);

impl Random {
    /// A sequence of its own for each two seeds.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    /// A number below `limit`, which is not 0.
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        ((self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize) % limit
    }
}
