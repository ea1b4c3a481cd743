//! Areas in the lists of who maps a file.

use super::VmFlags;
use super::area::Vma;
use crate::mm::filemap::{MmapArea, VmFile, i_mmap_lock};
use crate::sched::cond_resched;

/// The entry of an area in the list of its file.
fn entry(mm: u64, vma: &Vma) -> MmapArea {
    MmapArea { mm, start: vma.start(), pgoff: vma.pgoff(), pages: vma.pages() }
}

/// The file of an area, unless it maps the kernel's own pages.
#[inline(always)]
fn file(vma: &Vma) -> Option<&VmFile> {
    vma.file().filter(|_| !vma.is_special_mapping())
}

/// Returns whether pages of the file may come to be written through it.
fn is_shared_maywrite(vma: &Vma) -> bool {
    vma.flags().contains(VmFlags::SHARED | VmFlags::MAYWRITE)
}

/// Adds an entry. It asks again for as long as memory is short, as Linux's __GFP_NOFAIL does: the
/// change that it is part of is under way.
#[inline(never)]
fn insert(mm: u64, vma: &Vma, file: &VmFile) {
    while i_mmap_lock().insert(file.mapping(), entry(mm, vma)).is_err() {
        cond_resched();
    }
}

/// Notes that an area maps its file.
#[inline(always)]
pub(super) fn link(mm: u64, vma: &Vma) {
    if let Some(file) = file(vma) {
        // A file that forbids such areas was asked before.
        let _ = file.on_map(is_shared_maywrite(vma));
        insert(mm, vma, file);
    }
}

/// Notes that an area does not map its file any more.
#[inline(always)]
pub(super) fn unlink(mm: u64, vma: &Vma) {
    if let Some(file) = file(vma) {
        i_mmap_lock().remove(file.mapping(), &entry(mm, vma));
        file.on_unmap(is_shared_maywrite(vma));
    }
}

/// Changes the range of an area that is noted.
#[inline(always)]
pub(super) fn relink(mm: u64, vma: &mut Vma, change: impl FnOnce(&mut Vma)) {
    let Some(file) = file(vma).cloned() else { return change(vma) };
    let old = entry(mm, vma);
    change(vma);
    // Both are there for a moment, so that no page is left out.
    insert(mm, vma, &file);
    i_mmap_lock().remove(file.mapping(), &old);
}
