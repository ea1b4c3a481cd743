//! UARTs: PL011 and the Raspberry Pi's mini UART.
//!
//! The line's speed and format, and whether there are FIFOs, are what the firmware set. A
//! UART receives from [`Uart::listen`] on.

use super::mmio::{Probe, ReadOnly, ReadWrite, block};
use super::primecell::is_primecell;
use crate::addr::VirtAddr;
use tock_registers::interfaces::{ReadWriteable, Readable, Writeable};
use tock_registers::{register_bitfields, register_structs};

// PL011 (Arm DDI 0183, 3.3).
register_bitfields! { u32,
    UARTDR [
        /// Bytes were lost before this one.
        OE OFFSET(11) NUMBITS(1) [],
        BE OFFSET(10) NUMBITS(1) [],
        PE OFFSET(9) NUMBITS(1) [],
        FE OFFSET(8) NUMBITS(1) [],
        DATA OFFSET(0) NUMBITS(8) [],
    ],
    UARTFR [
        /// There is no room for a byte to send.
        TXFF OFFSET(5) NUMBITS(1) [],
        /// No byte was received.
        RXFE OFFSET(4) NUMBITS(1) [],
        /// A byte is still being sent.
        BUSY OFFSET(3) NUMBITS(1) [],
    ],
    UARTCR [
        RXE OFFSET(9) NUMBITS(1) [],
        UARTEN OFFSET(0) NUMBITS(1) [],
    ],
    UARTIMSC [
        /// Bytes were received and then none for a while.
        RTIM OFFSET(6) NUMBITS(1) [],
        RXIM OFFSET(4) NUMBITS(1) [],
    ],
}

register_structs! {
    Pl011 {
        (0x00 => dr: ReadWrite<u32, UARTDR::Register>),
        (0x04 => _rsr_ecr),
        (0x18 => fr: ReadOnly<u32, UARTFR::Register>),
        (0x1c => _line),
        (0x30 => cr: ReadWrite<u32, UARTCR::Register>),
        (0x34 => _ifls),
        (0x38 => imsc: ReadWrite<u32, UARTIMSC::Register>),
        (0x3c => @END),
    }
}

/// Part number of a PL011.
const PL011_PART: u32 = 0x011;

// The mini UART, a 16550 with 32-bit registers (BCM2711 ARM Peripherals, 2.2.2).
register_bitfields! { u32,
    AUX_ENABLES [
        MINI_UART OFFSET(0) NUMBITS(1) [],
    ],
    AUX_MU_IO [
        DATA OFFSET(0) NUMBITS(8) [],
    ],
    /// The bits are those of a 16550. The manual has others, and does not name bit 2, without which
    /// no interrupt comes (errata to it).
    AUX_MU_IER [
        RECEIVED OFFSET(0) NUMBITS(1) [],
        LINE_STATUS OFFSET(2) NUMBITS(1) [],
    ],
    AUX_MU_LSR [
        /// All has been sent.
        TRANSMITTER_IDLE OFFSET(6) NUMBITS(1) [],
        /// There is room for a byte to send.
        TRANSMITTER_EMPTY OFFSET(5) NUMBITS(1) [],
        OVERRUN OFFSET(1) NUMBITS(1) [],
        DATA_READY OFFSET(0) NUMBITS(1) [],
    ],
    AUX_MU_CNTL [
        RECEIVER_ENABLE OFFSET(0) NUMBITS(1) [],
    ],
}

register_structs! {
    /// Registers of all devices of the block, before those of the mini UART.
    Aux {
        (0x00 => _irq),
        (0x04 => enables: ReadOnly<u32, AUX_ENABLES::Register>),
        (0x08 => _reserved),
        (0x40 => @END),
    },
    MiniUart {
        (0x00 => io: ReadWrite<u32, AUX_MU_IO::Register>),
        (0x04 => ier: ReadWrite<u32, AUX_MU_IER::Register>),
        (0x08 => _line),
        (0x14 => lsr: ReadOnly<u32, AUX_MU_LSR::Register>),
        (0x18 => _modem),
        (0x20 => cntl: ReadWrite<u32, AUX_MU_CNTL::Register>),
        (0x24 => @END),
    }
}

/// A UART.
pub struct Uart(Registers);

#[derive(Clone, Copy)]
enum Registers {
    Pl011(&'static Pl011),
    MiniUart(&'static MiniUart),
}

/// A kind of UART that there is a driver for.
#[derive(Clone, Copy)]
pub enum Kind {
    /// Arm's PrimeCell UART.
    Pl011,
    /// The Raspberry Pi's mini UART.
    MiniUart,
}

/// The kinds that there are drivers for.
pub static DRIVERS: [Kind; 2] = [Kind::Pl011, Kind::MiniUart];

/// Event on the receive line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Received {
    /// A byte.
    Byte(u8),
    /// Noise, or a break.
    Broken,
}

impl Kind {
    /// The device tree's name of it.
    #[must_use]
    pub const fn compatible(self) -> &'static str {
        match self {
            Self::Pl011 => "arm,pl011",
            Self::MiniUart => "brcm,bcm2835-aux-uart",
        }
    }

