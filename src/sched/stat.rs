//! Figures of all CPUs' run queues (Linux: kernel/sched/core.c, kernel/sched/cputime.c).
#![deny(unsafe_code)]

use super::loadavg::LoadAverage;
use super::rq::{CpuTime, RunQueue};
use super::schedule::lock_if_up;
use crate::arch::irq::with_masked;
use crate::arch::{CpuId, IrqMasked};
use crate::percpu::nr_cpu_ids;

static LOADAVG: LoadAverage = LoadAverage::new();

/// Returns the load average. Any context.
#[must_use]
pub fn loadavg() -> &'static LoadAverage {
    &LOADAVG
}

/// Takes a sample of the load average if it is time for one. From the tick of one CPU.
pub(super) fn tick(jiffies: u64, irq: &IrqMasked) {
    LOADAVG.tick(jiffies, || sum(RunQueue::nr_running, irq));
}

/// Sums a figure of the run queues of all CPUs.
fn sum<T: core::iter::Sum>(f: impl Fn(&RunQueue) -> T, irq: &IrqMasked) -> T {
    let cpus = (0..nr_cpu_ids()).filter_map(CpuId::new);
    cpus.filter_map(|cpu| lock_if_up(cpu, irq).map(|rq| f(&rq))).sum()
}

/// Returns the figures of all CPUs' queues; each CPU's are read in one go. Any context.
#[must_use]
pub fn sched_stat() -> SchedStat {
    with_masked(|irq| SchedStat {
        running: sum(RunQueue::nr_running, irq),
        switches: sum(RunQueue::nr_switches, irq),
    })
}

/// Returns how the time of `cpu` was spent, `None` where it is not up (Linux: kcpustat_cpu). Any
/// context.
#[must_use]
pub fn cpu_time(cpu: CpuId) -> Option<CpuTime> {
    with_masked(|irq| lock_if_up(cpu, irq).map(|rq| rq.time()))
}

/// Figures of the tasks of all CPUs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SchedStat {
    /// Tasks that run or are ready (Linux: nr_running).
    pub running: usize,
    /// Switches from one task to another since the machine came up (Linux: nr_context_switches).
    pub switches: u64,
}
