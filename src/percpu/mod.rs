//! Per-CPU data (Linux: include/linux/percpu-defs.h, mm/percpu.c).
//!
//! A [`PerCpu`], declared by [`per_cpu!`](crate::per_cpu), holds one value for each CPU. A CPU
//! reaches its own with proof that interrupts are masked, so nothing else runs on it meanwhile; no
//! lock and no atomic instruction is needed. Values use `Cell`s, or relaxed atomics where other
//! CPUs may look at them.
//!
//! On bare metal all these statics lie in one section of the image, the *unit* of the boot CPU.
//! Each other CPU that the device tree names has a copy of it, [`PERCPU_STRIDE`](crate::arch::layout::PERCPU_STRIDE) behind that of the
//! CPU before: so the address of a CPU's value is one addition away, and a CPU that is not there
//! costs nothing. `setup_per_cpu_areas` makes the copies while the boot CPU is alone.

mod array;
mod names;

#[cfg(target_os = "none")]
pub use crate::arch::percpu::{PerCpu, nr_cpu_ids, setup_per_cpu_areas, unit};
#[cfg(target_os = "none")]
pub(crate) use crate::arch::percpu::{dynamic_page, dynamic_pages, set_dynamic_pages};
pub use array::CpuArray;
pub use names::Names;

use crate::addr::VirtRange;
use crate::arch::CpuId;

/// Per-CPU variable: a `T` for each CPU.
#[cfg(not(target_os = "none"))]
pub type PerCpu<T> = CpuArray<T>;

/// CPUs that have per-CPU data: those that the device tree names, up or not (Linux:
/// for_each_possible_cpu).
pub fn possible_cpus() -> impl DoubleEndedIterator<Item = CpuId> + Clone {
    (0..nr_cpu_ids()).filter_map(CpuId::new)
}

/// Returns the addresses of the dynamic areas of all CPUs, as far as they are mapped; none on the
/// hosted machine.
pub fn dynamic_areas() -> impl Iterator<Item = VirtRange> {
    #[cfg(target_os = "none")]
    let areas = crate::arch::percpu::dynamic_areas();
    #[cfg(not(target_os = "none"))]
    let areas = core::iter::empty();
    areas
}

/// Returns the addresses of the per-CPU statics of the CPUs other than the boot CPU, whose lie in
/// the image; none on the hosted machine.
pub fn units() -> impl Iterator<Item = VirtRange> {
    #[cfg(target_os = "none")]
    let units = possible_cpus().skip(1).map(unit);
    #[cfg(not(target_os = "none"))]
    let units = core::iter::empty();
    units
}

/// Number of CPUs that have per-CPU data. The hosted machine has all.
#[cfg(not(target_os = "none"))]
#[must_use]
pub const fn nr_cpu_ids() -> usize {
    crate::arch::NR_CPUS
}
