//! Writes to write-protected pages: copy, or reuse (Linux: do_wp_page, wp_page_copy, wp_page_reuse).
#![deny(unsafe_code)]

use super::counters::MmCounter;
use super::fault::{Attempt, Step};
use super::gather::Gather;
use super::hand::Hand;
use super::pte_page::{bytes_of, frame_of};
use super::{Fault, locked::LockedTable};
use crate::addr::{PAGE_SIZE, UserRange};
use crate::arch::pgtable::{FlushOwed, PteWord, flush_spurious};
use crate::mm::page::MappingKind;

impl Attempt<'_, '_> {
    /// Makes the write-protected page of `pte` one that the area's program may write to.
    #[inline(always)]
    pub(super) fn do_wp_page(&self, pte: PteWord, hand: &mut Hand) -> Step {
        if pte.attrs().is_special() && !self.area.shared {
            if !hand.has_zeroed(self.table.irq()) {
                return Step::ZeroedPage;
            }
            return self.replace_zero_page(pte, hand);
        }
        if self.area.shared || pte.attrs().is_exclusive() || is_last_mapping(pte) {
            return self.reuse(pte);
        }
        if !hand.has_page(self.table.irq()) {
            return Step::Page;
        }
        self.copy(pte, hand)
    }

    /// Makes the page writable where it is.
    fn reuse(&self, seen: PteWord) -> Step {
        let Some(table) = self.table.lock() else { return Step::Again };
        let mut old = table.words().pte(self.index);
        while is_same_page(old, seen) {
            let attrs = old.attrs().writable().dirty().young();
            if table.words().exchange_pte(self.index, old, PteWord::page(old.phys(), attrs)) {
                flush_spurious(self.at, self.tables.mm().context());
                return Step::Done;
            }
            old = table.words().pte(self.index);
        }
        Step::Again
    }

    /// Puts a page of its own in the place of the zero page.
    #[inline(always)]
    fn replace_zero_page(&self, seen: PteWord, hand: &mut Hand) -> Step {
        let Some(mut table) = self.table.lock() else { return Step::Again };
        let old = table.words().pte(self.index);
        if !is_same_page(old, seen) {
            return Step::Again;
        }
        if !self.replace(&mut table, old, hand) {
            return Step::Fail(Fault::MapErr);
        }
        self.tables.rss.add(MmCounter::Anon, 1);
        Step::Done
    }

    /// Puts a copy in the place of the page.
    fn copy(&self, seen: PteWord, hand: &mut Hand) -> Step {
        let Some(mut table) = self.table.lock() else { return Step::Again };
        let old = table.words().pte(self.index);
        if !is_same_page(old, seen) {
            return Step::Again;
        }
        if let Some(page) = hand.page_mut() {
            // Its mapping here keeps the page. Others may be writing to one of a file.
            bytes_of(old).copy_to(page.bytes_mut());
        }
        if !self.replace(&mut table, old, hand) {
            return Step::Fail(Fault::MapErr);
        }
        drop(table);
        // What CPUs held of the old page is gone.
        let mut gather = Gather::new(self.tables);
        gather.was_mapped(old);
        self.tables.rss.add(MmCounter::Anon, 1);
        Step::Done
    }

    /// Break-before-make from the page of `old` to that in the hand. Returns false, with nothing
    /// changed, where the address has no number in a family.
    #[inline(always)]
    fn replace(&self, table: &mut LockedTable<'_>, old: PteWord, hand: &mut Hand) -> bool {
        let Some(new) = self.own_page(hand) else { return false };
        let old = table.words().take_pte(self.index, old);
        let mut owed = FlushOwed::NONE;
        let page = UserRange::from_size(self.at.align_down(PAGE_SIZE), PAGE_SIZE);
        if let Some(page) = page.filter(|_| old.attrs().is_young()) {
            owed.owe(page);
        }
        owed.flush_for_make(self.tables.mm().context());
        table.words().set_pte(self.index, new);
        true
    }
}

/// Returns whether `old` maps the page of `seen` still, write-protected.
#[inline(always)]
fn is_same_page(old: PteWord, seen: PteWord) -> bool {
    old.is_valid() && old.phys() == seen.phys() && !old.attrs().is_writable()
}

/// Returns whether the page is anonymous and nobody else has it.
fn is_last_mapping(pte: PteWord) -> bool {
    let page = frame_of(pte).page();
    let is_anon = page.mapping().is_some_and(|mapping| mapping.kind() == MappingKind::Anon);
    is_anon && page.mapcount() == 0 && page.refcount() == 1
}
