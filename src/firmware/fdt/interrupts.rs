//! The interrupt controllers, the generic timer, and which interrupt a device has
//! (Devicetree Specification 2.4; Linux: drivers/of/irq.c).

use super::Tree;
use super::address::Lineage;
use super::structure::Node;
use super::value::{Reg, words};
use crate::addr::PhysRange;

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

const GIC_V2: [&str; 5] = [
    "arm,gic-400",
    "arm,cortex-a15-gic",
    "arm,cortex-a9-gic",
    "arm,cortex-a7-gic",
    "qcom,msm-qgic2",
];

/// Regions of redistributors that are read: machines have one for each socket or chiplet.
pub const MAX_REGIONS: usize = 64;

const BCM2836_L1_INTC: &str = "brcm,bcm2836-l1-intc";

/// The system's interrupt controller.
#[derive(Clone)]
pub struct InterruptController<'a> {
    /// Version of the controller.
    pub gic: Gic,
    lineage: Lineage<'a>,
}

impl<'a> InterruptController<'a> {
    /// Node of the controller.
    #[must_use]
    pub fn node(&self) -> Node<'a> {
        self.lineage.node()
    }
    /// The `index`th region of registers, as the CPU addresses it: the distributor is 0, the CPU
    /// interface or the first redistributor region 1.
    #[must_use]
    pub fn reg(&self, index: usize) -> Option<Reg> {
        self.lineage.reg(index)
    }
    /// The regions of redistributors (GICv3): as many as `#redistributor-regions` says, one
    /// where it is absent, and [`MAX_REGIONS`] at the most. Those that can't be translated are
    /// left out.
    pub fn redistributors(&self) -> impl Iterator<Item = PhysRange> + '_ {
        let count = self.node().cell("#redistributor-regions").unwrap_or(1) as usize;
        (1..=count.min(MAX_REGIONS)).filter_map(|index| Some(self.reg(index)?.range()))
    }
    /// Bytes from one redistributor to the next, where said (GICv3).
    #[must_use]
    pub fn redistributor_stride(&self) -> Option<u64> {
        self.node().number("redistributor-stride")
    }
}

/// An interrupt of a device: its controller, and what the controller's binding has of it.
#[derive(Clone, Copy, Debug)]
pub struct InterruptSpecifier<'a> {
    /// The controller's node.
    pub controller: Node<'a>,
    cells: &'a [u8],
}

impl InterruptSpecifier<'_> {
    /// The interrupt's number as a GIC counts: 16 to 31 the PPIs, 32 to 1019 the SPIs. `None`
    /// where the controller is no GIC, or the kind is another.
    #[must_use]
    pub fn gic_id(&self) -> Option<u32> {
        Gic::of(self.controller)?;
        let mut cells = words(self.cells);
        let (kind, number) = (cells.next()?, cells.next()?);
        match kind {
            0 if number < 988 => Some(number + 32),
            1 if number < 16 => Some(number + 16),
            _ => None,
        }
    }

    /// The line of a BCM2836's own controller (`brcm,bcm2836-l1-intc`). `None` where the
    /// controller is another.
    #[must_use]
    pub fn bcm2836_line(&self) -> Option<u32> {
        if !self.controller.is_compatible(BCM2836_L1_INTC) {
            return None;
        }
        words(self.cells).next()
    }
}

/// The generic timer's node.
#[derive(Clone)]
pub struct Timer<'a> {
    tree: Tree<'a>,
    lineage: Lineage<'a>,
}

/// The names of the timer's interrupts, in the order that they have without names.
const TIMER_NAMES: [&str; 5] = ["sec-phys", "phys", "virt", "hyp-phys", "hyp-virt"];

impl<'a> Timer<'a> {
    /// The node.
    #[must_use]
    pub fn node(&self) -> Node<'a> {
        self.lineage.node()
    }
    /// The interrupt of the timer called `name`: `phys`, `virt` and so on, by
    /// `interrupt-names` or else by its place (Linux: arch_timer_of_init).
    #[must_use]
    pub fn interrupt(&self, name: &str) -> Option<InterruptSpecifier<'a>> {
        let index = if self.node().has("interrupt-names") {
            // A hostile tree may have any number of them; each that is passed over costs a walk.
            self.node().strings("interrupt-names").take(16).position(|text| text == name)
        } else {
            TIMER_NAMES.iter().position(|known| *known == name)
        };
        self.tree.interrupt(&self.lineage, index?)
    }
    /// The counter's frequency in Hz, where the firmware failed to set CNTFRQ_EL0.
    #[must_use]
    pub fn clock_frequency(&self) -> Option<u32> {
        self.node().cell("clock-frequency")
    }
}

