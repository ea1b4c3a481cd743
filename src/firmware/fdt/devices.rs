//! The few devices that are needed before there are drivers.

use super::Tree;
use super::address::Lineage;
use super::structure::Node;
use super::value::{Reg, Strings, Text, words};
use crate::addr::PhysRange;

/// The console that `stdout-path` names.
#[derive(Clone, Copy, Debug)]
pub struct Console<'a> {
    /// Its node.
    pub node: Node<'a>,
    /// Its registers, as the CPU addresses them.
    pub registers: PhysRange,
    /// log2 of the distance between registers, in bytes (`reg-shift`).
    pub reg_shift: u32,
    /// Bytes of an access to a register (`reg-io-width`), where said.
    pub reg_io_width: Option<u32>,
    /// What `stdout-path` has after the colon: `115200n8`.
    pub options: Option<Text<'a>>,
}

impl<'a> Console<'a> {
    /// What it is compatible with, most specific first.
    #[must_use]
    pub fn compatible(&self) -> Strings<'a> {
        self.node.compatible()
    }
    /// Whether it is compatible with this: `arm,pl011`, `brcm,bcm2835-aux-uart`, ...
    #[must_use]
    pub fn is(&self, with: &str) -> bool {
        self.node.is_compatible(with)
    }
}

/// The kind of a Generic Interrupt Controller.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Gic {
    /// GICv2 (or v1): distributor, then CPU interface.
    V2,
    /// GICv3 or v4: distributor, then redistributor regions.
    V3,
}

impl Gic {
    /// The kind of this node, if it is one.
    fn of(node: Node<'_>) -> Option<Self> {
        if node.is_compatible("arm,gic-v3") {
            Some(Self::V3)
        } else if node.compatible().any(|text| GIC_V2.iter().any(|name| text == *name)) {
            Some(Self::V2)
        } else {
            None
        }
    }
}

/// The system's interrupt controller.
#[derive(Clone)]
pub struct InterruptController<'a> {
    /// Its kind.
    pub gic: Gic,
    lineage: Lineage<'a>,
}

impl<'a> InterruptController<'a> {
    /// Its node.
    #[must_use]
    pub fn node(&self) -> Node<'a> {
        self.lineage.node()
    }
    /// Its `index`th region of registers, as the CPU addresses it: the distributor
    /// is 0, the CPU interface or the first redistributor region 1.
    #[must_use]
    pub fn reg(&self, index: usize) -> Option<Reg> {
        self.lineage.reg(index)
    }
    /// The number of redistributor regions (GICv3).
    #[must_use]
    pub fn redistributor_regions(&self) -> u32 {
        self.node().cell("#redistributor-regions").unwrap_or(1)
    }
    /// Bytes from one redistributor to the next, where said (GICv3).
    #[must_use]
    pub fn redistributor_stride(&self) -> Option<u64> {
        self.node().number("redistributor-stride")
    }
}

/// The generic timer's node.
#[derive(Clone, Copy, Debug)]
pub struct Timer<'a> {
    /// The node.
    pub node: Node<'a>,
    interrupt_cells: usize,
}

impl Timer<'_> {
    /// Its `index`th interrupt as the GIC's binding has it: kind (1: PPI), number
    /// within the kind, flags. In order: secure and non-secure physical, virtual,
    /// hypervisor.
    #[must_use]
    pub fn interrupt(&self, index: usize) -> Option<(u32, u32, u32)> {
        let value = self.node.property("interrupts")?;
        let mut cells = words(value).skip(index.checked_mul(self.interrupt_cells)?);
        Some((cells.next()?, cells.next()?, cells.next()?))
    }
    /// The GIC's interrupt number of a PPI or SPI.
    #[must_use]
    pub fn interrupt_id(&self, index: usize) -> Option<u32> {
        let (kind, number, _) = self.interrupt(index)?;
        gic_id(kind, number)
    }
    /// The number of its `index`th interrupt as the binding of `brcm,bcm2836-l1-intc` has
    /// it: number, flags.
    #[must_use]
    pub fn interrupt_line(&self, index: usize) -> Option<u32> {
        let value = self.node.property("interrupts")?;
        words(value).nth(index.checked_mul(self.interrupt_cells)?)
    }
    /// The counter's frequency in Hz, where the firmware failed to set CNTFRQ_EL0.
    #[must_use]
    pub fn clock_frequency(&self) -> Option<u32> {
        self.node.cell("clock-frequency")
    }
}

/// The GIC's number of a SPI (kind 0) or PPI (kind 1).
fn gic_id(kind: u32, number: u32) -> Option<u32> {
    match kind {
        0 => number.checked_add(32),
        1 => number.checked_add(16),
        _ => None,
    }
}

const GIC_V2: [&str; 5] = [
    "arm,gic-400",
    "arm,cortex-a15-gic",
    "arm,cortex-a9-gic",
    "arm,cortex-a7-gic",
    "qcom,msm-qgic2",
];

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

    /// The number of the console's first interrupt, where that is one of a GIC's. Looks for the
    /// controller in all of the tree.
    #[must_use]
    pub fn console_interrupt_id(&self) -> Option<u32> {
        let lineage = self.stdout()?.lineage;
        let parent = lineage.interrupt_parent().and_then(|phandle| self.by_phandle(phandle));
        parent.and_then(Gic::of)?;
        let mut cells = words(lineage.node().property("interrupts")?);
        gic_id(cells.next()?, cells.next()?)
    }

    /// The interrupt controller: the first available node that is a known GIC.
    #[must_use]
    pub fn interrupt_controller(&self) -> Option<InterruptController<'a>> {
        let mut walk = self.lineages();
        while let Some(lineage) = walk.next() {
            let node = lineage.node();
            if !node.has("interrupt-controller") || !node.is_available() {
                continue;
            }
            let Some(gic) = Gic::of(node) else { continue };
            return Some(InterruptController { gic, lineage: lineage.clone() });
        }
        None
    }

    /// The registers of the interrupt controller that belongs to the cores of a BCM2836
    /// or BCM2837 (`brcm,bcm2836-l1-intc`).
    #[must_use]
    pub fn bcm2836_l1_intc(&self) -> Option<PhysRange> {
        let mut walk = self.lineages();
        while let Some(lineage) = walk.next() {
            let node = lineage.node();
            if node.is_compatible("brcm,bcm2836-l1-intc") && node.is_available() {
                return Some(lineage.reg(0)?.range());
            }
        }
        None
    }

    /// The registers of the Raspberry Pi's power management, which has its watchdog
    /// (`brcm,bcm2835-pm-wdt`).
    #[must_use]
    pub fn bcm2835_pm(&self) -> Option<PhysRange> {
        let mut walk = self.lineages();
        while let Some(lineage) = walk.next() {
            let node = lineage.node();
            if node.is_compatible("brcm,bcm2835-pm-wdt") && node.is_available() {
                return Some(lineage.reg(0)?.range());
            }
        }
        None
    }

    /// The generic timer.
    #[must_use]
    pub fn timer(&self) -> Option<Timer<'a>> {
        let mut walk = self.lineages();
        while let Some(lineage) = walk.next() {
            let node = lineage.node();
            if node.is_compatible("arm,armv8-timer") || node.is_compatible("arm,armv7-timer") {
                let parent =
                    lineage.interrupt_parent().and_then(|phandle| self.by_phandle(phandle));
                let cells = parent.and_then(|parent| parent.cell("#interrupt-cells"));
                // The GIC's binding says three where the tree is silent.
                return Some(Timer { node, interrupt_cells: cells.unwrap_or(3) as usize });
            }
        }
        None
    }
}
