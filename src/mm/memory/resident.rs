//! Reading what is mapped, and bringing it in ahead of use (Linux: walk_page_range, populate_vma_page_range).
#![deny(unsafe_code)]

use super::pte_page::frame_of;
use super::tables::UserTables;
use super::{Access, Area, Fault};
use crate::addr::{PAGE_SHIFT, PAGE_SIZE, UserAddr, UserRange};
use crate::arch::pgtable::{PteMarker, PteWord, Table, User, UserAttrs, UserPte};
use crate::mm::page::Frame;

/// The contents of an entry that is not empty.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Resident {
    /// A page of users.
    Page(Frame, UserAttrs),
    /// The shared zero page, or a page of the kernel's.
    Special(UserAttrs),
    /// A guard: an access gets SIGSEGV.
    Guard,
    /// Something else that software keeps where no page is.
    Other,
}

impl UserTables {
    /// Calls `f` for each entry of `range` that is not empty, rising. `f` runs with interrupts masked,
    /// under the lock of the table (Linux: walk_page_range).
    pub fn resident(&self, range: UserRange, mut f: impl FnMut(UserAddr, Resident)) {
        let mut rest = Some(range);
        while let Some(range) = rest {
            rest = self.walk(|walk| {
                let (table, part) = walk.next_table(range)?;
                if let Some(table) = table.lock() {
                    let first = Table::<User>::pte_index(part.start());
                    for n in 0..part.len() >> PAGE_SHIFT {
                        let pte = table.words().pte(first + n);
                        if let Some(at) = part.start().checked_add(n << PAGE_SHIFT)
                            && !pte.is_none()
                        {
                            f(at, resident(pte));
                        }
                    }
                }
                let from = UserAddr::new(part.end())?;
                UserRange::from_size(from, range.end() - part.end())
            });
        }
    }

    /// Faults all pages of `range` in that are not there, for writing if `write`. Process context
    /// (Linux: populate_vma_page_range, faultin_page_range).
    ///
    /// # Errors
    /// That of the first page which can't be had; those before it stay.
    pub fn populate(&self, area: &Area<'_>, range: UserRange, write: bool) -> Result<(), Fault> {
        let access = if write { Access::Write } else { Access::Read };
        for n in 0..range.len() >> PAGE_SHIFT {
            let Some(at) = range.start().checked_add(n << PAGE_SHIFT) else { break };
            if !self.allows(at, write) {
                self.handle_mm_fault(area, at, access)?;
            }
        }
        Ok(())
    }

    /// Returns whether the entry for `at` allows an access by a program already.
    fn allows(&self, at: UserAddr, write: bool) -> bool {
        self.walk(|walk| {
            let pte =
                walk.last_table(at).map(|table| table.words().pte(Table::<User>::pte_index(at)));
            pte.is_some_and(|pte| {
                pte.is_valid() && pte.attrs().accessed(write) == Some(pte.attrs())
            })
        })
    }

    /// Puts guards at all pages of `range`, in place of what is there (Linux: MADV_GUARD_INSTALL).
    /// Process context.
    ///
    /// # Errors
    /// `Oom`; guards up to some page are there then.
    pub fn install_guard(&self, range: UserRange) -> Result<(), Fault> {
        for n in 0..range.len() >> PAGE_SHIFT {
            let Some(at) = range.start().checked_add(n << PAGE_SHIFT) else { break };
            let Some(page) = UserRange::from_size(at, PAGE_SIZE) else { break };
            while !self.fill_empty(at, PteWord::marker(PteMarker::GUARD))? {
                if self.is_guard(at) {
                    break;
                }
                self.zap(page, super::Zap::All);
            }
        }
        Ok(())
    }

    /// Takes the guards of `range` away (Linux: MADV_GUARD_REMOVE). Process context.
    pub fn remove_guard(&self, range: UserRange) {
        self.zap(range, super::Zap::Guards);
    }

    fn is_guard(&self, at: UserAddr) -> bool {
        self.walk(|walk| {
            let pte =
                walk.last_table(at).map(|table| table.words().pte(Table::<User>::pte_index(at)));
            pte.is_some_and(|pte| resident(pte) == Resident::Guard)
        })
    }

    /// Maps a page of the kernel's, which is not counted and outlives the mapping, at `at` with the
    /// rights of `attrs`: for the vDSO and its data. Process context (Linux: insert_pfn). Returns
    /// false if something is mapped there.
    ///
    /// # Errors
    /// `Oom`.
    pub fn map_special(&self, at: UserAddr, page: Frame, attrs: UserAttrs) -> Result<bool, Fault> {
        let attrs = attrs.young();
        let attrs = if attrs.is_writable() { attrs.dirty() } else { attrs };
        self.fill_empty(at, PteWord::page(page.phys(), attrs.special()))
    }

    /// Fills the entry for `at` if it is empty. Returns false if it is not.
    fn fill_empty(&self, at: UserAddr, pte: PteWord) -> Result<bool, Fault> {
        loop {
            self.pte_alloc(at).map_err(|_| Fault::Oom)?;
            let filled = self.walk(|walk| {
                let mut table = walk.last_table(at)?.lock()?;
                let index = Table::<User>::pte_index(at);
                let is_empty = table.words().pte(index).is_none();
                if is_empty {
                    table.fill(index, pte);
                }
                Some(is_empty)
            });
            if let Some(filled) = filled {
                return Ok(filled);
            }
        }
    }
}

fn resident(pte: PteWord) -> Resident {
    match pte.decode() {
        UserPte::Present(leaf) if leaf.attrs.is_special() => Resident::Special(leaf.attrs),
        UserPte::Present(leaf) if leaf.valid => Resident::Page(frame_of(pte), leaf.attrs),
        UserPte::Marker(marker) if marker.contains(PteMarker::GUARD) => Resident::Guard,
        _ => Resident::Other,
    }
}
