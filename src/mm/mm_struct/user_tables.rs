//! The tables of [`memory`](crate::mm::memory), as the memory calls use them.

use crate::addr::{UserAddr, UserRange};
use crate::mm::memory::{Area, Resident, UserTables, Zap};
use crate::mm::page::MappingKind;
use crate::mm::vma::{Access, Fault, PageState, PageTables, VmFlags, Vma};

/// An area as a fault sees it.
#[inline(always)]
pub(super) fn area(family: u32, vma: &Vma) -> Area<'_> {
    Area {
        range: vma.range(),
        attrs: vma.page_prot(),
        shared: vma.flags().contains(VmFlags::SHARED),
        file: vma.file().map(|file| &**file),
        pgoff: vma.pgoff(),
        anon: family,
        anon_pgoff: vma.anon_pgoff(),
    }
}

impl PageTables for UserTables {
    #[inline]
    fn zap(&self, range: UserRange) {
        self.zap(range, Zap::All);
    }
    fn zap_pages(&self, range: UserRange) {
        self.zap(range, Zap::Pages);
    }
    fn free_tables(&self, hole: UserRange) {
        self.free_tables(hole);
    }
    fn change_protection(&self, range: UserRange, vma: &Vma) {
        self.change_protection(range, vma.page_prot(), vma.flags().contains(VmFlags::SHARED));
    }
    fn move_tables(&self, from: UserAddr, to: UserAddr, len: usize) -> Result<(), usize> {
        self.move_tables(from, to, len)
    }
    #[inline]
    fn handle_mm_fault(
        &self,
        family: u32,
        vma: &Vma,
        at: UserAddr,
        access: Access,
    ) -> Result<(), Fault> {
        self.handle_mm_fault(&area(family, vma), at, access)
    }
    fn populate(&self, family: u32, vma: &Vma, range: UserRange, write: bool) -> Result<(), Fault> {
        self.populate(&area(family, vma), range, write)
    }
    fn install_guard(&self, range: UserRange) -> Result<(), Fault> {
        self.install_guard(range)
    }
    fn remove_guard(&self, range: UserRange) {
        self.remove_guard(range);
    }
    fn resident(&self, range: UserRange, each: &mut dyn FnMut(UserAddr, PageState)) {
        self.resident(range, |at, entry| each(at, state(entry)));
    }
}

/// The state of an entry.
fn state(entry: Resident) -> PageState {
    match entry {
        Resident::Page(frame, attrs) => {
            let page = frame.page();
            let anon = page.mapping().is_some_and(|mapping| mapping.kind() == MappingKind::Anon);
            // The count is that of further mappings of an anonymous page, and of all of a file's.
            let mappings = page.mapcount() + u32::from(anon);
            PageState::Page { anon, mappings, young: attrs.is_young(), dirty: attrs.is_dirty() }
        }
        Resident::Special(_) => PageState::Special,
        Resident::Guard => PageState::Guard,
        Resident::Other => PageState::Other,
    }
}
