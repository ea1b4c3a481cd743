//! UARTs, transmit side: PL011 and the Raspberry Pi's mini UART.
//!
//! The line's speed and format are what the firmware set.

use super::mmio::Registers;
use crate::addr::VirtAddr;
use crate::arch::aarch64::extable::probe_read32;

/// A UART that can send.
pub struct Uart {
    kind: &'static Kind,
    registers: Registers,
}

/// Where a UART has what sending needs.
struct Kind {
    /// The data register: what is written is sent.
    data: usize,
    /// The status register.
    status: usize,
    /// What of the status, with the bits of `inverted` turned over, says that there is no
    /// room for a byte.
    full: u32,
    /// And that one is still on its way.
    busy: u32,
    inverted: u32,
}

/// `arm,pl011` (Arm DDI 0183): UARTDR, UARTFR.TXFF, UARTFR.BUSY.
static PL011: Kind = Kind { data: 0x00, status: 0x18, full: 1 << 5, busy: 1 << 3, inverted: 0 };

/// `brcm,bcm2835-aux-uart`, a 16550 with 32-bit registers (BCM2711 ARM Peripherals, 2.2.2):
/// AUX_MU_IO, AUX_MU_LSR's transmitter empty and idle.
static MINI: Kind =
    Kind { data: 0x00, status: 0x14, full: 1 << 5, busy: 1 << 6, inverted: 1 << 5 | 1 << 6 };

impl Uart {
    /// A PL011 whose registers are mapped at `base`; `None` if nothing answers there.
    ///
    /// # Safety
    /// `base` is a mapping of such registers as device memory that stays, and
    /// nothing else uses them.
    #[must_use]
    pub unsafe fn pl011(base: VirtAddr) -> Option<Self> {
        // SAFETY: as the caller says; reading the flags has no effect.
        unsafe { probe_read32(base + PL011.status)? };
        // SAFETY: as the caller says.
        Some(Self { kind: &PL011, registers: unsafe { Registers::new(base) } })
    }

    /// A mini UART whose registers are mapped at `base`, with the page that they lie in;
    /// `None` if nothing answers there, or if the firmware has not enabled it: it would
    /// never say that it has room.
    ///
    /// # Safety
    /// As for [`Uart::pl011`].
    #[must_use]
    pub unsafe fn mini(base: VirtAddr) -> Option<Self> {
        // Before the UART's registers, for all devices of the block.
        const AUX_ENABLES: usize = 0x3c;
        const ENABLES_MINI_UART: u32 = 1 << 0;
        if base.page_offset() < AUX_ENABLES {
            return None;
        }
        // SAFETY: as the caller says; reading either has no effect.
        let enables = unsafe {
            probe_read32(base + MINI.status)?;
            probe_read32(VirtAddr::new(base.get() - AUX_ENABLES))?
        };
        if enables & ENABLES_MINI_UART == 0 {
            return None;
        }
        // SAFETY: as the caller says.
        Some(Self { kind: &MINI, registers: unsafe { Registers::new(base) } })
    }

    fn status(&self) -> u32 {
        self.registers.read(self.kind.status) ^ self.kind.inverted
    }

    /// Sends a byte, waiting until there is room for it.
    pub fn send(&mut self, byte: u8) {
        while self.status() & self.kind.full != 0 {}
        self.registers.write(self.kind.data, u32::from(byte));
    }

    /// Waits until all has left the wire.
    pub fn flush(&mut self) {
        while self.status() & self.kind.busy != 0 {}
    }
}
