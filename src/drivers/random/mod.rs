//! The kernel's random number generator (Linux: drivers/char/random.c).
//!
//! ChaCha20 (RFC 8439) with fast key erasure: each block that is made is the next key and 32
//! bytes to give out, so nobody who reads the memory later learns what was given out before.
//! Seeds are what the boot loader left in the device tree, RNDR where the CPU has it, and the
//! time. Without the first two the numbers differ from boot to boot, but can be guessed.

#[cfg(target_os = "none")]
use crate::arch::clock;
#[cfg(target_os = "none")]
use crate::arch::irq;
#[cfg(target_os = "none")]
use crate::sync::{Rank, SpinLock};

#[cfg(test)]
mod tests;

/// Words of the key.
const KEY: usize = 8;
/// Bytes that are mixed in at a time, and that a block gives out.
const CHUNK: usize = KEY * 4;

/// The block function (RFC 8439, 2.3) with a counter of 0.
fn chacha20_block(key: &[u32; KEY], nonce: [u32; 3]) -> [u32; 16] {
    let mut start = [0; 16];
    start[..4].copy_from_slice(&[0x6170_7865, 0x3320_646e, 0x7962_2d32, 0x6b20_6574]);
    start[4..12].copy_from_slice(key);
    start[13..].copy_from_slice(&nonce);
    permute(start)
}

/// The quarter round (RFC 8439, 2.1), with indexes that the compiler knows.
#[inline(always)]
fn quarter_round<const A: usize, const B: usize, const C: usize, const D: usize>(
    state: &mut [u32; 16],
) {
    for [by_d, by_b] in [[16, 12], [8, 7]] {
        state[A] = state[A].wrapping_add(state[B]);
        state[D] = (state[D] ^ state[A]).rotate_left(by_d);
        state[C] = state[C].wrapping_add(state[D]);
        state[B] = (state[B] ^ state[C]).rotate_left(by_b);
    }
}

/// Twenty rounds, and the sum with the state before them.
fn permute(start: [u32; 16]) -> [u32; 16] {
    let mut state = start;
    for _ in 0..10 {
        quarter_round::<0, 4, 8, 12>(&mut state);
        quarter_round::<1, 5, 9, 13>(&mut state);
        quarter_round::<2, 6, 10, 14>(&mut state);
        quarter_round::<3, 7, 11, 15>(&mut state);
        quarter_round::<0, 5, 10, 15>(&mut state);
        quarter_round::<1, 6, 11, 12>(&mut state);
        quarter_round::<2, 7, 8, 13>(&mut state);
        quarter_round::<3, 4, 9, 14>(&mut state);
    }
    for (word, before) in state.iter_mut().zip(start) {
        *word = word.wrapping_add(before);
    }
    state
}

/// The generator's state.
struct Generator {
    key: [u32; KEY],
}

impl Generator {
    const fn new() -> Self {
        Self { key: [0; KEY] }
    }

    /// Mixes `seed` in: what is given out from here on depends on all of it, and on all that
    /// was mixed in before.
    fn mix(&mut self, seed: &[u8]) {
        for chunk in seed.chunks(CHUNK) {
            for (word, bytes) in self.key.iter_mut().zip(chunk.chunks(4)) {
                let mut whole = [0; 4];
                whole[..bytes.len()].copy_from_slice(bytes);
                *word ^= u32::from_le_bytes(whole);
            }
            // The length, so that zeros at the end count too.
            let block = chacha20_block(&self.key, [1, chunk.len() as u32, 0]);
            self.key.copy_from_slice(&block[..KEY]);
        }
    }

    /// 32 random bytes, as words.
    fn block(&mut self) -> [u32; KEY] {
        let block = chacha20_block(&self.key, [0; 3]);
        self.key.copy_from_slice(&block[..KEY]);
        core::array::from_fn(|n| block[KEY + n])
    }

    fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(CHUNK) {
            for (bytes, word) in chunk.chunks_mut(4).zip(self.block()) {
                bytes.copy_from_slice(&word.to_le_bytes()[..bytes.len()]);
            }
        }
    }
}

#[cfg(target_os = "none")]
static GENERATOR: SpinLock<Generator> = SpinLock::new(Rank::Random, Generator::new());

#[cfg(target_os = "none")]
fn with_generator<R>(f: impl FnOnce(&mut Generator) -> R) -> R {
    irq::with_masked(|irq| f(&mut GENERATOR.lock(irq)))
}

/// Mixes in random bytes that the boot loader left (Linux: add_bootloader_randomness). Any
/// context.
#[cfg(target_os = "none")]
pub fn add_bootloader_randomness(seed: &[u8]) {
    with_generator(|generator| generator.mix(seed));
}

/// Mixes in the time and, if the CPU has it, RNDR. Returns true if RNDR gave any bits. Any
/// context.
#[cfg(target_os = "none")]
pub fn add_cpu_randomness() -> bool {
    let mut words = [clock::counter(), 0, 0, 0];
    let mut given = 0;
    for word in &mut words[1..] {
        if let Some(random) = crate::arch::rndr::rndr() {
            *word = random;
            given += 1;
        }
    }
    let mut seed = [0; CHUNK];
    for (bytes, word) in seed.chunks_mut(8).zip(words) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    with_generator(|generator| generator.mix(&seed));
    given > 0
}

/// A random number. Any context.
#[cfg(target_os = "none")]
#[must_use]
pub fn get_random_u64() -> u64 {
    let mut bytes = [0; 8];
    get_random_bytes(&mut bytes);
    u64::from_le_bytes(bytes)
}

/// Fills `bytes` with random ones. Any context.
#[cfg(target_os = "none")]
pub fn get_random_bytes(bytes: &mut [u8]) {
    with_generator(|generator| generator.fill(bytes));
}
