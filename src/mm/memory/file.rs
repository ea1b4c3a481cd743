//! Pages of files (Linux: do_read_fault, do_cow_fault, do_shared_fault, do_fault_around).
//!
//! The page is fetched without a lock, by `MappedFile::fault`, and with it those around it that are in the
//! file's cache. Under the lock of the table a page is mapped only if it is the file's still: one that is being
//! truncated loses its owner before its mappings are looked for the last time.

use super::counters::MmCounter;
use super::fault::{Attempt, Step};
use super::hand::Hand;
use super::locked::LockedTable;
use super::pte_page::{file_bytes, sync_icache};
use super::{Access, Area, Fault};
use crate::addr::{PAGE_SHIFT, UserAddr};
use crate::arch::pgtable::PteWord;
use crate::mm::filemap::{FaultError, MappedFile, PageRef};
use crate::mm::vmstat::{NodeStat, mod_node_page_state};
use arrayvec::ArrayVec;

/// Pages that a read fault maps at the most (Linux: fault_around_bytes).
const AROUND: usize = 16;

/// Pages of a file, with their indices.
pub(super) struct FilePages {
    /// The page of the fault.
    page: Option<PageRef>,
    around: ArrayVec<(u64, PageRef), AROUND>,
}

impl FilePages {
    #[inline(always)]
    pub const fn new() -> Self {
        Self { page: None, around: ArrayVec::new_const() }
    }

    #[inline(always)]
    pub fn is_empty(&self) -> bool {
        self.page.is_none() && self.around.is_empty()
    }

    /// Gets the page of `area` at `at` from its file; for a read, the pages around it too that the
    /// cache has. May sleep.
    ///
    /// # Errors
    /// `BusAdrErr` past the end of the file, `Oom`.
    pub fn fetch(&mut self, area: &Area<'_>, at: UserAddr, access: Access) -> Result<(), Fault> {
        let Some(file) = area.file else { return Ok(()) };
        let index = area.file_index(at);
        let is_write = access == Access::Write;
        let frame = file.fault(index, is_write && area.shared).map_err(|error| match error {
            FaultError::Sigbus => Fault::BusAdrErr,
            FaultError::Oom => Fault::Oom,
        })?;
        // SAFETY: the reference that the file has given.
        self.page = Some(unsafe { PageRef::from_raw(frame) });
        self.around.clear();
        if !is_write {
            let (first, last) = window(area, at);
            self.around = file.mapping().find_get_pages(first, last);
        }
        Ok(())
    }
}

/// The first and the last index of the pages that are mapped with that at `at`: those of 16 places of a
/// table that are in the area.
fn window(area: &Area<'_>, at: UserAddr) -> (u64, u64) {
    let bytes = AROUND << PAGE_SHIFT;
    let start = (at.get() & !(bytes - 1)).max(area.range.start().get());
    let end = ((at.get() | (bytes - 1)) + 1).min(area.range.end());
    let here = area.file_index(at);
    let before = (at.get() - start) >> PAGE_SHIFT;
    let after = (end - 1 - at.get()) >> PAGE_SHIFT;
    (here - before as u64, here + after as u64)
}

impl Attempt<'_, '_> {
    /// Maps a page of the file, or a copy of it for a write to a private area.
    pub(super) fn do_fault(&self, file: &dyn MappedFile, hand: &mut Hand) -> Step {
        let Some(page) = hand.file.page.take() else { return Step::File };
        if self.access == Access::Write && !self.area.shared {
            return self.do_cow_fault(file, page, hand);
        }
        let Some(mut table) = self.table.lock() else { return Step::Again };
        if !table.words().pte(self.index).is_none() {
            return Step::Done;
        }
        let index = self.area.file_index(self.at);
        match self.map_page(&mut table, file, self.index, index, page) {
            Some(true) => {}
            Some(false) => return Step::File,
            None => return Step::Fail(Fault::Oom),
        }
        for (other, page) in core::mem::take(&mut hand.file.around) {
            let place = (self.index as u64).wrapping_add(other).wrapping_sub(index) as usize;
            if place < 512 && table.words().pte(place).is_none() {
                // One that left the cache meanwhile is left out.
                let _ = self.map_page(&mut table, file, place, other, page);
            }
        }
        Step::Done
    }

    /// Maps a copy of the page.
    fn do_cow_fault(&self, file: &dyn MappedFile, page: PageRef, hand: &mut Hand) -> Step {
        if !hand.has_page(self.table.irq()) {
            hand.file.page = Some(page);
            return Step::Page;
        }
        if let Some(copy) = hand.page_mut() {
            file_bytes(&page).copy_to(copy.bytes_mut());
        }
        let Some(mut table) = self.table.lock() else { return Step::Again };
        if !table.words().pte(self.index).is_none() {
            return Step::Done;
        }
        let is_there = is_of(&page, file, self.area.file_index(self.at));
        if !is_there {
            return Step::File;
        }
        let Some(pte) = self.own_page(hand) else { return Step::Fail(Fault::MapErr) };
        table.fill(self.index, pte);
        self.tables.rss.add(MmCounter::Anon, 1);
        Step::Done
    }

    /// Maps the page of a file's `index` at an empty place of the table. Returns false if it is not the
    /// file's any more; `None` if it has too many mappings.
    fn map_page(
        &self,
        table: &mut LockedTable<'_>,
        file: &dyn MappedFile,
        place: usize,
        index: u64,
        page: PageRef,
    ) -> Option<bool> {
        if !is_of(&page, file, index) {
            return Some(false);
        }
        let frame = page.frame();
        if frame.page().mapcount_add()? == 0 {
            // All mappings have one reference, which is this one from now on.
            let _ = page.into_raw();
            mod_node_page_state(frame, NodeStat::FileMapped, 1);
        }
        let attrs = self.area.attrs.young();
        let attrs = match (self.area.shared, self.access) {
            (false, _) => attrs.write_protected(),
            (true, Access::Write) => attrs.dirty(),
            (true, _) => attrs,
        };
        let is_shmem = file.is_shmem();
        let pte = PteWord::page(frame.phys(), if is_shmem { attrs.shmem() } else { attrs });
        sync_icache(pte);
        table.fill(place, pte);
        self.tables.rss.add(if is_shmem { MmCounter::Shmem } else { MmCounter::File }, 1);
        Some(true)
    }
}

/// Returns whether the page is that of the file's `index`, and not on its way out of the cache.
fn is_of(page: &PageRef, file: &dyn MappedFile, index: u64) -> bool {
    let mapping = page.frame().page().mapping();
    mapping.is_some() && mapping == file.mapping().page_mapping(index)
}