impl<'a> Tree<'a> {
    /// The `index`th interrupt of a device, by `interrupts-extended` or else by `interrupts` and
    /// the nearest `interrupt-parent` (Linux: of_irq_parse_one). `None` where there is none, or
    /// it can't be told where its cells begin.
    pub(super) fn interrupt(
        &self,
        device: &Lineage<'a>,
        index: usize,
    ) -> Option<InterruptSpecifier<'a>> {
        let node = device.node();
        let bytes_of = |controller: Node<'a>| {
            (controller.cell("#interrupt-cells")? as usize).checked_mul(4).filter(|&n| n > 0)
        };
        let Some(mut rest) = node.property("interrupts-extended") else {
            let controller = device.interrupt_parent(self)?;
            let bytes = bytes_of(controller)?;
            let mut entries = node.property("interrupts")?.chunks_exact(bytes);
            return Some(InterruptSpecifier { controller, cells: entries.nth(index)? });
        };
        // An entry for each four bytes at the most.
        for _ in 0..index {
            let (phandle, cells) = rest.split_first_chunk::<4>()?;
            let controller = self.by_phandle(u32::from_be_bytes(*phandle))?;
            rest = cells.get(bytes_of(controller)?..)?;
        }
        let (phandle, cells) = rest.split_first_chunk::<4>()?;
        let controller = self.by_phandle(u32::from_be_bytes(*phandle))?;
        Some(InterruptSpecifier { controller, cells: cells.get(..bytes_of(controller)?)? })
    }

    /// The number of the console's first interrupt, where that is one of a GIC's. Looks for the
    /// controller in all of the tree.
    #[must_use]
    pub fn console_interrupt_id(&self) -> Option<u32> {
        self.interrupt(&self.stdout()?.lineage, 0)?.gic_id()
    }

    /// The first node that `f` wants of those that may be used.
    fn find_available(&self, f: impl Fn(Node<'a>) -> bool) -> Option<Lineage<'a>> {
        let mut walk = self.lineages();
        while let Some(lineage) = walk.next() {
            if f(lineage.node()) && lineage.node().is_available() {
                return Some(lineage.clone());
            }
        }
        None
    }

    /// The interrupt controller: the first available node that is a known GIC.
    #[must_use]
    pub fn interrupt_controller(&self) -> Option<InterruptController<'a>> {
        let lineage = self
            .find_available(|node| node.has("interrupt-controller") && Gic::of(node).is_some())?;
        Some(InterruptController { gic: Gic::of(lineage.node())?, lineage })
    }

    /// The registers of the interrupt controller that belongs to the cores of a BCM2836
    /// or BCM2837 (`brcm,bcm2836-l1-intc`).
    #[must_use]
    pub fn bcm2836_l1_intc(&self) -> Option<PhysRange> {
        let node = self.find_available(|node| node.is_compatible(BCM2836_L1_INTC))?;
        Some(node.reg(0)?.range())
    }

    /// The registers of the interrupt controller for the devices of a BCM2835 to BCM2837
    /// (`brcm,bcm2836-armctrl-ic`, `brcm,bcm2835-armctrl-ic`).
    #[must_use]
    pub fn bcm2835_armctrl(&self) -> Option<PhysRange> {
        let node = self.find_available(|node| {
            node.is_compatible("brcm,bcm2836-armctrl-ic")
                || node.is_compatible("brcm,bcm2835-armctrl-ic")
        })?;
        Some(node.reg(0)?.range())
    }

    /// The generic timer.
    #[must_use]
    pub fn timer(&self) -> Option<Timer<'a>> {
        let mut walk = self.lineages();
        while let Some(lineage) = walk.next() {
            let node = lineage.node();
            if node.is_compatible("arm,armv8-timer") || node.is_compatible("arm,armv7-timer") {
                return Some(Timer { tree: *self, lineage: lineage.clone() });
            }
        }
        None
    }
}
