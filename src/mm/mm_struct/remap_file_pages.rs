//! remap_file_pages (Linux: mm/mmap.c).

use super::space::{bounds, pages, user_range};
use super::{Limits, MmStruct, MmapArgs};
use crate::addr::PAGE_SIZE;
use crate::errno::Errno;
use crate::mm::vma::{PageTables, VmFile, VmFlags};
use linux_raw_sys::general as uapi;

impl<T: PageTables> MmStruct<T> {
    /// Maps other pages of a file in a shared mapping (Linux: remap_file_pages).
    ///
    /// # Errors
    /// Linux's.
    pub fn remap_file_pages(
        &self,
        start: usize,
        size: usize,
        prot: u32,
        pgoff: u64,
        flags: u32,
        limits: &Limits,
    ) -> Result<(), Errno> {
        let invalid = Errno::EINVAL;
        if prot != 0 {
            return Err(invalid);
        }
        let (start, size) = (start & !(PAGE_SIZE - 1), size & !(PAGE_SIZE - 1));
        let end = start.checked_add(size).filter(|&end| end > start).ok_or(invalid)?;
        pgoff.checked_add(pages(size)).ok_or(invalid)?;
        let range = user_range(start, size).ok_or(invalid)?;
        let mut space = self.space.write()?;
        let vma = space.vmas.find(range.start()).ok_or(invalid)?;
        let vm_flags = vma.flags();
        let file =
            vma.file().filter(|_| vm_flags.contains(VmFlags::SHARED)).ok_or(invalid)?.clone();
        let mut at = vma.end();
        while at < end {
            let next = space.vmas.find_at_or_above(at).ok_or(invalid)?;
            let is_same = next.file().is_some_and(|other| VmFile::ptr_eq(other, &file));
            if next.start().get() != at || !is_same || next.flags() != vm_flags {
                return Err(invalid);
            }
            at = next.end();
        }
        let mut flags = flags & uapi::MAP_NONBLOCK;
        flags |= uapi::MAP_SHARED | uapi::MAP_FIXED | uapi::MAP_POPULATE;
        if vm_flags.contains(VmFlags::LOCKED) {
            flags |= uapi::MAP_LOCKED;
        }
        let prot = (vm_flags & VmFlags::ACCESS).bits() as u32;
        let args = MmapArgs { addr: start, len: size, prot, flags, file: Some(file), pgoff };
        let (at, populated) = space.mmap(&self.tables, args, limits)?;
        drop(space);
        if populated != 0 {
            let _ = self.populate(bounds(at.get(), at.get() + populated), true, VmFlags::empty());
        }
        Ok(())
    }
}
