//! Size and space of a file of shared memory: truncation, holes, allocation ahead (Linux:
//! shmem_setattr, shmem_fallocate).
#![deny(unsafe_code)]

use super::{MAX_BYTES, Shmem, limits, pages_of, split};
use crate::addr::{PAGE_SHIFT, PAGE_SIZE};
use crate::errno::Errno;
use crate::mm::alloc::KVec;
use crate::mm::filemap::WriteContents;
use crate::mm::gfp::Gfp;
use crate::sched::{cond_resched, fatal_signal_pending};
use core::sync::atomic::Ordering::Relaxed;

impl Shmem {
    /// Makes the file `size` bytes long. What is cut off has no pages afterwards, wherever it was
    /// mapped, and reads as zeros if the file grows again. Process context.
    ///
    /// # Errors
    /// `EFBIG` beyond [`MAX_BYTES`]; `ENOMEM` where so much may not be promised. Nothing has
    /// changed.
    pub fn truncate(&self, size: u64) -> Result<(), Errno> {
        if size > MAX_BYTES {
            return Err(Errno::EFBIG);
        }
        let mut contents = self.mapping().write_contents();
        let old = self.size();
        if !self.noreserve {
            match (pages_of(old), pages_of(size)) {
                (from, to) if to > from => limits::charge(to - from)?,
                (from, to) => limits::uncharge(from - to),
            }
        }
        self.size.store(size, Relaxed);
        if size <= old {
            let (index, offset) = split(size);
            if offset > 0 {
                contents.zero(index, offset, PAGE_SIZE);
            }
            self.remove_pages(pages_of(size), u64::MAX, true);
        }
        Ok(())
    }

    fn remove_pages(&self, first: u64, last: u64, even_cows: bool) {
        let removed = self.mapping().truncate_range(first, last, even_cows);
        self.give_blocks(removed as u64);
    }

    /// Makes bytes `at..at + len` zeros, and gives back the pages that lie wholly in there; the
    /// size stays. Process context (Linux: FALLOC_FL_PUNCH_HOLE, MADV_REMOVE).
    pub fn punch_hole(&self, at: u64, len: u64) {
        let mut contents = self.mapping().write_contents();
        let end = at.saturating_add(len).min(MAX_BYTES);
        if at >= end {
            return;
        }
        let ((first, from), (last, to)) = (split(at), split(end));
        if first == last {
            contents.zero(first, from, to);
            return;
        }
        if from > 0 {
            contents.zero(first, from, PAGE_SIZE);
        }
        if to > 0 {
            contents.zero(last, 0, to);
        }
        let first = pages_of(at);
        if first < last {
            self.remove_pages(first, last - 1, false);
        }
    }

    /// Gives bytes `at..at + len` their pages, and without `keep_size` makes the file at least as
    /// long. Process context (Linux: shmem_fallocate).
    ///
    /// # Errors
    /// `EFBIG` beyond [`MAX_BYTES`]; `ENOSPC`, `ENOMEM`, `EINTR` by SIGKILL: the pages that it
    /// added are gone again.
    pub fn allocate(&self, at: u64, len: u64, keep_size: bool) -> Result<(), Errno> {
        let end = at.checked_add(len).filter(|&end| end <= MAX_BYTES).ok_or(Errno::EFBIG)?;
        let contents = self.mapping().write_contents();
        let (first, end_page) = (at >> PAGE_SHIFT, pages_of(end));
        if let Some(limits) = &self.limits {
            let max = limits.blocks.max();
            if max != 0 && end_page - first > max {
                return Err(Errno::ENOSPC);
            }
        }
        if !self.noreserve && !keep_size {
            limits::charge(pages_of(end).saturating_sub(pages_of(self.size())))?;
        }
        let mut added = KVec::new();
        if let Err(why) = self.add_pages(first, end_page, &mut added) {
            for &(from, to) in added.iter() {
                self.remove_pages(from, to - 1, false);
            }
            if !self.noreserve && !keep_size {
                limits::uncharge(pages_of(end).saturating_sub(pages_of(self.size())));
            }
            return Err(why);
        }
        if !keep_size {
            self.grow(end, &contents);
        }
        Ok(())
    }

    fn grow(&self, end: u64, _locked: &WriteContents<'_>) {
        self.size.fetch_max(end, Relaxed);
    }

    /// Adds the pages of `first..end` that are missing, and notes the runs of those in `added`.
    fn add_pages(&self, first: u64, end: u64, added: &mut KVec<(u64, u64)>) -> Result<(), Errno> {
        for index in first..end {
            if fatal_signal_pending() {
                return Err(Errno::EINTR);
            }
            // A place for the note first, so that none is missing afterwards.
            added.reserve(1, Gfp::GFP_KERNEL)?;
            let (_, is_new) = self.get_page(index, || true)?;
            if is_new {
                match added.as_mut_slice().last_mut() {
                    Some((_, to)) if *to == index => *to += 1,
                    _ => added.push((index, index + 1), Gfp::GFP_KERNEL)?,
                }
            }
            cond_resched();
        }
        Ok(())
    }

    /// The first offset at `from` or above that has a page, or that has none; the end of the file
    /// counts as one that has none (Linux: SEEK_DATA, SEEK_HOLE).
    ///
    /// # Errors
    /// `ENXIO` at the end of the file, or where no data follows.
    pub fn seek_data(&self, from: u64, hole: bool) -> Result<u64, Errno> {
        let size = self.size();
        if from >= size {
            return Err(Errno::ENXIO);
        }
        let (mut index, last) = (from >> PAGE_SHIFT, pages_of(size) - 1);
        if hole {
            while index <= last && self.mapping().next_page(index, index).is_some() {
                index += 1;
            }
            return Ok((index << PAGE_SHIFT).clamp(from, size));
        }
        let found = self.mapping().next_page(index, last).ok_or(Errno::ENXIO)?;
        Ok((found << PAGE_SHIFT).max(from))
    }
}
