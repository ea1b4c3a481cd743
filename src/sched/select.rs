//! Choice of the CPU on which a task waits that was woken (Linux: select_idle_sibling,
//! kernel/sched/fair.c).
#![deny(unsafe_code)]

use crate::arch::cpumask::CpuMask;
use crate::arch::{CpuId, NR_CPUS};

/// Returns `last` if the task may run there and the CPU is idle; else the idle CPU of `allowed`
/// that is nearest to it; where none is idle, `last` or the nearest of `allowed`. `last` too where
/// `allowed` is empty. Nearness is that of the numbers: CPUs that share more of their high bits are
/// nearer, as those of a cluster.
#[must_use]
pub fn select_cpu(last: CpuId, allowed: CpuMask, idle: CpuMask) -> CpuId {
    if allowed.and(idle).contains(last) {
        return last;
    }
    let nearest = |among: CpuMask| {
        let distances = 0..NR_CPUS.next_power_of_two();
        distances.filter_map(|d| CpuId::new(last.index() ^ d)).find(|&cpu| among.contains(cpu))
    };
    if !allowed.and(idle).is_empty()
        && let Some(cpu) = nearest(allowed.and(idle))
    {
        return cpu;
    }
    nearest(allowed).unwrap_or(last)
}
