//! Barriers, TLB invalidation and descriptor words, for `arch::pgtable` alone.
//!
//! Most functions are one instruction; [`dsb_ish`] is two more on CPUs with a certain erratum.
//! Which of them to issue, and in which order, is
//! decided in `arch::pgtable`; the hosted machine provides the same names.

use super::bbm_window::BbmWindow;
use super::{cpu, errata, probe};
use crate::addr::{PAGE_SIZE, VirtAddr};
use crate::arch::IrqMasked;
use crate::arch::errata::Workarounds;
use crate::arch::irq::with_masked;
use crate::arch::lines::{Line, Lines};
use crate::arch::pgtable::descriptor::{Descriptor, PTRS_PER_TABLE};
use crate::arch::pgtable::tlbi::{RangeOp, VaOp};
use core::arch::asm;
use core::sync::atomic::{
    AtomicBool, AtomicU64,
    Ordering::{AcqRel, Relaxed},
};

macro_rules! instruction {
    ($(#[$doc:meta])* $name:ident, $asm:literal) => {
        $(#[$doc])*
        #[inline(always)]
        pub fn $name() {
            // SAFETY: orders memory accesses or drops cached translations, which is
            // harmless at any time; no `nomem`, so that the compiler keeps order too.
            unsafe { asm!($asm, options(nostack, preserves_flags)) }
        }
    };
}

instruction!(
    /// Earlier stores are visible to all CPUs of the inner shareable domain, their
    /// table walkers included.
    dsb_ishst, "dsb ishst"
);
/// Waits until earlier accesses and TLB invalidations are complete on all CPUs of the inner
/// shareable domain. Ends a sequence of TLB invalidations: if a CPU needs a second one
/// ([`Workarounds::REPEAT_TLBI`]), one of any address suffices (Linux: __tlbi_sync_s1ish).
#[inline(always)]
pub fn dsb_ish() {
    // SAFETY: as above.
    unsafe { asm!("dsb ish", options(nostack, preserves_flags)) }
    if errata::workarounds().contains(Workarounds::REPEAT_TLBI) {
        // SAFETY: as above.
        unsafe { asm!("tlbi vale1is, xzr", "dsb ish", options(nostack, preserves_flags)) }
    }
}
instruction!(
    /// Earlier accesses and local TLB invalidations are complete for this CPU.
    dsb_nsh, "dsb nsh"
);
instruction!(
    /// Synchronizes the context: later instructions are fetched and translated anew.
    isb, "isb"
);
instruction!(
    /// Drops all EL1&0 translations on all CPUs.
    tlbi_vmalle1is, "tlbi vmalle1is"
);
instruction!(
    /// Drops all EL1&0 translations on this CPU.
    tlbi_vmalle1, "tlbi vmalle1"
);

/// Drops what is cached of `va`, of all ASIDs, at all levels, on all CPUs.
#[inline(always)]
pub fn tlbi_vaae1is(va: impl Into<VaOp>) {
    let operand = va.into().operand();
    // SAFETY: as above.
    unsafe { asm!("tlbi vaae1is, {}", in(reg) operand, options(nostack, preserves_flags)) }
}

/// Drops what is cached of `va`, of all ASIDs, at the last level, on all CPUs.
#[inline(always)]
pub fn tlbi_vaale1is(va: impl Into<VaOp>) {
    let operand = va.into().operand();
    // SAFETY: as above.
    unsafe { asm!("tlbi vaale1is, {}", in(reg) operand, options(nostack, preserves_flags)) }
}

/// Range form of [`tlbi_vaae1is`]. The CPU must have FEAT_TLBIRANGE ([`has_tlb_range`]).
#[inline(always)]
pub(crate) fn tlbi_rvaae1is(op: RangeOp) {
    // TLBI RVAAE1IS by its number: assemblers know the name only from Armv8.4 on.
    // SAFETY: as above.
    unsafe {
        asm!("sys #0, c8, c2, #3, {}", in(reg) op.operand(), options(nostack, preserves_flags));
    }
}

/// Range form of [`tlbi_vaale1is`]. The CPU must have FEAT_TLBIRANGE ([`has_tlb_range`]).
#[inline(always)]
pub(crate) fn tlbi_rvaale1is(op: RangeOp) {
    // TLBI RVAALE1IS.
    // SAFETY: as above.
    unsafe {
        asm!("sys #0, c8, c2, #7, {}", in(reg) op.operand(), options(nostack, preserves_flags));
    }
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

/// Compare-and-exchange form of [`write_descriptor`]: stores `new` if the word still is `old`,
/// and returns true if it did.
#[inline(always)]
pub(crate) fn exchange_descriptor(word: &AtomicU64, old: Descriptor, new: Descriptor) -> bool {
    word.compare_exchange(old.bits(), new.bits(), AcqRel, Relaxed).is_ok()
}

/// Invalidates all words of a table, which lies in Normal memory.
pub(crate) fn clear_table(words: &[AtomicU64; PTRS_PER_TABLE]) {
    let dczid: u64;
    // SAFETY: reads an ID register.
    unsafe { asm!("mrs {}, dczid_el0", out(reg) dczid, options(nomem, nostack, preserves_flags)) };
    // DZP (bit 4) forbids DC ZVA; BS (3:0) is log2 of the words of 4 bytes that it zeroes.
    let block = 4usize << (dczid & 0xf);
    if dczid & 1 << 4 != 0 || block > PAGE_SIZE {
        words.iter().for_each(|w| w.store(0, Relaxed));
        return;
    }
    let start = words.as_ptr().expose_provenance();
    for Line { at, .. } in Lines::of(start, start + PAGE_SIZE, block) {
        // SAFETY: zeroes `block` bytes within the table: it is page-aligned, as every
        // `Table` is, and its words may be written through a shared borrow.
        unsafe { asm!("dc zva, {}", in(reg) at, options(nostack, preserves_flags)) };
    }
}
