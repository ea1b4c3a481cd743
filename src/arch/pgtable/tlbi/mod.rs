//! The operands of TLB invalidations by address (Arm ARM D8.17.5).
#![deny(unsafe_code)]

use crate::addr::{PAGE_SHIFT, UserAddr, VirtAddr};

#[cfg(test)]
mod tests;

/// The pages that the largest range operation covers: `(31 + 1) << (5 * 3 + 1)`.
pub const MAX_RANGE_PAGES: usize = 32 << 16;

/// Bits 43:0 of the operand of `TLBI VAAE1IS` and its kin: `VA[55:12]`, the rest zero.
#[must_use]
pub const fn va_operand(va: VirtAddr) -> u64 {
    (va.get() as u64) >> PAGE_SHIFT & ((1 << 44) - 1)
}

/// The operand of an invalidation of one address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VaOp(u64);

impl VaOp {
    /// The operand itself.
    #[inline(always)]
    #[must_use]
    pub const fn operand(self) -> u64 {
        self.0
    }
    /// Returns the operand of the address `bytes`, a number of whole pages, above, in the same
    /// half.
    #[inline(always)]
    #[must_use]
    pub const fn further(self, bytes: usize) -> Self {
        Self(self.0 + (bytes >> PAGE_SHIFT) as u64)
    }
}

impl VaOp {
    /// The operand of `TLBI VAE1IS` and its kin: an address of the user that has this ASID.
    #[inline(always)]
    #[must_use]
    pub const fn of_user(va: UserAddr, asid: u16) -> Self {
        Self(asid_operand(asid) | (va.get() as u64) >> PAGE_SHIFT)
    }
}

impl From<VirtAddr> for VaOp {
    #[inline(always)]
    fn from(va: VirtAddr) -> Self {
        Self(va_operand(va))
    }
}

/// Range of a range operation: `(NUM + 1) << (5 * SCALE + 1)` pages from `start`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RangeOp {
    /// Bits 36:0 and 63:48 of the operand.
    base: u64,
    scale: u8,
    num: u8,
}

impl RangeOp {
    /// The largest operation that starts at `start` and covers no more than `pages`;
    /// `None` where that is a single page, for which `TLBI VAAE1IS` serves, or nothing.
    #[must_use]
    pub const fn largest(start: VirtAddr, pages: usize) -> Option<Self> {
        Self::largest_from((start.get() as u64) >> PAGE_SHIFT & ((1 << 37) - 1), pages)
    }
    /// Variant of [`RangeOp::largest`] for `TLBI RVAE1IS` and its kin: addresses of the user that
    /// has this ASID.
    #[must_use]
    pub const fn largest_of_user(start: UserAddr, pages: usize, asid: u16) -> Option<Self> {
        Self::largest_from(asid_operand(asid) | (start.get() as u64) >> PAGE_SHIFT, pages)
    }
    const fn largest_from(base: u64, pages: usize) -> Option<Self> {
        let mut scale = 3;
        loop {
            let unit = 1 << (5 * scale + 1);
            if pages >= unit {
                let units = pages / unit;
                let num = if units > 32 { 31 } else { units - 1 };
                return Some(Self { base, scale: scale as u8, num: num as u8 });
            }
            if scale == 0 {
                return None;
            }
            scale -= 1;
        }
    }
    /// Returns the number of pages covered.
    #[must_use]
    pub const fn pages(self) -> usize {
        (self.num as usize + 1) << (5 * self.scale as usize + 1)
    }
    /// The operand: ASID (bits 63:48, of users), TG (47:46) 01 for 4 KiB, SCALE (45:44), NUM (43:39), no level
    /// hint (38:37), BaseADDR (36:0) `VA[48:12]`.
    #[must_use]
    pub const fn operand(self) -> u64 {
        0b01 << 46 | (self.scale as u64) << 44 | (self.num as u64) << 39 | self.base
    }
}

/// Bits 63:48 of the operand of an invalidation by ASID.
#[inline(always)]
#[must_use]
pub const fn asid_operand(asid: u16) -> u64 {
    (asid as u64) << 48
}

/// The ASID in an operand.
#[must_use]
pub const fn decode_asid(operand: u64) -> u16 {
    (operand >> 48) as u16
}

/// The address that [`va_operand`] was made from, its page offset left out.
#[must_use]
pub const fn decode_va(operand: u64) -> VirtAddr {
    sign_extend(operand << PAGE_SHIFT, 55)
}

/// The start and the pages of the [`RangeOp`] that the operand was made from.
#[must_use]
pub const fn decode_range(operand: u64) -> (VirtAddr, usize) {
    let (scale, num) = (operand >> 44 & 3, operand >> 39 & 31);
    let start = sign_extend((operand & ((1 << 37) - 1)) << PAGE_SHIFT, 48);
    (start, ((num + 1) << (5 * scale + 1)) as usize)
}

/// `va` with the bits above `top` like that one, which tells the half.
const fn sign_extend(va: u64, top: u32) -> VirtAddr {
    let unused = 63 - top;
    VirtAddr::new(((va << unused) as i64 >> unused) as usize)
}
