//! An area, as a fault sees it.
#![deny(unsafe_code)]

use super::{Access, Fault};
use crate::addr::{PAGE_SHIFT, UserAddr, UserRange};
use crate::arch::pgtable::{Prot, UserAttrs};
use crate::mm::filemap::MappedFile;
use crate::mm::page::{Mapping, MappingKind};

/// The part of a VMA that faults in it depend on (Linux: struct vm_area_struct).
#[derive(Clone, Copy)]
pub struct Area<'a> {
    /// The addresses.
    pub range: UserRange,
    /// The memory and the rights of programs, old and clean (Linux: vm_page_prot, with the right to
    /// write of a private area that has it).
    pub attrs: UserAttrs,
    /// True if writes reach the object that is mapped, and are seen by all who map it (VM_SHARED).
    pub shared: bool,
    /// The object that is mapped; `None` for private anonymous memory.
    pub file: Option<&'a dyn MappedFile>,
    /// Index in the object of the page at the start of the range.
    pub pgoff: u64,
    /// The family of anonymous pages.
    pub anon: u32,
    /// Index of an anonymous page at the start of the range, in pages.
    pub anon_pgoff: u64,
}

impl Area<'_> {
    /// Checks the rights of the area (Linux: access_error, and the check of vm_flags in
    /// do_page_fault).
    #[inline(always)]
    pub(super) fn check(&self, access: Access) -> Result<(), Fault> {
        let prot = self.attrs.prot();
        let allowed = match access {
            // A program may read what it may write or execute.
            Access::Read => !prot.is_empty(),
            Access::Write => prot.contains(Prot::WRITE),
            Access::Exec => prot.contains(Prot::EXEC),
        };
        if allowed { Ok(()) } else { Err(Fault::AccErr) }
    }

    /// Number of the page at `at` in the area.
    #[inline(always)]
    fn page_of(&self, at: UserAddr) -> u64 {
        ((at.get() - self.range.start().get()) >> PAGE_SHIFT) as u64
    }

    /// Index in the object of the page at `at`.
    #[inline(always)]
    pub(super) fn file_index(&self, at: UserAddr) -> u64 {
        self.pgoff + self.page_of(at)
    }

    /// The name of an anonymous page at `at`; `None` where the numbers are none of a family's.
    #[inline(always)]
    pub(super) fn anon_mapping(&self, at: UserAddr) -> Option<Mapping> {
        Mapping::new(MappingKind::Anon, self.anon, self.anon_pgoff + self.page_of(at))
    }
}
