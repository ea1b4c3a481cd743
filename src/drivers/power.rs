//! Power and reset without a firmware that is asked for them: the Raspberry Pi's watchdog
//! (Linux: drivers/watchdog/bcm2835_wdt.c).

use super::mmio::{Probe, ReadWrite, block};
use crate::addr::VirtAddr;
use tock_registers::interfaces::{ReadWriteable, Readable, Writeable};
use tock_registers::{register_bitfields, register_structs};

register_bitfields! { u32,
    PM_RSTC [
        /// Upper byte of each write.
        PASSWORD OFFSET(24) NUMBITS(8) [ Given = 0x5a ],
        /// Action of the watchdog when its time is up.
        WRCFG OFFSET(4) NUMBITS(2) [ FullReset = 2 ],
    ],
    PM_RSTS [
        PASSWORD OFFSET(24) NUMBITS(8) [ Given = 0x5a ],
        /// The partition that the firmware is to boot from, in every other bit.
        PARTITION OFFSET(0) NUMBITS(11) [],
    ],
    PM_WDOG [
        PASSWORD OFFSET(24) NUMBITS(8) [ Given = 0x5a ],
        /// Ticks of 1/65536 s until the time is up.
        TIME OFFSET(0) NUMBITS(20) [],
    ],
}

register_structs! {
    PowerManagement {
        (0x00 => _others),
        (0x1c => rstc: ReadWrite<u32, PM_RSTC::Register>),
        (0x20 => rsts: ReadWrite<u32, PM_RSTS::Register>),
        (0x24 => wdog: ReadWrite<u32, PM_WDOG::Register>),
        (0x28 => @END),
    }
}

/// Bytes of the registers used here.
pub const BYTES: u64 = size_of::<PowerManagement>() as u64;

/// The bits of `PM_RSTS::PARTITION`: partition 63, which has the firmware halt.
const PARTITION_HALT: u32 = 0x555;
/// Some ticks.
const SOON: u32 = 10;

/// The Pi's power management.
pub struct Bcm2835Pm(&'static PowerManagement);

impl Bcm2835Pm {
    /// Takes a device whose registers are mapped at `base`; `None` if nothing answers there.
    ///
    /// # Safety
    /// `base` is a mapping of [`BYTES`] of such registers as device memory that stays, and
    /// nothing else uses them.
    #[must_use]
    pub unsafe fn new(base: VirtAddr) -> Option<Self> {
        // SAFETY: as the caller says.
        let registers: &PowerManagement = unsafe { block(base)? };
        registers.rstc.probe()?;
        Some(Self(registers))
    }

    /// Resets the machine, a moment later.
    pub fn reset(&self) {
        self.0.wdog.write(PM_WDOG::PASSWORD::Given + PM_WDOG::TIME.val(SOON));
        self.0.rstc.modify(PM_RSTC::PASSWORD::Given + PM_RSTC::WRCFG::FullReset);
    }

    /// Resets the machine to a firmware that halts.
    pub fn halt(&self) {
        // The bits between those of the partition are others' and stay.
        let kept = self.0.rsts.get() | PARTITION_HALT;
        self.0.rsts.set(PM_RSTS::PASSWORD::Given.modify(kept));
        self.reset();
    }
}
