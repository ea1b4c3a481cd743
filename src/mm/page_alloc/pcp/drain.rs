//! Giving all that CPUs' lists hold back to the zones: one's own, or by asking the others
//! (Linux: drain_local_pages, drain_all_pages).
//!
//! A CPU that wants another's lists emptied interrupts it; one that can't be interrupted finds
//! at its next allocation that it was asked.
#![deny(unsafe_code)]

use super::{DRAIN, PCP, give_back, of_zone, setup};
use crate::arch::cpumask::CpuMask;
use crate::arch::irq::{is_masked, with_masked};
use crate::arch::{IrqMasked, cpu};
use crate::mm::mmzone::ZoneId;
use crate::mm::page_alloc::cpu_to_node;
use crate::percpu::possible_cpus;
use crate::sched;
use core::sync::atomic::Ordering::{self, Relaxed};

/// Gives all that this CPU's lists of a zone hold back to it, and what they were granted.
fn drain_zone(irq: &IrqMasked, id: ZoneId) {
    let cpu = PCP.get(irq);
    if !cpu.is_used(id) {
        return;
    }
    if let Some(first) = of_zone(id).next() {
        give_back(cpu, &mut id.zone().lock(irq), first, u32::MAX);
    }
    cpu.each(id, |list| list.add_room(-list.get().room()));
    cpu.granted[id.index()].store(0, Relaxed);
}

/// Gives all that this CPU's lists hold back to the zones (Linux: drain_local_pages). Any context.
pub fn drain_local_pages(irq: &IrqMasked) {
    for id in ZoneId::all() {
        drain_zone(irq, id);
    }
}

/// Drains this CPU's lists if another CPU asked for it, and returns true if one did.
pub(super) fn drain_if_asked(irq: &IrqMasked) -> bool {
    let asked = &PCP.get(irq).asked;
    let is_asked = asked.load(Relaxed) && asked.swap(false, Ordering::Acquire);
    if is_asked {
        let id = cpu::id(irq);
        setup(id, cpu_to_node(id));
        drain_local_pages(irq);
    }
    is_asked
}

/// Selection of the CPUs that are asked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Whom {
    /// CPUs whose lists hold pages or have room for some.
    Users,
    /// All CPUs: one whose lists are empty may be about to put a page there.
    All,
}

/// Drains this CPU's lists, and asks the other CPUs to drain theirs: those that can be
/// interrupted do so at once, the others at their next allocation. Returns the CPUs that were
/// interrupted. Any context.
fn ask_to_drain(irq: &IrqMasked, whom: Whom) -> CpuMask {
    let own = cpu::id(irq);
    let mut interrupted = CpuMask::NONE;
    for id in possible_cpus().filter(|&id| id != own) {
        let other = PCP.of(id);
        if whom == Whom::Users && !ZoneId::all().any(|zone| other.is_used(zone)) {
            continue;
        }
        let _ticket = DRAIN.of(id).ask();
        if sched::kick(id) {
            interrupted = interrupted.and_cpu(id);
        } else {
            // Its next allocation then goes by way of the zones, and looks.
            other.preferred.iter().for_each(|entry| entry.set(None));
            other.asked.store(true, Ordering::Release);
        }
    }
    drain_local_pages(irq);
    interrupted
}

/// Drains the lists of all CPUs, as far as they can be interrupted, and waits for that.
/// Threads with interrupts on; with them masked it does not wait (Linux: drain_all_pages).
pub fn drain_all_pages() {
    let _ = drain(Whom::Users);
}

/// Like [`drain_all_pages`], but interrupts every CPU that can be, its lists empty or not:
/// afterwards each has ended the masked section that it was in. Returns whether all have (Linux:
/// __drain_all_pages with force_all_cpus).
#[must_use]
pub(in crate::mm) fn drain_all_pages_forced() -> bool {
    drain(Whom::All)
}

/// Drains the lists of the other CPUs as `whom` says, and waits for those that were interrupted.
/// Returns true if all of them have drained; false at once, without waiting, if interrupts are
/// masked.
fn drain(whom: Whom) -> bool {
    /// Poll limit before we stop waiting for a CPU's drain.
    const PATIENCE: u32 = 1 << 26;
    let interrupted = with_masked(|irq| ask_to_drain(irq, whom));
    if is_masked() {
        return false;
    }
    let mut all = true;
    for id in interrupted.iter() {
        let request = DRAIN.of(id);
        let (ticket, mut looks) = (request.last(), 0);
        while !request.is_answered(ticket) && looks < PATIENCE {
            cpu::relax();
            looks += 1;
        }
        all &= request.is_answered(ticket);
    }
    all
}

/// Drains this CPU's lists if another asked for it. Called by the interrupt with which it asks.
pub fn drain_if_requested(irq: &IrqMasked) {
    DRAIN.get(irq).run_if_requested(|| drain_local_pages(irq));
}
