//! Arithmetic of the counter that the clock is made of, for any values of it (Linux:
//! kernel/time/clocksource.c).
#![deny(unsafe_code)]

#[cfg(test)]
mod tests;

const NSEC_PER_SEC: u64 = 1_000_000_000;
const MULT_SHIFT: u32 = 32;

/// The one of two reads of the counter, one right after the other, that can be trusted.
///
/// On a Cortex-A73 a read that meets a change of bit 32 may have the upper half from after it
/// and the lower half from before it (erratum 858921). Where both reads agree in bit 32 the
/// second was no such read; where they don't, the first was not (Linux:
/// arm64_858921_read_cntvct_el0).
#[inline(always)]
#[must_use]
pub const fn settled(first: u64, second: u64) -> u64 {
    if (first ^ second) >> 32 & 1 != 0 { first } else { second }
}

/// Nanoseconds in a tick, times 2^32, at `hz` ticks in a second; 0 at 0.
#[must_use]
pub const fn mult(hz: u64) -> u64 {
    // `hz` is at least 1: the quotient is below 2^62.
    match (NSEC_PER_SEC << MULT_SHIFT).checked_div(hz) {
        Some(mult) => mult,
        None => 0,
    }
}

/// Nanoseconds in `ticks`, by [`mult`]; those of all 64 bits are cut at 2^64, 584 years.
#[inline(always)]
#[must_use]
pub const fn nanoseconds(ticks: u64, mult: u64) -> u64 {
    ((ticks as u128 * mult as u128) >> MULT_SHIFT) as u64
}

/// The fewest ticks in which as many nanoseconds as `ns` pass, by [`mult`]; at 0 ticks a second, more
/// than there are.
#[must_use]
pub const fn ticks(ns: u64, mult: u64) -> u64 {
    if mult == 0 {
        return u64::MAX;
    }
    let ticks = ((ns as u128) << MULT_SHIFT).div_ceil(mult as u128);
    if ticks > u64::MAX as u128 { u64::MAX } else { ticks as u64 }
}
