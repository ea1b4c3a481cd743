//! Having all CPUs go on from what memory holds now (Linux: kick_all_cpus_sync, kernel/smp.c).
#![deny(unsafe_code)]

use super::{kick, schedule};
use crate::arch::cpumask::CpuMask;
use crate::arch::irq::{is_masked, with_masked};
use crate::arch::{IrqMasked, cpu};
use crate::per_cpu;
use crate::percpu::possible_cpus;
use crate::sync::Request;

per_cpu! {
    static SYNC: Request = Request::new();
}

/// Has each other CPU take an exception, which ends what it has fetched ahead, and waits for that:
/// afterwards they all run the instructions that were there before the call. So a
/// [`StaticKey`](crate::arch::jump_label::StaticKey) that was switched is seen by all. CPUs that can't
/// be interrupted are passed over. Process context; CPUs that have interrupts masked are waited for.
///
/// # Panics
/// With interrupts masked: two CPUs would wait for each other.
#[track_caller]
pub fn kick_all_cpus_sync() {
    assert!(!is_masked(), "kick_all_cpus_sync with interrupts masked");
    let own = with_masked(cpu::id);
    let mut interrupted = CpuMask::NONE;
    for id in possible_cpus().filter(|&id| id != own) {
        let _ticket = SYNC.of(id).ask();
        if kick(id) {
            interrupted = interrupted.and_cpu(id);
        }
    }
    for request in interrupted.iter().map(|id| SYNC.of(id)) {
        let ticket = request.last();
        while !request.is_answered(ticket) {
            schedule();
            cpu::relax();
        }
    }
}

/// Answers [`kick_all_cpus_sync`], by the exception that brought the CPU here.
#[cfg_attr(not(target_os = "none"), expect(dead_code, reason = "interrupts call it"))]
pub(crate) fn sync_core_if_requested(irq: &IrqMasked) {
    SYNC.get(irq).run_if_requested(|| ());
}