    /// Bytes from its first register to the end of the last that the driver uses.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        match self {
            Self::Pl011 => size_of::<Pl011>() as u64,
            Self::MiniUart => size_of::<MiniUart>() as u64,
        }
    }

    /// A UART of this kind whose registers are mapped at `base`, for a mini UART with the page
    /// that they lie in. `None` if nothing answers there, or something else does: with
    /// `identify` a PL011 has to say that it is one, and a mini UART has to be enabled, or it
    /// would never say that it has room.
    ///
    /// # Safety
    /// `base` is a mapping of such registers as device memory that stays, of a page if `identify`
    /// says so, and nothing else uses them.
    #[must_use]
    pub unsafe fn probe(self, base: VirtAddr, identify: bool) -> Option<Uart> {
        let registers = match self {
            Self::Pl011 => {
                // SAFETY: as the caller says.
                let uart: &Pl011 = unsafe { block(base)? };
                uart.fr.probe()?;
                // SAFETY: the end of the page that begins at `base`, as the caller says.
                let is_pl011 = || unsafe { is_primecell(base, PL011_PART) };
                (!identify || is_pl011()).then_some(Registers::Pl011(uart))
            }
            Self::MiniUart => {
                // SAFETY: as the caller says.
                let uart: &MiniUart = unsafe { block(base)? };
                uart.lsr.probe()?;
                if base.page_offset() < size_of::<Aux>() {
                    return None;
                }
                // SAFETY: in the page of the registers, which is mapped, as the caller says.
                let aux: &Aux = unsafe { block(base - size_of::<Aux>())? };
                let enables = aux.enables.probe()?;
                AUX_ENABLES::MINI_UART.is_set(enables).then_some(Registers::MiniUart(uart))
            }
        };
        registers.map(Uart)
    }
}

impl Uart {
    /// Duplicates the handle, for a kernel that is about to end. Output of the two handles may
    /// mix on the wire.
    pub(super) const fn again(&self) -> Self {
        Self(self.0)
    }

    /// Sends a byte, waiting until there is room for it.
    pub fn send(&mut self, byte: u8) {
        match self.0 {
            Registers::Pl011(uart) => {
                while uart.fr.is_set(UARTFR::TXFF) {}
                uart.dr.set(byte.into());
            }
            Registers::MiniUart(uart) => {
                while !uart.lsr.is_set(AUX_MU_LSR::TRANSMITTER_EMPTY) {}
                uart.io.set(byte.into());
            }
        }
    }

    /// Sends a text, with a carriage return before each line feed.
    pub fn print(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if byte == b'\n' {
                self.send(b'\r');
            }
            self.send(byte);
        }
    }

    /// Lets the UART receive, and interrupt when it has if `interrupts` says so. No other event
    /// interrupts then: a boot loader may have left some on that nobody answers.
    pub fn listen(&mut self, interrupts: bool) {
        match self.0 {
            Registers::Pl011(uart) => {
                uart.cr.modify(UARTCR::RXE::SET + UARTCR::UARTEN::SET);
                let on = u32::from(interrupts);
                uart.imsc.write(UARTIMSC::RXIM.val(on) + UARTIMSC::RTIM.val(on));
            }
            Registers::MiniUart(uart) => {
                uart.cntl.modify(AUX_MU_CNTL::RECEIVER_ENABLE::SET);
                let on = u32::from(interrupts);
                uart.ier.write(AUX_MU_IER::RECEIVED.val(on) + AUX_MU_IER::LINE_STATUS.val(on));
            }
        }
    }

    /// Reads the first of the received bytes. The flag says that bytes were lost before or after
    /// it because nobody read them in time. `None` if nothing was received.
    pub fn receive(&mut self) -> Option<(Received, bool)> {
        match self.0 {
            Registers::Pl011(uart) => {
                if uart.fr.is_set(UARTFR::RXFE) {
                    return None;
                }
                let data = uart.dr.extract();
                let broken = [UARTDR::FE, UARTDR::PE, UARTDR::BE];
                let received = if broken.into_iter().any(|error| data.is_set(error)) {
                    Received::Broken
                } else {
                    Received::Byte(data.read(UARTDR::DATA) as u8)
                };
                Some((received, data.is_set(UARTDR::OE)))
            }
            Registers::MiniUart(uart) => {
                let status = uart.lsr.extract();
                if !status.is_set(AUX_MU_LSR::DATA_READY) {
                    return None;
                }
                let data = uart.io.read(AUX_MU_IO::DATA);
                Some((Received::Byte(data as u8), status.is_set(AUX_MU_LSR::OVERRUN)))
            }
        }
    }

    /// Waits until all has left the wire.
    pub fn flush(&mut self) {
        match self.0 {
            Registers::Pl011(uart) => while uart.fr.is_set(UARTFR::BUSY) {},
            Registers::MiniUart(uart) => while !uart.lsr.is_set(AUX_MU_LSR::TRANSMITTER_IDLE) {},
        }
    }
}
