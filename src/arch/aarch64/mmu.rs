//! Barriers, TLB invalidation and descriptor words, for `arch::pgtable` alone.
//!
//! Most functions are one instruction; [`dsb_ish`] is two more on CPUs with a certain erratum.
//! Which of them to issue, and in which order, is
//! decided in `arch::pgtable`; the hosted machine provides the same names.

use super::bbm_window::BbmWindow;
use super::sysreg::{DCZID, DCZID_EL0};
pub use super::sysreg::{dsb_ishst, dsb_nsh, isb, tlbi_vmalle1, tlbi_vmalle1is};
use super::{cpu, errata, probe, sysreg};
use crate::addr::{PAGE_SIZE, VirtAddr};
use crate::arch::IrqMasked;
use crate::arch::errata::Workarounds;
use crate::arch::irq::with_masked;
use crate::arch::lines::{Line, Lines};
use crate::arch::pgtable::descriptor::{Descriptor, PTRS_PER_TABLE};
use crate::arch::pgtable::tlbi::{RangeOp, VaOp, asid_operand};
use core::sync::atomic::{
    AtomicBool, AtomicU64,
    Ordering::{AcqRel, Relaxed},
};
use tock_registers::interfaces::Readable;

/// Waits until earlier accesses and TLB invalidations are complete on all CPUs of the inner
/// shareable domain. Ends a sequence of TLB invalidations: if a CPU needs a second one
/// ([`Workarounds::REPEAT_TLBI`]), one of any address suffices (Linux: __tlbi_sync_s1ish).
#[inline(always)]
pub fn dsb_ish() {
    sysreg::dsb_ish();
    if errata::workarounds().contains(Workarounds::REPEAT_TLBI) {
        sysreg::tlbi_vale1is_zero();
        sysreg::dsb_ish();
    }
}

/// Drops what is cached of `va`, of all ASIDs, at all levels, on all CPUs.
#[inline(always)]
pub fn tlbi_vaae1is(va: impl Into<VaOp>) {
    sysreg::tlbi_vaae1is(va.into().operand());
}

/// Drops what is cached of `va`, of all ASIDs, at the last level, on all CPUs.
#[inline(always)]
pub fn tlbi_vaale1is(va: impl Into<VaOp>) {
    sysreg::tlbi_vaale1is(va.into().operand());
}

/// Range form of [`tlbi_vaae1is`]. The CPU must have FEAT_TLBIRANGE ([`has_tlb_range`]).
#[inline(always)]
pub(crate) fn tlbi_rvaae1is(op: RangeOp) {
    sysreg::tlbi_rvaae1is(op.operand());
}

/// Range form of [`tlbi_vaale1is`]. The CPU must have FEAT_TLBIRANGE ([`has_tlb_range`]).
#[inline(always)]
pub(crate) fn tlbi_rvaale1is(op: RangeOp) {
    sysreg::tlbi_rvaale1is(op.operand());
}

/// Drops what is cached of an address and ASID, at all levels, on all CPUs.
#[inline(always)]
pub fn tlbi_vae1is(op: VaOp) {
    sysreg::tlbi_vae1is(op.operand());
}

/// Drops what is cached of an address and ASID, at the last level, on all CPUs.
#[inline(always)]
pub fn tlbi_vale1is(op: VaOp) {
    sysreg::tlbi_vale1is(op.operand());
}

/// Drops what is cached of an address and ASID, at all levels, on this CPU.
#[inline(always)]
pub fn tlbi_vae1(op: VaOp) {
    sysreg::tlbi_vae1(op.operand());
}

/// Drops all that is cached under an ASID, but for what is global, on all CPUs.
#[inline(always)]
pub fn tlbi_aside1is(asid: u16) {
    sysreg::tlbi_aside1is(asid_operand(asid));
}

/// Range form of [`tlbi_vae1is`]. The CPU must have FEAT_TLBIRANGE ([`has_tlb_range`]).
#[inline(always)]
pub fn tlbi_rvae1is(op: RangeOp) {
    sysreg::tlbi_rvae1is(op.operand());
}

