//! Instructions and table words of the emulated CPU: the names that `aarch64::mmu` has too.

use super::adversary::State;
use super::choice::Step;
use super::context::{Context, Tcr};
use super::scope::Scope;
use super::tables::Change;
use super::{Access, this_cpu};
use crate::addr::{PAGE_SIZE, VirtAddr};
use crate::arch::hosted::machine;
use crate::arch::pgtable::descriptor::{Descriptor, PTRS_PER_TABLE};
use crate::arch::pgtable::tlbi::{RangeOp, VaOp, decode_asid, decode_range, decode_va};
use crate::arch::{CpuId, IrqMasked};
use core::sync::atomic::{
    AtomicU64,
    Ordering::{Relaxed, SeqCst},
};

pub(super) fn step(f: impl FnOnce(&mut State, CpuId)) {
    let cpu = this_cpu();
    machine::current().mmu().with(|s| f(s, cpu));
}

/// Notes that this CPU has taken the lock whose word is at `lock`.
pub(in crate::arch::hosted) fn lock_taken(lock: usize) {
    if let Some(machine) = machine::try_current() {
        machine.mmu().with(|s| s.lock_taken(this_cpu(), lock));
    }
}
/// Notes that this CPU is about to release the lock whose word is at `lock`.
pub(in crate::arch::hosted) fn lock_given_up(lock: usize) {
    if let Some(machine) = machine::try_current() {
        machine.mmu().with(|s| s.lock_given_up(this_cpu(), lock));
    }
}

/// Earlier stores are visible to all walkers.
pub fn dsb_ishst() {
    step(|s, cpu| s.step(Step::DsbIshst, |s| s.stores_complete(cpu, true)));
}
/// Earlier stores are visible, and earlier TLB invalidations complete, on all CPUs.
pub fn dsb_ish() {
    step(|s, cpu| {
        s.step(Step::DsbIsh, |s| {
            s.stores_complete(cpu, true);
            s.invalidations_complete(cpu, true);
        });
    });
    let [began, ended] = &machine::current().mmu().breaks;
    if began.load(SeqCst) != ended.load(SeqCst) {
        // Other CPUs get to see what is broken.
        std::thread::sleep(std::time::Duration::from_micros(50));
    }
}
/// Earlier stores are visible, and earlier TLB invalidations complete, on this CPU.
pub fn dsb_nsh() {
    step(|s, cpu| {
        s.step(Step::DsbNsh, |s| {
            s.stores_complete(cpu, false);
            s.invalidations_complete(cpu, false);
        });
    });
}
/// Synchronizes the context: this CPU translates later accesses anew.
pub fn isb() {
    step(|s, cpu| s.step(Step::Isb, |s| s.synchronize(cpu)));
}
/// Drops all translations of stage 1 under the current VMID, and what combines both stages, on all
/// CPUs.
pub fn tlbi_vmalle1is() {
    step(|s, cpu| s.step(Step::TlbiAll, |s| s.invalidate(cpu, Scope::ALL, true)));
}
/// Drops all translations on this CPU.
pub fn tlbi_vmalle1() {
    step(|s, cpu| s.step(Step::TlbiLocal, |s| s.invalidate(cpu, Scope::ALL, false)));
}
/// Drops what is cached of `va` at all levels on all CPUs.
pub fn tlbi_vaae1is(va: impl Into<VaOp>) {
    let scope = Scope::new(decode_va(va.into().operand()), PAGE_SIZE, false);
    step(|s, cpu| s.step(Step::TlbiVa, |s| s.invalidate(cpu, scope, true)));
}
/// Drops what is cached of `va` at the last level on all CPUs.
pub fn tlbi_vaale1is(va: impl Into<VaOp>) {
    let scope = Scope::new(decode_va(va.into().operand()), PAGE_SIZE, true);
    step(|s, cpu| s.step(Step::TlbiVaLast, |s| s.invalidate(cpu, scope, true)));
}
/// Range form of [`tlbi_vaae1is`]. The CPU must have FEAT_TLBIRANGE ([`has_tlb_range`]).
pub(crate) fn tlbi_rvaae1is(op: RangeOp) {
    let (start, pages) = decode_range(op.operand());
    let scope = Scope::new(start, pages * PAGE_SIZE, false);
    step(|s, cpu| s.step(Step::TlbiRange, |s| s.invalidate(cpu, scope, true)));
}
/// Range form of [`tlbi_vaale1is`]. The CPU must have FEAT_TLBIRANGE ([`has_tlb_range`]).
pub(crate) fn tlbi_rvaale1is(op: RangeOp) {
    let (start, pages) = decode_range(op.operand());
    let scope = Scope::new(start, pages * PAGE_SIZE, true);
    step(|s, cpu| s.step(Step::TlbiRangeLast, |s| s.invalidate(cpu, scope, true)));
}

