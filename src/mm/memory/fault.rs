//! Faults: pages for addresses that have none, and the access flag and dirty state where hardware
//! doesn't keep them (Linux: handle_mm_fault, do_anonymous_page, handle_pte_fault).
//!
//! An attempt runs with interrupts masked, on what is at hand. What it lacks (a page, a table) it
//! says in a [`Step`]; that is fetched with interrupts unmasked, and the attempt is made anew. So
//! the fast path, from a handler with interrupts masked, is an attempt too.
#![deny(unsafe_code)]

use super::counters::MmCounter;
use super::hand::{FastHand, Hand};
use super::pte_page::sync_icache;
use super::tables::UserTables;
use super::walk::{LastTable, Walk};
use super::zero_page::zero_page;
use super::{Access, Area, Fault};
use crate::addr::UserAddr;
use crate::arch::IrqMasked;
use crate::arch::pgtable::{PteMarker, PteWord, Table, User, UserPte, flush_spurious};
use crate::mm::vmstat::{NodeStat, mod_node_page_state};

/// The result of an attempt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// The access can be made.
    Done,
    /// Something changed meanwhile: try again.
    Again,
    /// A page is needed that is all zeros.
    ZeroedPage,
    /// A page is needed that is written as a whole.
    Page,
    /// The table for the address is missing.
    Table,
    /// The page of the file is needed.
    File,
    /// The access can't be made.
    Fail(Fault),
}

/// A fault under way.
pub(super) struct Attempt<'a, 'w> {
    pub tables: &'a UserTables,
    pub area: &'a Area<'a>,
    pub at: UserAddr,
    pub access: Access,
    pub table: LastTable<'w>,
    /// Place of the entry in the table.
    pub index: usize,
}

impl UserTables {
    /// Makes an access at `at`, in `area`, possible, or says why it can't be. Process context; may
    /// sleep (Linux: handle_mm_fault).
    ///
    /// # Errors
    /// `AccErr` where the area doesn't allow the access; `MapErr` at a guard page; `BusAdrErr` where
    /// the page is lost; `Oom`.
    pub fn handle_mm_fault(
        &self,
        area: &Area<'_>,
        at: UserAddr,
        access: Access,
    ) -> Result<(), Fault> {
        area.check(access)?;
        let mut hand = Hand::new();
        loop {
            match self.walk(|walk| self.attempt(walk, area, at, access, &mut hand)) {
                Step::Done => return Ok(()),
                Step::Again => {}
                Step::ZeroedPage => hand.alloc_zeroed()?,
                Step::Page => hand.alloc()?,
                Step::File => hand.file.fetch(area, at, access)?,
                Step::Table => self.pte_alloc(at).map_err(|_| Fault::Oom)?,
                Step::Fail(fault) => return Err(fault),
            }
        }
    }

    /// Variant of [`handle_mm_fault`](Self::handle_mm_fault) with interrupts masked. Returns false
    /// where that takes more than is at hand, or can't be done.
    #[inline]
    #[must_use]
    pub fn try_handle_mm_fault(
        &self,
        irq: &IrqMasked,
        area: &Area<'_>,
        at: UserAddr,
        access: Access,
    ) -> bool {
        if area.check(access).is_err() {
            return false;
        }
        let walk = Walk::begin(self, irq);
        self.attempt(&walk, area, at, access, FastHand::new().hand()) == Step::Done
    }

    #[inline(always)]
    fn attempt(
        &self,
        walk: &Walk<'_>,
        area: &Area<'_>,
        at: UserAddr,
        access: Access,
        hand: &mut Hand,
    ) -> Step {
        let Some(table) = walk.last_table(at) else { return Step::Table };
        let index = Table::<User>::pte_index(at);
        let attempt = Attempt { tables: self, area, at, access, table, index };
        let pte = table.words().pte(index);
        if pte.is_none() {
            return match area.file {
                None => attempt.do_anonymous_page(hand),
                Some(file) => attempt.do_fault(file, hand),
            };
        }
        if !pte.is_valid() {
            return not_present(pte);
        }
        if access == Access::Write && !pte.attrs().is_writable() {
            return attempt.do_wp_page(pte, hand);
        }
        attempt.set_access_flags(pte)
    }
}

/// The answer to an access where no page is and software keeps something else.
#[cold]
fn not_present(pte: PteWord) -> Step {
    Step::Fail(match pte.decode() {
        UserPte::Marker(marker) if marker.contains(PteMarker::GUARD) => Fault::MapErr,
        _ => Fault::BusAdrErr,
    })
}

impl<'w> Attempt<'_, 'w> {
    /// Maps the zero page for a read, and a page of its own for a write.
    #[inline(always)]
    fn do_anonymous_page(&self, hand: &mut Hand) -> Step {
        if self.access != Access::Write {
            return self.map_zero_page();
        }
        if !hand.has_zeroed(self.table.irq()) {
            return Step::ZeroedPage;
        }
        let Some(mut table) = self.table.lock() else { return Step::Again };
        // Another thread's fault may have come first.
        if table.words().pte(self.index).is_none() {
            let Some(pte) = self.own_page(hand) else { return Step::Fail(Fault::MapErr) };
            table.fill(self.index, pte);
            self.tables.rss.add(MmCounter::Anon, 1);
        }
        Step::Done
    }

    fn map_zero_page(&self) -> Step {
        let Some(mut table) = self.table.lock() else { return Step::Again };
        if table.words().pte(self.index).is_none() {
            let attrs = self.area.attrs.write_protected().young().special();
            table.fill(self.index, PteWord::page(zero_page(), attrs));
        }
        Step::Done
    }

    /// Makes the page in the hand the anonymous page of the address. Returns the entry for it; `None`
    /// where the address has no number in a family.
    #[inline(always)]
    pub(super) fn own_page(&self, hand: &mut Hand) -> Option<PteWord> {
        let mapping = self.area.anon_mapping(self.at)?;
        let frame = hand.take()?.into_raw();
        frame.page().init_user(mapping);
        mod_node_page_state(frame, NodeStat::AnonMapped, 1);
        let attrs = self.area.attrs.young();
        let attrs = if self.access == Access::Write { attrs.dirty() } else { attrs };
        let pte = PteWord::page(frame.phys(), attrs.exclusive());
        sync_icache(pte);
        Some(pte)
    }

    /// Does what hardware with FEAT_HAFDBS does at the access, if it is allowed: makes the page young,
    /// and dirty if it is written to. The entry may be as it should be already: then this CPU holds an
    /// older one, and forgets it (Linux: ptep_set_access_flags, spurious faults).
    fn set_access_flags(&self, seen: PteWord) -> Step {
        let Some(table) = self.table.lock() else { return Step::Again };
        let mut old = table.words().pte(self.index);
        loop {
            if !old.is_valid() || old.phys() != seen.phys() {
                return Step::Again;
            }
            let write = self.access == Access::Write;
            let Some(attrs) = old.attrs().accessed(write) else { return Step::Again };
            let new = PteWord::page(old.phys(), attrs);
            if new == old || table.words().exchange_pte(self.index, old, new) {
                break;
            }
            old = table.words().pte(self.index);
        }
        flush_spurious(self.at, self.tables.mm().context());
        Step::Done
    }
}
