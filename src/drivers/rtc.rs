//! Real-time clock: the PL031 (Arm DDI 0224; Linux: drivers/rtc/rtc-pl031.c).

use super::mmio::{Probe, ReadOnly, ReadWrite, block};
use super::primecell::is_primecell;
use crate::addr::VirtAddr;
use tock_registers::interfaces::{Readable, Writeable};
use tock_registers::{register_bitfields, register_structs};

register_bitfields! { u32,
    RTCCR [
        /// The clock runs. Once set it stays, until a reset.
        EN OFFSET(0) NUMBITS(1) [],
    ],
}

register_structs! {
    Pl031Registers {
        /// Seconds.
        (0x00 => dr: ReadOnly<u32>),
        (0x04 => _match_and_load),
        (0x0c => cr: ReadWrite<u32, RTCCR::Register>),
        (0x10 => @END),
    }
}

/// Part number of a PL031.
const PART: u32 = 0x031;

/// Bytes of the registers, with their identification.
pub const BYTES: u64 = 4096;

/// A PL031.
pub struct Pl031(&'static Pl031Registers);

impl Pl031 {
    /// Takes the device whose registers are mapped at `base` and starts its clock, if it does not
    /// run; `None` if no PL031 answers there.
    ///
    /// # Safety
    /// `base` is a mapping of [`BYTES`] of such registers as device memory that stays, and
    /// nothing else uses them.
    #[must_use]
    pub unsafe fn new(base: VirtAddr) -> Option<Self> {
        // SAFETY: as the caller says.
        if !unsafe { is_primecell(base, PART) } {
            return None;
        }
        // SAFETY: as the caller says.
        let registers: &Pl031Registers = unsafe { block(base)? };
        registers.dr.probe()?;
        if !registers.cr.is_set(RTCCR::EN) {
            registers.cr.write(RTCCR::EN::SET);
        }
        Some(Self(registers))
    }

    /// Seconds since 1970, as the clock was set by whom it was set.
    #[must_use]
    pub fn seconds(&self) -> u32 {
        self.0.dr.get()
    }
}
