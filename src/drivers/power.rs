//! Power and reset without a firmware that is asked for them: the Raspberry Pi's watchdog
//! (Linux: drivers/watchdog/bcm2835_wdt.c).

use super::mmio::Registers;
use crate::addr::VirtAddr;

const PM_RSTC: usize = 0x1c;
const PM_RSTS: usize = 0x20;
const PM_WDOG: usize = 0x24;
/// Bytes of the registers used here.
pub const BYTES: u64 = 0x28;

/// Upper byte of each write.
const PM_PASSWORD: u32 = 0x5a << 24;
/// PM_RSTC: what the watchdog does when its time is up, and that it resets all.
const PM_RSTC_WRCFG_MASK: u32 = 3 << 4;
const PM_RSTC_WRCFG_FULL_RESET: u32 = 2 << 4;
/// PM_RSTS: the partition that the firmware is to boot from, in every other bit; 63 has it
/// halt.
const PM_RSTS_PARTITION_MASK: u32 = 0x555;
/// Some ticks of 1/65536 s.
const SOON: u32 = 10;

/// The Pi's power management.
pub struct Bcm2835Pm(Registers);

impl Bcm2835Pm {
    /// Takes a device whose registers are mapped at `base`; `None` if nothing answers there.
    ///
    /// # Safety
    /// `base` is a mapping of [`BYTES`] of such registers as device memory that stays, and
    /// nothing else uses them.
    #[must_use]
    pub unsafe fn new(base: VirtAddr) -> Option<Self> {
        // SAFETY: as the caller says.
        let registers = unsafe { Registers::new(base) };
        registers.probe(PM_RSTC)?;
        Some(Self(registers))
    }

    fn write(&self, offset: usize, value: u32) {
        self.0.write(offset, PM_PASSWORD | value);
    }

    /// Resets the machine, a moment later.
    pub fn reset(&self) {
        self.write(PM_WDOG, SOON);
        let kept = self.0.read(PM_RSTC) & !(0xff << 24 | PM_RSTC_WRCFG_MASK);
        self.write(PM_RSTC, kept | PM_RSTC_WRCFG_FULL_RESET);
    }

    /// Resets the machine to a firmware that halts.
    pub fn halt(&self) {
        let kept = self.0.read(PM_RSTS) & !(0xff << 24 | PM_RSTS_PARTITION_MASK);
        self.write(PM_RSTS, kept | PM_RSTS_PARTITION_MASK);
        self.reset();
    }
}
