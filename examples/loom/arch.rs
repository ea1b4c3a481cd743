//! The machine: loom's threads are its CPUs.

#[path = "../../src/arch/cpumask/mod.rs"]
pub mod cpumask;
#[path = "../../src/arch/thread_info.rs"]
pub mod thread_info;

pub use crate::shim::atomic;
pub use crate::shim::{CpuId, IrqMasked, NR_CPUS, cpu, irq};
