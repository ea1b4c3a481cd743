//! CPUs and how they are started.

use super::Tree;
use super::structure::Node;
use super::value::{Cells, Text, number};
use crate::addr::PhysAddr;

/// The node `/cpus`.
#[derive(Clone, Copy, Debug)]
pub struct Cpus<'a> {
    /// The node.
    pub node: Node<'a>,
}

impl<'a> Cpus<'a> {
    /// The CPUs, whatever their status: children that are called `cpu`, with or without an
    /// address, or have `device_type = "cpu"` (Linux: of_get_next_cpu_node).
    pub fn iter(&self) -> impl Iterator<Item = Cpu<'a>> + use<'a> {
        let (cells, parent) = (self.node.cells(), self.node);
        self.node.children().filter_map(move |node| {
            let is_cpu = node.is_called(b"cpu")
                || node.text("device_type").is_some_and(|kind| kind == "cpu");
            is_cpu.then_some(Cpu { node, parent, cells })
        })
    }
}

/// A CPU.
#[derive(Clone, Copy, Debug)]
pub struct Cpu<'a> {
    /// The node.
    pub node: Node<'a>,
    parent: Node<'a>,
    cells: Cells,
}

impl<'a> Cpu<'a> {
    /// Affinity fields as in MPIDR_EL1; `None` if `reg` is absent or too short.
    #[must_use]
    pub fn mpidr(&self) -> Option<u64> {
        let reg = self.node.property("reg")?;
        let length = (self.cells.address as usize).checked_mul(4)?;
        if length == 0 { None } else { number(reg.get(..length)?) }
    }
    /// Method of starting the CPU: `psci`, `spin-table`, or a platform's own; from its own node
    /// or else from `/cpus`.
    #[must_use]
    pub fn enable_method(&self) -> Option<Text<'a>> {
        self.node.text("enable-method").or_else(|| self.parent.text("enable-method"))
    }
    /// Address at which a CPU in a spin table looks for its entry point.
    #[must_use]
    pub fn release_address(&self) -> Option<PhysAddr> {
        self.node.number("cpu-release-addr").map(PhysAddr::new)
    }
    /// The NUMA node it belongs to, as the firmware numbers them.
    #[must_use]
    pub fn numa_node(&self) -> Option<u32> {
        self.node.cell("numa-node-id")
    }
    /// Returns true if `status` lets the CPU be started. A CPU that is `disabled` is quiescent,
    /// and is started by its enable-method (Devicetree Specification 3.8.1); one that has
    /// failed, or that other software uses (`reserved`), is left alone.
    #[must_use]
    pub fn is_available(&self) -> bool {
        let Some(status) = self.node.status() else { return true };
        let known = self.node.is_available() || status == "disabled";
        known && !status.bytes().starts_with(b"fail")
    }
}

/// Instruction that calls PSCI.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PsciMethod {
    /// HVC, to a hypervisor at EL2.
    Hvc,
    /// SMC, to firmware at EL3.
    Smc,
}

/// A node of the Power State Coordination Interface (Arm DEN 0022).
#[derive(Clone, Copy, Debug)]
pub struct Psci<'a> {
    /// The node.
    pub node: Node<'a>,
}

impl<'a> Psci<'a> {
    /// Wraps `node` if it is a PSCI node.
    #[must_use]
    pub fn of(node: Node<'a>) -> Option<Self> {
        let names = ["arm,psci", "arm,psci-0.2", "arm,psci-1.0"];
        let is_psci = node.compatible().any(|text| names.iter().any(|name| text == *name));
        is_psci.then_some(Self { node })
    }
    /// Instruction that calls it; `None` if `method` is absent or unknown.
    #[must_use]
    pub fn method(&self) -> Option<PsciMethod> {
        match self.node.text("method")?.bytes() {
            b"hvc" => Some(PsciMethod::Hvc),
            b"smc" => Some(PsciMethod::Smc),
            _ => None,
        }
    }
    /// Returns true if the function numbers are those of PSCI 0.2 and later; those of 0.1 are in
    /// the properties `cpu_on`, `cpu_off` and so on.
    #[must_use]
    pub fn has_standard_functions(&self) -> bool {
        self.node.is_compatible("arm,psci-0.2") || self.node.is_compatible("arm,psci-1.0")
    }
    /// The number of CPU_ON.
    #[must_use]
    pub fn cpu_on(&self) -> Option<u32> {
        if self.has_standard_functions() {
            return Some(0xc400_0003);
        }
        self.node.cell("cpu_on")
    }
}

impl<'a> Tree<'a> {
    /// The node `/cpus`.
    #[must_use]
    pub fn cpus(&self) -> Option<Cpus<'a>> {
        self.root().child("cpus").map(|node| Cpus { node })
    }

    /// Every PSCI node, wherever it sits.
    pub fn psci_nodes(&self) -> impl Iterator<Item = Psci<'a>> + use<'a> {
        self.walk().filter_map(Psci::of)
    }

    /// The first PSCI node that may be used.
    #[must_use]
    pub fn psci(&self) -> Option<Psci<'a>> {
        self.psci_nodes().find(|psci| psci.node.is_available())
    }
}
