//! Choice of the CPU on which a task waits that was woken (Linux: select_idle_sibling,
//! kernel/sched/fair.c).
#![deny(unsafe_code)]

use crate::arch::CpuId;
use crate::arch::cpumask::CpuMask;

/// Returns `last` if the task may run there and the CPU is idle; else the idle CPU of `allowed`
/// that is nearest to it; where none is idle, `last` or the nearest of `allowed`. `last` too where
/// `allowed` is empty.
#[must_use]
pub fn select_cpu(last: CpuId, allowed: CpuMask, idle: CpuMask) -> CpuId {
    if allowed.and(idle).contains(last) {
        return last;
    }
    let among = if allowed.and(idle).is_empty() { allowed } else { allowed.and(idle) };
    among.nearest_cpu(last).unwrap_or(last)
}
