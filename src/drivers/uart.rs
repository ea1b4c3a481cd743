//! UARTs, transmit side: PL011 and the Raspberry Pi's mini UART.
//!
//! The line's speed and format are what the firmware set.

use crate::addr::VirtAddr;
use crate::arch::aarch64::extable::probe_read32;
use arm_pl011_uart::{PL011Registers, Uart as Pl011, UniqueMmioPointer};
use core::ptr::{NonNull, with_exposed_provenance_mut};

/// A UART that can send.
pub enum Uart {
    /// `arm,pl011`.
    Pl011(Pl011<'static>),
    /// `brcm,bcm2835-aux-uart`: a 16550 with 32-bit registers.
    Mini(MiniUart),
}

impl Uart {
    /// A PL011 whose registers are mapped at `base`; `None` if nothing answers there.
    ///
    /// # Safety
    /// `base` is a mapping of such registers as device memory that stays, and
    /// nothing else uses them.
    #[must_use]
    pub unsafe fn pl011(base: VirtAddr) -> Option<Self> {
        const FLAGS: usize = 0x18;
        // SAFETY: as the caller says; reading the flags has no effect.
        unsafe { probe_read32(base + FLAGS)? };
        if !base.is_aligned(align_of::<PL011Registers>()) {
            return None;
        }
        let registers = NonNull::new(with_exposed_provenance_mut(base.get()))?;
        // SAFETY: as the caller says, and aligned.
        Some(Self::Pl011(Pl011::new(unsafe { UniqueMmioPointer::new(registers) })))
    }

    /// A mini UART whose registers are mapped at `base`; `None` if nothing answers there.
    ///
    /// # Safety
    /// As for [`Uart::pl011`].
    #[must_use]
    pub unsafe fn mini(base: VirtAddr) -> Option<Self> {
        // SAFETY: as the caller says; reading the extended status has no effect.
        unsafe { probe_read32(base + MiniUart::STAT)? };
        Some(Self::Mini(MiniUart { base }))
    }

    /// Sends a byte, waiting until there is room for it.
    pub fn send(&mut self, byte: u8) {
        match self {
            Self::Pl011(uart) => {
                while uart.is_tx_fifo_full() {}
                uart.write_word(byte);
            }
            Self::Mini(uart) => uart.send(byte),
        }
    }

    /// Waits until all has left the wire.
    pub fn flush(&mut self) {
        match self {
            Self::Pl011(uart) => while uart.is_busy() {},
            Self::Mini(uart) => uart.flush(),
        }
    }
}

/// The mini UART (BCM2711 ARM Peripherals, 2.2.2).
pub struct MiniUart {
    base: VirtAddr,
}

impl MiniUart {
    const IO: usize = 0x00;
    const LSR: usize = 0x14;
    const STAT: usize = 0x24;
    const LSR_TX_EMPTY: u32 = 1 << 5;
    const LSR_TX_IDLE: u32 = 1 << 6;

    fn status(&self) -> u32 {
        // SAFETY: `Uart::mini`'s caller mapped the registers.
        unsafe { with_exposed_provenance_mut::<u32>((self.base + Self::LSR).get()).read_volatile() }
    }

    fn send(&mut self, byte: u8) {
        while self.status() & Self::LSR_TX_EMPTY == 0 {}
        let io = with_exposed_provenance_mut::<u32>((self.base + Self::IO).get());
        // SAFETY: as above.
        unsafe { io.write_volatile(u32::from(byte)) }
    }

    fn flush(&mut self) {
        while self.status() & Self::LSR_TX_IDLE == 0 {}
    }
}
