//! The library and its data as mappings of programs (Linux: struct vm_special_mapping,
//! __setup_additional_pages).
#![deny(unsafe_code)]

use super::{PAGES, VVAR_PAGES, vdso_pages, vvar_page};
use crate::addr::{PAGE_SIZE, PhysAddr, UserAddr, UserRange};
use crate::errno::Errno;
use crate::mm::alloc::KArc;
use crate::mm::filemap::{AddressSpace, FaultError, FileAccess, MappedFile, VmFile};
use crate::mm::gfp::Gfp;
use crate::mm::mm_struct::{Limits, SpecialMapping, UserMm};
use crate::mm::page::Frame;
use crate::mm::vma::VmFlags;
use crate::unsize;
use core::fmt;

/// Name of a mapping of the kernel's pages. They are mapped from the start: a fault finds none.
struct SpecialFile {
    mapping: AddressSpace,
    name: &'static str,
}

impl MappedFile for SpecialFile {
    fn mapping(&self) -> &AddressSpace {
        &self.mapping
    }
    fn fault(&self, _: u64, _: bool) -> Result<Frame, FaultError> {
        Err(FaultError::Sigbus)
    }
    fn id(&self) -> (u64, u64) {
        (0, 0)
    }
    fn fmt_path(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        out.write_str(self.name)
    }
    fn may(&self) -> FileAccess {
        FileAccess::READ
    }
}

fn file(name: &'static str) -> Result<VmFile, Errno> {
    let file = SpecialFile { mapping: AddressSpace::new(false)?, name };
    let file = KArc::new(file, Gfp::GFP_KERNEL)?;
    Ok(unsize!(KArc, file => dyn MappedFile))
}

/// Maps `frames` pages from `phys` on at the start of an area of `pages` pages.
fn insert(
    mm: &UserMm,
    at: UserAddr,
    (pages, frames): (usize, usize),
    phys: PhysAddr,
    (flags, name): (VmFlags, &'static str),
) -> Result<(), Errno> {
    let range = UserRange::from_size(at, pages * PAGE_SIZE).ok_or(Errno::ENOMEM)?;
    mm.insert_special(SpecialMapping { range, flags, pages: file(name)? })?;
    for n in 0..frames {
        let page = at.checked_add(n * PAGE_SIZE).ok_or(Errno::ENOMEM)?;
        let frame = (phys + (n * PAGE_SIZE) as u64).pfn().and_then(Frame::new);
        let frame = frame.ok_or(Errno::ENOMEM)?;
        mm.tables().map_special(page, frame, flags.page_prot()).map_err(|_| Errno::ENOMEM)?;
    }
    Ok(())
}

/// Maps the library, and its data before it, where there is room; returns where the library is.
/// Process context.
///
/// # Errors
/// ENOMEM
pub fn map(mm: &UserMm, limits: &Limits) -> Result<UserAddr, Errno> {
    const VVAR: VmFlags = VmFlags::READ.union(VmFlags::MAYREAD).union(VmFlags::PFNMAP);
    const VDSO: VmFlags = VmFlags::READ
        .union(VmFlags::EXEC)
        .union(VmFlags::MAYREAD)
        .union(VmFlags::MAYWRITE)
        .union(VmFlags::MAYEXEC);
    let data = mm.get_unmapped_area(0, (VVAR_PAGES + PAGES) * PAGE_SIZE, limits)?;
    let library = data.checked_add(VVAR_PAGES * PAGE_SIZE).ok_or(Errno::ENOMEM)?;
    insert(mm, data, (VVAR_PAGES, 1), vvar_page(), (VVAR, "[vvar]"))?;
    insert(mm, library, (PAGES, PAGES), vdso_pages(), (VDSO, "[vdso]"))?;
    Ok(library)
}