/// Returns true if the machine's CPUs invalidate by range.
#[must_use]
pub fn has_tlb_range() -> bool {
    machine::current().mmu().tlb_range.load(Relaxed)
}
/// Says whether the machine's CPUs invalidate by range.
#[cfg(test)]
pub(in crate::arch) fn set_tlb_range(there: bool) {
    machine::current().mmu().tlb_range.store(there, Relaxed);
}

/// Begins a break: until [`end_bbm`], memory in use may be unmapped for a moment, and other CPUs
/// that fault retry.
pub(crate) fn begin_bbm() {
    machine::current().mmu().breaks[0].fetch_add(1, SeqCst);
}
/// All is mapped again, and visible to walkers.
pub(crate) fn end_bbm() {
    let cpu = this_cpu();
    let mmu = machine::current().mmu();
    mmu.with(|s| s.assert_synchronized(cpu));
    mmu.breaks[1].fetch_add(1, SeqCst);
}

/// Returns true if a read of `va` finds a translation; waits for another CPU's break to end. On
/// a machine without tables every address is mapped.
#[must_use]
pub fn wait_mapped(va: VirtAddr, _: &IrqMasked) -> bool {
    let mmu = machine::current().mmu();
    !mmu.on.load(Relaxed) || mmu.access_retried(va, Access::Read).is_ok()
}

/// Drops what is cached of `op`'s address and ASID at all levels on all CPUs.
pub fn tlbi_vae1is(op: VaOp) {
    step(|s, cpu| s.step(Step::TlbiVaAsid, |s| s.invalidate(cpu, one(op, false), true)));
}
/// Drops what is cached of `op`'s address and ASID at the last level on all CPUs.
pub fn tlbi_vale1is(op: VaOp) {
    step(|s, cpu| s.step(Step::TlbiVaAsidLast, |s| s.invalidate(cpu, one(op, true), true)));
}
/// Drops what is cached of `op`'s address and ASID at all levels on this CPU.
pub fn tlbi_vae1(op: VaOp) {
    step(|s, cpu| s.step(Step::TlbiVaAsidLocal, |s| s.invalidate(cpu, one(op, false), false)));
}
/// Drops what is cached of `op`'s address and ASID at the last level on this CPU.
pub fn tlbi_vale1(op: VaOp) {
    step(|s, cpu| s.step(Step::TlbiVaAsidLocal, |s| s.invalidate(cpu, one(op, true), false)));
}
/// Drops all that is cached under an ASID, but for what is global, on all CPUs.
pub fn tlbi_aside1is(asid: u16) {
    let scope = Scope::ALL.of_asid(asid);
    step(|s, cpu| s.step(Step::TlbiAsid, |s| s.invalidate(cpu, scope, true)));
}
/// Range form of [`tlbi_vae1is`]. The CPU must have FEAT_TLBIRANGE ([`has_tlb_range`]).
pub fn tlbi_rvae1is(op: RangeOp) {
    step(|s, cpu| s.step(Step::TlbiRangeAsid, |s| s.invalidate(cpu, range(op, false), true)));
}
/// Range form of [`tlbi_vale1is`]. The CPU must have FEAT_TLBIRANGE ([`has_tlb_range`]).
pub fn tlbi_rvale1is(op: RangeOp) {
    step(|s, cpu| s.step(Step::TlbiRangeAsidLast, |s| s.invalidate(cpu, range(op, true), true)));
}

