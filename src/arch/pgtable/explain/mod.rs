//! A walk of the tables in words, for reports (Linux: show_pte, arch/arm64/mm/fault.c).
//!
//! [`Walk`] follows the tables as the hardware does, over words that it is handed: who
//! walks damaged tables decides which of them can be read. It knows nothing of the
//! kernel's own bookkeeping and trusts no word.
#![deny(unsafe_code)]

use super::descriptor::{
    AF, AP_EL0, AP_TABLE_NO_EL0, AP_TABLE_RDONLY, Descriptor, Kind, Level, NG, PXN_TABLE, SH_INNER,
    SH_OUTER, TableLimits, UXN, UXN_TABLE, VA_BITS,
};
use crate::addr::{PhysAddr, VirtAddr};
use core::fmt;

#[cfg(test)]
mod tests;

/// The address and the ASID and CnP bits around it in a TTBR.
const BADDR: u64 = 0x0000_ffff_ffff_f000;
/// TCR_EL1.TBI0 and TBI1: the top byte of an address is ignored.
const TBI: [u64; 2] = [1 << 37, 1 << 38];
/// TCR_EL1.EPD0 and EPD1: no walks.
const EPD: [u64; 2] = [1 << 7, 1 << 23];

/// The registers that say where a walk of the EL1&0 regime begins.
#[derive(Clone, Copy, Debug)]
pub struct Bases {
    /// TCR_EL1.
    pub tcr: u64,
    /// TTBR0_EL1.
    pub ttbr0: u64,
    /// TTBR1_EL1.
    pub ttbr1: u64,
}

/// Start of a walk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Start {
    /// Walk from the PGD of `TTBR0_EL1` (`false`) or `TTBR1_EL1` (`true`).
    Pgd(bool, PhysAddr),
    /// Nowhere: `TCR_EL1.EPD0` or `EPD1` forbids walks of that half.
    Off(bool),
    /// Nowhere: the address is in neither half.
    OutOfRange,
}

impl Bases {
    /// Returns the start of the walk of `va`: bit 55 chooses the half, the bits above those that
    /// are translated must repeat it, but for the top byte where it is ignored.
    #[must_use]
    pub const fn start(&self, va: VirtAddr) -> Start {
        let upper = va.get() >> 55 & 1 != 0;
        let ignored = if self.tcr & TBI[upper as usize] != 0 { 8 } else { 0 };
        let top = (va.get() as u64) << ignored >> (ignored + VA_BITS);
        let ones = u64::MAX >> (ignored + VA_BITS);
        if top != (if upper { ones } else { 0 }) {
            Start::OutOfRange
        } else if self.tcr & EPD[upper as usize] != 0 {
            Start::Off(upper)
        } else {
            Start::Pgd(upper, PhysAddr::new((if upper { self.ttbr1 } else { self.ttbr0 }) & BADDR))
        }
    }
}

impl fmt::Display for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Pgd(upper, pgd) => write!(f, "through TTBR{}_EL1, {pgd}", u8::from(upper)),
            Self::Off(upper) => {
                let n = u8::from(upper);
                write!(
                    f,
                    "none through TTBR{n}_EL1: TCR_EL1.EPD{n} is set, all of that half faults"
                )
            }
            Self::OutOfRange => f.write_str("none: the address is in neither half"),
        }
    }
}

/// Step of a walk at one level.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Step {
    /// The level of the table.
    pub level: Level,
    /// The number of the entry in its table.
    pub index: usize,
    /// Address of the entry.
    pub at: PhysAddr,
    /// The entry; `None` where it can't be read.
    pub descriptor: Option<Descriptor>,
    /// Limits that the tables above set.
    pub limits: TableLimits,
}

impl Step {
    /// Decodes the entry; `None` where it can't be read.
    #[must_use]
    pub fn kind(&self) -> Option<Kind> {
        self.descriptor.map(|d| d.kind(self.level))
    }
}

/// The levels of a walk, from the PGD down to where it ends: a leaf, an invalid entry,
/// or a table that can't be read.
pub struct Walk<R> {
    va: VirtAddr,
    next: Option<(Level, PhysAddr, TableLimits)>,
    read: R,
}

impl<R: FnMut(PhysAddr) -> Option<u64>> Walk<R> {
    /// The walk of `va` from the table at `pgd`. `read` reads a word, or says that there
    /// is none.
    pub fn new(pgd: PhysAddr, va: VirtAddr, read: R) -> Self {
        Self { va, next: Some((Level::Pgd, pgd, TableLimits::NONE)), read }
    }
}

impl<R: FnMut(PhysAddr) -> Option<u64>> Iterator for Walk<R> {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        let (level, table, limits) = self.next.take()?;
        let index = level.index(self.va);
        let at = table + (index * size_of::<u64>()) as u64;
        let descriptor = (self.read)(at).map(Descriptor::from_bits);
        let step = Step { level, index, at, descriptor, limits };
        if let (Some(Kind::Table(table)), Some(down)) = (step.kind(), level.down()) {
            let limits = descriptor.map_or(limits, |table| limits.and(table));
            self.next = Some((down, table, limits));
        }
        Some(step)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = ["PGD", "PUD", "PMD", "PTE"][self.level as usize];
        write!(f, "level {} ({name}) entry {:3} at {}: ", self.level as u8, self.index, self.at)?;
        let Some(descriptor) = self.descriptor else {
            return f.write_str("not in RAM that the kernel has mapped");
        };
        let bits = descriptor.bits();
        write!(f, "{bits:#018x} ")?;
        match descriptor.kind(self.level) {
            Kind::Invalid if descriptor.is_valid() => f.write_str("reserved, taken as invalid"),
            Kind::Invalid => f.write_str("invalid"),
            Kind::Table(pa) => {
                write!(f, "table {pa}")?;
                for (bit, limit) in [
                    (AP_TABLE_RDONLY, ", read-only below"),
                    (AP_TABLE_NO_EL0, ", closed to EL0"),
                    (PXN_TABLE, ", PXN"),
                    (UXN_TABLE, ", UXN"),
                ] {
                    if bits & bit != 0 {
                        f.write_str(limit)?;
                    }
                }
                Ok(())
            }
            Kind::Leaf(pa, own) => {
                // Rights are those that the tables above leave.
                let bits = self.limits.apply(bits);
                let attrs = own.limited(self.limits);
                let leaf = if self.level == Level::Pte { "page" } else { "block" };
                write!(f, "{leaf} {pa}, {:?}", attrs.memory())?;
                f.write_str(if attrs.is_writable() { ", read-write" } else { ", read-only" })?;
                if attrs.is_executable() {
                    f.write_str(", executable")?;
                }
                if bits & AP_EL0 != 0 {
                    f.write_str(", open to EL0")?;
                }
                if bits & UXN == 0 {
                    f.write_str(", executable at EL0")?;
                }
                f.write_str(match bits & SH_INNER {
                    0 => ", not shareable",
                    SH_INNER => ", inner shareable",
                    SH_OUTER => ", outer shareable",
                    _ => ", reserved shareability",
                })?;
                if bits & AF == 0 {
                    f.write_str(", access flag clear")?;
                }
                if bits & NG != 0 {
                    f.write_str(", not global")?;
                }
                if descriptor.is_contiguous() {
                    f.write_str(", contiguous")?;
                }
                if attrs.is_guarded() {
                    f.write_str(", guarded")?;
                }
                if attrs != own {
                    f.write_str(", limited by a table above")?;
                }
                Ok(())
            }
        }
    }
}
