//! The few devices that are needed before there are drivers; those of interrupts are in
//! [`super::interrupts`].

use super::Tree;
use super::structure::Node;
use super::value::{Strings, Text};
use crate::addr::{PhysAddr, PhysRange};

/// The console that `stdout-path` names.
#[derive(Clone, Copy, Debug)]
pub struct Console<'a> {
    /// Node in the device tree.
    pub node: Node<'a>,
    /// Registers, as the CPU addresses them.
    pub registers: PhysRange,
    /// log2 of the distance between registers, in bytes (`reg-shift`).
    pub reg_shift: u32,
    /// Bytes of an access to a register (`reg-io-width`), where said.
    pub reg_io_width: Option<u32>,
    /// Options after the colon of `stdout-path`: `115200n8`.
    pub options: Option<Text<'a>>,
}

impl<'a> Console<'a> {
    /// Compatible strings, most specific first.
    #[must_use]
    pub fn compatible(&self) -> Strings<'a> {
        self.node.compatible()
    }
    /// The part of its registers that a driver uses, `bytes` from their start on and as much as
    /// a page where there is more, if they can be registers at all: below `reach`, the first
    /// address that the CPU does not reach, no RAM, and nothing of `own`, which the kernel lies
    /// on.
    ///
    /// # Errors
    /// Why they can't be.
    pub fn usable_registers(
        &self,
        tree: &Tree<'_>,
        bytes: u64,
        reach: PhysAddr,
        own: &[PhysRange],
    ) -> Result<PhysRange, &'static str> {
        const PAGE: u64 = 4096;
        let registers = self.registers;
        if !registers.start().is_aligned(4) {
            return Err("its registers are not aligned");
        }
        if registers.len() < bytes {
            return Err("its registers are fewer than such a device has");
        }
        let used = PhysRange::from_size(registers.start(), registers.len().min(PAGE));
        if used.end() > reach {
            return Err("its registers are out of the CPU's reach");
        }
        // What shares a page with RAM would be mapped as device memory with it.
        let end = used.end().align_up(PAGE).unwrap_or(used.end());
        let pages = PhysRange::new(used.start().align_down(PAGE), end);
        if tree.ram_of_any_kind().any(|ram| ram.overlaps(pages)) {
            return Err("its registers lie in RAM");
        }
        if own.iter().any(|own| own.overlaps(pages)) {
            return Err("its registers lie on the kernel's image or the device tree");
        }
        Ok(used)
    }
    /// Returns true if `compatible` lists this string: `arm,pl011`, `brcm,bcm2835-aux-uart`, ...
    #[must_use]
    pub fn is(&self, with: &str) -> bool {
        self.node.is_compatible(with)
    }
}

impl<'a> Tree<'a> {
    /// The console of `stdout-path`, with its registers' address translated.
    #[must_use]
    pub fn console(&self) -> Option<Console<'a>> {
        let stdout = self.stdout()?;
        let node = stdout.lineage.node();
        Some(Console {
            node,
            registers: stdout.lineage.reg(0)?.range(),
            reg_shift: node.cell("reg-shift").unwrap_or(0),
            reg_io_width: node.cell("reg-io-width"),
            options: stdout.options,
        })
    }

    /// The registers of the Raspberry Pi's power management, which has its watchdog
    /// (`brcm,bcm2835-pm-wdt`).
    #[must_use]
    pub fn bcm2835_pm(&self) -> Option<PhysRange> {
        self.registers_of("brcm,bcm2835-pm-wdt")
    }

    /// The registers of the first PL031, a real-time clock (`arm,pl031`).
    #[must_use]
    pub fn pl031(&self) -> Option<PhysRange> {
        self.registers_of("arm,pl031")
    }

    /// The registers of the first available device that is compatible `with` this.
    fn registers_of(&self, with: &str) -> Option<PhysRange> {
        let mut walk = self.lineages();
        while let Some(lineage) = walk.next() {
            let node = lineage.node();
            if node.is_compatible(with) && node.is_available() {
                return Some(lineage.reg(0)?.range());
            }
        }
        None
    }
}
