//! Emptying the sheaves of all CPUs (Linux: flush_all_cpus_locked, mm/slub.c).
//!
//! A CPU's sheaves are used by that CPU alone, so another CPU interrupts it and waits until it has
//! emptied them.
#![deny(unsafe_code)]

use super::caches::pinned;
use super::node::{SlabList, release_all};
use crate::arch::cpumask::CpuMask;
use crate::arch::irq::{is_masked, with_masked};
use crate::arch::{IrqMasked, cpu};
use crate::per_cpu;
use crate::percpu::possible_cpus;
use crate::sched;
use crate::sync::Request;
use core::panic::Location;

per_cpu! {
    static FLUSH: Request = Request::new();
}

/// Has each other CPU put the objects in its sheaves back into slabs, and waits for that. A CPU
/// that can't be interrupted is passed over; with interrupts masked, all are. Process context.
pub(super) fn flush_other_cpus() {
    if is_masked() {
        return;
    }
    let own = with_masked(cpu::id);
    let mut interrupted = CpuMask::NONE;
    for id in possible_cpus().filter(|&id| id != own) {
        let _ticket = FLUSH.of(id).ask();
        if sched::kick(id) {
            interrupted = interrupted.and_cpu(id);
        }
    }
    for request in interrupted.iter().map(|id| FLUSH.of(id)) {
        let ticket = request.last();
        while !request.is_answered(ticket) {
            sched::cond_resched();
            cpu::relax();
        }
    }
}

/// Empties this CPU's sheaves if another CPU asked for it. Called by the interrupt with which it
/// asks.
#[cfg_attr(not(target_os = "none"), expect(dead_code, reason = "interrupts call it"))]
pub(crate) fn flush_if_requested(irq: &IrqMasked) {
    FLUSH.get(irq).run_if_requested(|| {
        for cache in pinned() {
            let mut discard = SlabList::new();
            cache.flush_cpu(irq, Location::caller(), &mut discard);
            release_all(discard);
        }
    });
}
