//! The MMU: an adversary that keeps stale translations for as long as it may.

use crate::addr::VirtAddr;
use crate::arch::pgtable::descriptor::{Descriptor, PTRS_PER_TABLE};
use crate::arch::pgtable::tlbi::RangeOp;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

pub fn dsb_ishst() {}
pub fn dsb_ish() {}
pub fn dsb_nsh() {}
pub fn isb() {}
pub fn tlbi_vmalle1is() {}
pub fn tlbi_vmalle1() {}
pub fn tlbi_vaae1is(_va: VirtAddr) {}
pub fn tlbi_vaale1is(_va: VirtAddr) {}
pub fn tlbi_rvaae1is(_op: RangeOp) {}
pub fn tlbi_rvaale1is(_op: RangeOp) {}
pub fn has_tlb_range() -> bool {
    false
}
pub fn set_tlb_range(_there: bool) {}
pub fn read_descriptor(word: &AtomicU64) -> Descriptor {
    Descriptor::from_bits(word.load(Relaxed))
}
pub fn write_descriptor(word: &AtomicU64, d: Descriptor) {
    word.store(d.bits(), Relaxed);
}
pub fn clear_table(words: &[AtomicU64; PTRS_PER_TABLE]) {
    words.iter().for_each(|w| w.store(0, Relaxed));
}