/// Range form of [`tlbi_vale1is`]. The CPU must have FEAT_TLBIRANGE ([`has_tlb_range`]).
#[inline(always)]
pub fn tlbi_rvale1is(op: RangeOp) {
    sysreg::tlbi_rvale1is(op.operand());
}

static TLB_RANGE: AtomicBool = AtomicBool::new(false);

/// Returns true if every CPU has FEAT_TLBIRANGE.
#[inline]
#[must_use]
pub fn has_tlb_range() -> bool {
    TLB_RANGE.load(Relaxed)
}

/// Says whether every CPU has FEAT_TLBIRANGE; at boot, from `IdMmfr::has_tlb_range`.
pub(in crate::arch) fn set_tlb_range(there: bool) {
    TLB_RANGE.store(there, Relaxed);
}

static BBM_WINDOW: BbmWindow = BbmWindow::new();

/// Begins a break: until [`end_bbm`], memory in use may be unmapped for a moment, and other CPUs
/// that fault retry. Called under the page-table lock, so there is one break at a time.
pub(crate) fn begin_bbm() {
    BBM_WINDOW.begin(with_masked(|irq| cpu::id(irq).index() as u32));
}

/// Ends the break: everything is mapped again, and visible to walkers.
pub(crate) fn end_bbm() {
    BBM_WINDOW.end();
}

/// Returns true if a translation fault at `va` was spurious and the access can be retried: the
/// MMU has a translation now, or lacked one while another CPU's break was under way. A CPU may
/// also miss a mapping that another has just made, if it translates ahead of the load that told
/// it of the mapping (Linux: is_spurious_el1_translation_fault).
#[must_use]
pub(crate) fn is_spurious_fault(va: VirtAddr, irq: &IrqMasked) -> bool {
    wait_mapped(va, irq)
}

/// Returns true if a read of `va` finds a translation; waits for another CPU's break to end.
#[must_use]
pub(crate) fn wait_mapped(va: VirtAddr, irq: &IrqMasked) -> bool {
    BBM_WINDOW.is_spurious_fault(cpu::id(irq).index() as u32, || {
        isb();
        probe::is_mapped(va, irq)
    })
}

/// Reads a word of a table.
#[inline(always)]
#[must_use]
pub(crate) fn read_descriptor(word: &AtomicU64) -> Descriptor {
    Descriptor::from_bits(word.load(Relaxed))
}

/// Writes a word of a table, in one access of 64 bits.
#[inline(always)]
pub(crate) fn write_descriptor(word: &AtomicU64, descriptor: Descriptor) {
    word.store(descriptor.bits(), Relaxed);
}

/// Swaps a word of a table, atomically against updates by hardware; the word before.
#[inline(always)]
pub(crate) fn swap_descriptor(word: &AtomicU64, descriptor: Descriptor) -> Descriptor {
    Descriptor::from_bits(word.swap(descriptor.bits(), AcqRel))
}

/// Compare-and-exchange form of [`write_descriptor`]: stores `new` if the word still is `old`,
/// and returns true if it did.
#[inline(always)]
pub(crate) fn exchange_descriptor(word: &AtomicU64, old: Descriptor, new: Descriptor) -> bool {
    word.compare_exchange(old.bits(), new.bits(), AcqRel, Relaxed).is_ok()
}

/// Invalidates all words of a table, which lies in Normal memory.
pub(crate) fn clear_table(words: &[AtomicU64; PTRS_PER_TABLE]) {
    let dczid = DCZID_EL0.extract();
    let block = 4usize << dczid.read(DCZID::BS);
    if dczid.is_set(DCZID::DZP) || block > PAGE_SIZE {
        words.iter().for_each(|w| w.store(0, Relaxed));
        return;
    }
    let start = words.as_ptr().expose_provenance();
    if block == sysreg::ZVA_BLOCK {
        // SAFETY: as below.
        return unsafe { sysreg::dc_zva_page(start) };
    }
    for Line { at, .. } in Lines::of(start, start + PAGE_SIZE, block) {
        // SAFETY: zeroes `block` bytes within the table: it is page-aligned, as every
        // `Table` is, and its words may be written through a shared borrow.
        unsafe { sysreg::dc_zva(at) };
    }
}
