//! Contiguous sets of a table of pages, edited as a whole.
#![deny(unsafe_code)]

use super::descriptor::{CONT_ENTRIES, Descriptor, Level};
use super::regime::Regime;
use super::table::Leaf;
use crate::addr::PAGE_SIZE;
use crate::arch::mmu;
use core::marker::PhantomData;
use core::sync::atomic::AtomicU64;

/// Entries by contiguous sets: their number is known, and so no loop counts them.
pub(super) struct Sets<'a, R>(&'a [[AtomicU64; CONT_ENTRIES]], PhantomData<R>);

impl<'a, R: Regime> Sets<'a, R> {
    /// The sets of `words`.
    #[inline(always)]
    pub(super) fn new(words: &'a [AtomicU64]) -> Self {
        Self(words.as_chunks().0, PhantomData)
    }
    /// Returns whether all entries are empty, neither valid nor present-invalid.
    #[inline(always)]
    pub(super) fn are_free(&self) -> bool {
        let used = |set: &[AtomicU64; _]| {
            set.iter().fold(0, |bits, word| bits | mmu::read_descriptor(word).bits())
        };
        self.0.iter().all(|set| used(set) == 0)
    }
    /// Maps pages of contiguous memory, as `leaf` has it for the first of them.
    #[inline(always)]
    pub(super) fn set(&self, leaf: Leaf<R>) {
        let mut d = leaf.descriptor(Level::Pte);
        for set in self.0 {
            for word in set {
                mmu::write_descriptor(word, d);
                d = d.further(PAGE_SIZE);
            }
        }
    }
    /// Clears the entries. Returns true if any was not clear.
    #[inline(always)]
    pub(super) fn clear(&self) -> bool {
        let mut any = 0;
        for set in self.0 {
            for word in set {
                any |= mmu::read_descriptor(word).bits();
                mmu::write_descriptor(word, Descriptor::INVALID);
            }
        }
        any != 0
    }
}