/// The scope of an invalidation by address and ASID.
fn one(op: VaOp, last_level: bool) -> Scope {
    let operand = op.operand();
    Scope::new(decode_va(operand), PAGE_SIZE, last_level).of_asid(decode_asid(operand))
}
/// The scope of an invalidation by range and ASID.
fn range(op: RangeOp, last_level: bool) -> Scope {
    let operand = op.operand();
    let (start, pages) = decode_range(operand);
    Scope::new(start, pages * PAGE_SIZE, last_level).of_asid(decode_asid(operand))
}

/// Writes TTBR0_EL1: the root of the lower half, and the ASID in bits 63:48. Takes effect at the
/// next `isb` or exception return, and may before.
///
/// # Safety
/// The root is a table of this machine's RAM, and stays one until this CPU has another in
/// TTBR0_EL1 and is synchronized.
pub unsafe fn write_ttbr0(value: u64) {
    step(|s, cpu| {
        s.step(Step::Ttbr0, |s| {
            s.write_register(cpu, |context| Context { ttbr0: value, ..context });
        });
    });
}
/// Returns TTBR0_EL1 as it was last written; 0 on a machine without tables.
#[must_use]
pub fn read_ttbr0() -> u64 {
    let cpu = this_cpu();
    machine::current().mmu().with(|s| s.cpus[cpu.index()].current.ttbr0).unwrap_or(0)
}
/// Writes TCR_EL1. Takes effect as [`write_ttbr0`] does.
///
/// # Safety
/// With it the lower half is translated by what TTBR0_EL1 holds, or not at all.
///
/// # Panics
/// Where the value asks for what is not modelled.
pub unsafe fn write_tcr(value: u64) {
    let tcr = Tcr::new(value);
    step(|s, cpu| s.write_register(cpu, |context| Context { tcr, ..context }));
}
/// Writes PSTATE.PAN: while it is set, the kernel's own accesses to what EL0 may access fault. It
/// is set at first.
pub fn set_pan(on: bool) {
    step(|s, cpu| s.cpus[cpu.index()].pan = on);
}

/// Reads a word of a table, as the CPU sees its own stores.
#[must_use]
pub(crate) fn read_descriptor(word: &AtomicU64) -> Descriptor {
    Descriptor::from_bits(word.load(Relaxed))
}

/// Writes a word of a table.
pub(crate) fn write_descriptor(word: &AtomicU64, descriptor: Descriptor) {
    if change(word, Change::Store(descriptor)).is_none() {
        word.store(descriptor.bits(), Relaxed);
    }
}

/// Swaps a word of a table, atomically against updates by hardware; the word before.
pub fn swap_descriptor(word: &AtomicU64, descriptor: Descriptor) -> Descriptor {
    let old = change(word, Change::Swap(descriptor));
    old.unwrap_or_else(|| Descriptor::from_bits(word.swap(descriptor.bits(), Relaxed)))
}

/// Compare-and-exchange form of [`write_descriptor`]: stores `new` if the word still is `old`,
/// and returns true if it did.
pub(crate) fn exchange_descriptor(word: &AtomicU64, old: Descriptor, new: Descriptor) -> bool {
    match change(word, Change::Exchange(old, new)) {
        Some(before) => before == old,
        None => word.compare_exchange(old.bits(), new.bits(), Relaxed, Relaxed).is_ok(),
    }
}

/// Changes a word under the eyes of the MMU; `None` where none is on.
fn change(word: &AtomicU64, change: Change) -> Option<Descriptor> {
    let cpu = this_cpu();
    machine::current().mmu().with(|s| s.change(cpu, word, change))
}

/// Invalidates all words of a table that isn't linked.
pub(crate) fn clear_table(words: &[AtomicU64; PTRS_PER_TABLE]) {
    let cpu = this_cpu();
    if machine::current().mmu().with(|s| s.clear_table(cpu, words)).is_none() {
        words.iter().for_each(|w| w.store(0, Relaxed));
    }
}
