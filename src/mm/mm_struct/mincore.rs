//! mincore and msync (Linux: mm/mincore.c, mm/msync.c).

use super::MmStruct;
use super::space::{bounds, page_align};
use crate::addr::{PAGE_SHIFT, PAGE_SIZE, UserAddr};
use crate::errno::Errno;
use crate::mm::filemap::FileAccess;
use crate::mm::vma::{PageState, PageTables, VmFlags};
use linux_raw_sys::general as uapi;

impl<T: PageTables> MmStruct<T> {
    /// Checks the range of mincore; returns its number of pages.
    ///
    /// # Errors
    /// `EINVAL` for an address that is not that of a page, `ENOMEM` for a range that no user has.
    pub fn mincore_pages(&self, start: usize, len: usize) -> Result<usize, Errno> {
        let start = super::untagged(start);
        if !start.is_multiple_of(PAGE_SIZE) {
            return Err(Errno::EINVAL);
        }
        let end = start.checked_add(len).filter(|&end| end <= crate::addr::TASK_SIZE);
        end.ok_or(Errno::ENOMEM)?;
        Ok(len.div_ceil(PAGE_SIZE))
    }

    /// Writes which pages from `start` on are in memory to `vec`, a byte a page. Returns for how many
    /// it did: up to the end of an area. The caller goes on behind them (Linux: do_mincore).
    ///
    /// # Errors
    /// `ENOMEM` where nothing is mapped at `start`.
    pub fn mincore(&self, start: usize, vec: &mut [u8]) -> Result<usize, Errno> {
        let start = super::untagged(start);
        let space = self.space.read();
        let at = UserAddr::new(start).ok_or(Errno::ENOMEM)?;
        let vma = space.vmas.find(at).ok_or(Errno::ENOMEM)?;
        let count = vec.len().min((vma.end() - start) >> PAGE_SHIFT);
        let vec = &mut vec[..count];
        let file = vma.file().filter(|_| !vma.is_special_mapping());
        // A program sees the page cache of files alone that it may write.
        let may_look =
            vma.is_anonymous() || file.is_some_and(|file| file.may().contains(FileAccess::WRITE));
        if !may_look {
            vec.fill(1);
            return Ok(count);
        }
        match file {
            None => vec.fill(0),
            Some(file) => {
                for (n, byte) in vec.iter_mut().enumerate() {
                    let index = vma.page_index(at) + n as u64;
                    *byte = file.mapping().find_get_page(index).is_some().into();
                }
            }
        }
        let range = bounds(start, start + (count << PAGE_SHIFT));
        self.tables.resident(range, &mut |at, state| {
            if matches!(state, PageState::Page { .. } | PageState::Special) {
                vec[(at.get() - start) >> PAGE_SHIFT] = 1;
            }
        });
        Ok(count)
    }

    /// Writes shared memory of files back, of which there is nothing to do for memory that is all there
    /// is of them (Linux: msync).
    ///
    /// # Errors
    /// Linux's.
    pub fn msync(&self, start: usize, len: usize, flags: u32) -> Result<(), Errno> {
        let start = super::untagged(start);
        let (async_, invalidate, sync) = (uapi::MS_ASYNC, uapi::MS_INVALIDATE, uapi::MS_SYNC);
        if flags & !(async_ | invalidate | sync) != 0
            || !start.is_multiple_of(PAGE_SIZE)
            || flags & async_ != 0 && flags & sync != 0
        {
            return Err(Errno::EINVAL);
        }
        // Lengths next to 2^64 are rounded up to 0, as in Linux.
        let len = page_align(len).unwrap_or(0);
        let end = start.checked_add(len).ok_or(Errno::ENOMEM)?;
        let (mut at, mut result) = (start, Ok(()));
        let space = self.space.read();
        while at < end {
            let vma = space.vmas.find_at_or_above(at).ok_or(Errno::ENOMEM)?;
            if at < vma.start().get() {
                if flags == async_ || vma.start().get() >= end {
                    return Err(Errno::ENOMEM);
                }
                result = Err(Errno::ENOMEM);
            }
            if flags & invalidate != 0 && vma.flags().contains(VmFlags::LOCKED) {
                return Err(Errno::EBUSY);
            }
            at = vma.end();
        }
        result
    }
}
