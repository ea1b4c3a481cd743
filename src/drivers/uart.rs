//! UARTs: PL011 and the Raspberry Pi's mini UART.
//!
//! The line's speed and format, and whether there are FIFOs, are what the firmware set. A
//! UART receives from [`Uart::listen`] on.

use super::mmio::Registers;
use crate::addr::VirtAddr;
use crate::arch::extable::probe_read32;

/// A UART.
pub struct Uart {
    kind: &'static Kind,
    registers: Registers,
}

/// Method to check that a UART is present.
enum Proof {
    /// Identification registers of a PrimeCell.
    PrimeCell,
    /// Bit in AUX_ENABLES.
    AuxEnables,
}

/// PL011's UARTPeriphID0 and 1, whose part number is 0x011, and UARTPCellID0 to 3 (Arm DDI 0183,
/// 3.3.17 and 3.3.18): offset, the bits that count, and what they are.
const PRIMECELL_PL011: [(usize, u32, u32); 6] = [
    (0xfe0, 0xff, 0x11),
    (0xfe4, 0x0f, 0x00),
    (0xff0, 0xff, 0x0d),
    (0xff4, 0xff, 0xf0),
    (0xff8, 0xff, 0x05),
    (0xffc, 0xff, 0xb1),
];

/// Distance from AUX_ENABLES to the mini UART's registers in bytes.
const AUX_ENABLES: usize = 0x3c;
const ENABLES_MINI_UART: u32 = 1 << 0;

/// Register layout of a kind of UART.
pub struct Kind {
    compatible: &'static str,
    bytes: u64,
    proof: Proof,
    /// The data register: what is written is sent.
    data: usize,
    /// The status register.
    status: usize,
    /// Bits of the status register, after XOR with `inverted`, that say that there is no room
    /// for a byte to send.
    full: u32,
    /// Bits, likewise, that say that a byte is still being sent.
    busy: u32,
    inverted: u32,
    /// Bits of the status register that say that no byte was received.
    empty: u32,
    /// Bits beside a received byte that say that it is broken.
    broken: u32,
    /// Bits beside a received byte that say that others were lost.
    overrun: u32,
    /// Bits of the status register that say that bytes were lost.
    status_overrun: u32,
    /// The register that lets received bytes interrupt, and its bits for that.
    mask: usize,
    interrupts: u32,
    /// The register that lets the UART receive, and its bits for that.
    control: usize,
    receives: u32,
}

/// Event on the receive line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Received {
    /// A byte.
    Byte(u8),
    /// Noise, or a break.
    Broken,
}

/// `arm,pl011` (Arm DDI 0183): UARTDR with FE, PE, BE and OE; UARTFR.TXFF, BUSY and RXFE;
/// UARTIMSC.RXIM and RTIM; UARTCR.UARTEN and RXE.
static PL011: Kind = Kind {
    compatible: "arm,pl011",
    bytes: 0x3c,
    proof: Proof::PrimeCell,
    data: 0x00,
    status: 0x18,
    full: 1 << 5,
    busy: 1 << 3,
    inverted: 0,
    empty: 1 << 4,
    broken: 7 << 8,
    overrun: 1 << 11,
    status_overrun: 0,
    mask: 0x38,
    interrupts: 1 << 4 | 1 << 6,
    control: 0x30,
    receives: 1 << 9 | 1 << 0,
};

/// `brcm,bcm2835-aux-uart`, a 16550 with 32-bit registers (BCM2711 ARM Peripherals, 2.2.2):
/// AUX_MU_IO; AUX_MU_LSR's transmitter empty and idle, data ready and overrun; AUX_MU_IER's
/// bit for received data, which is that of a 16550 and not what the manual says; AUX_MU_CNTL's
/// receiver enable.
static MINI: Kind = Kind {
    compatible: "brcm,bcm2835-aux-uart",
    bytes: 0x24,
    proof: Proof::AuxEnables,
    data: 0x00,
    status: 0x14,
    full: 1 << 5,
    busy: 1 << 6,
    inverted: 1 << 5 | 1 << 6 | 1 << 0,
    empty: 1 << 0,
    broken: 0,
    overrun: 0,
    status_overrun: 1 << 1,
    mask: 0x04,
    // The peripherals' manual does not tell of bit 2, without which none comes (errata to it).
    interrupts: 1 << 0 | 1 << 2,
    control: 0x20,
    receives: 1 << 0,
};

/// The kinds that there are drivers for.
pub static DRIVERS: [&Kind; 2] = [&PL011, &MINI];

impl Kind {
    /// The device tree's name of it.
    #[must_use]
    pub const fn compatible(&self) -> &'static str {
        self.compatible
    }

    /// Bytes from its first register to the end of the last that the driver uses.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
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
    pub unsafe fn probe(&'static self, base: VirtAddr, identify: bool) -> Option<Uart> {
        // SAFETY: as the caller says; reading the flags has no effect.
        unsafe { probe_read32(base + self.status)? };
        let word = |at| {
            // SAFETY: as the caller says; reading these has no effect.
            unsafe { probe_read32(at) }
        };
        let is_it = match self.proof {
            Proof::PrimeCell => {
                !identify
                    || PRIMECELL_PL011.iter().all(|&(offset, mask, id)| {
                        word(base + offset).is_some_and(|word| word & mask == id)
                    })
            }
            // Before the UART's registers, for all devices of the block.
            Proof::AuxEnables => {
                base.page_offset() >= AUX_ENABLES
                    && word(VirtAddr::new(base.get() - AUX_ENABLES))
                        .is_some_and(|enables| enables & ENABLES_MINI_UART != 0)
            }
        };
        // SAFETY: as the caller says.
        is_it.then(|| Uart { kind: self, registers: unsafe { Registers::new(base) } })
    }
}

impl Uart {
    /// Duplicates the handle, for a kernel that is about to end. Output of the two handles may
    /// mix on the wire.
    pub(super) const fn again(&self) -> Self {
        Self { kind: self.kind, registers: self.registers }
    }

    fn status(&self) -> u32 {
        self.registers.read(self.kind.status) ^ self.kind.inverted
    }

    /// Sends a byte, waiting until there is room for it.
    pub fn send(&mut self, byte: u8) {
        while self.status() & self.kind.full != 0 {}
        self.registers.write(self.kind.data, u32::from(byte));
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

    /// Lets the UART receive, and interrupt when it has if `interrupts` says so.
    pub fn listen(&mut self, interrupts: bool) {
        let Kind { control, receives, mask, interrupts: bits, .. } = *self.kind;
        self.registers.write(control, self.registers.read(control) | receives);
        // No others: whoever came before may have left some on that nobody answers.
        self.registers.write(mask, if interrupts { bits } else { 0 });
    }

    /// Reads the first of the received bytes. The flag says that bytes were lost before or after
    /// it because nobody read them in time. `None` if nothing was received.
    pub fn receive(&mut self) -> Option<(Received, bool)> {
        let status = self.status();
        if status & self.kind.empty != 0 {
            return None;
        }
        let data = self.registers.read(self.kind.data);
        let lost = data & self.kind.overrun != 0 || status & self.kind.status_overrun != 0;
        let what = match data & self.kind.broken {
            0 => Received::Byte(data as u8),
            _ => Received::Broken,
        };
        Some((what, lost))
    }

    /// Waits until all has left the wire.
    pub fn flush(&mut self) {
        while self.status() & self.kind.busy != 0 {}
    }
}
