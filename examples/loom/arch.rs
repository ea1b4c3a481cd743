//! The machine: loom's threads are its CPUs.

#[path = "../../src/arch/cpumask/mod.rs"]
pub mod cpumask;

pub use crate::shim::atomic;
pub use crate::shim::{CpuId, IrqMasked, NR_CPUS, cpu, irq};
