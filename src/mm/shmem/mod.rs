//! Files of shared memory: anonymous pages that have an index and no disk (Linux: mm/shmem.c).
//!
//! | file | contents |
//! | --- | --- |
//! | `mod` | a file: reads, writes, faults |
//! | `space` | truncation, holes, allocation ahead |
//! | `kernel_file` | files without a name: shared anonymous memory |
//! | `limits` | limits of a file system, the account of promised memory |
//!
//! tmpfs (`crate::fs::tmpfs`) gives such files names.
//!
//! # Accounts
//! A page of a file counts in `FilePages` and `Shmem` of its node, and in the blocks of its file
//! system. Promised memory (Committed_AS) has a file's whole size from the start, or with
//! `noreserve` each page when it comes, as those of tmpfs do.
//!
//! # Lock order
//! That of [`super::filemap`]: reads hold the lock of contents for reading, what changes bytes or
//! size for writing; a fault takes neither.
#![deny(unsafe_code)]

mod kernel_file;
mod limits;
mod space;
#[cfg(test)]
#[expect(unsafe_code, reason = "tests give references of faults back")]
mod tests;

pub use kernel_file::{SHMEM_DEV, get_next_ino, shmem_kernel_file, shmem_zero_setup};
pub use limits::{Limit, ShmemLimits, VmAccounting, register_accounting};

use crate::addr::{PAGE_SHIFT, PAGE_SIZE};
use crate::arch::uaccess::{IoSink, IoSource};
use crate::errno::Errno;
use crate::mm::alloc::KArc;
use crate::mm::filemap::{AddError, AddressSpace, FaultError, PageRef};
use crate::mm::gfp::Gfp;
use crate::mm::page::{Frame, Mapping};
use crate::mm::page_alloc::OwnedPage;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Bytes of the largest file: an index of pages has 36 bits (Linux: s_maxbytes).
pub const MAX_BYTES: u64 = Mapping::INDICES << PAGE_SHIFT;

/// Pages that `bytes` bytes take.
const fn pages_of(bytes: u64) -> u64 {
    bytes.div_ceil(PAGE_SIZE as u64)
}

/// A file of shared memory (Linux: struct shmem_inode_info).
pub struct Shmem {
    mapping: AddressSpace,
    /// Bytes. Changes under the lock of contents for writing.
    size: AtomicU64,
    /// Pages are promised when they come, and not by the size.
    noreserve: bool,
    limits: Option<KArc<ShmemLimits>>,
    /// Pages that were taken from `limits`.
    blocks: AtomicU64,
}

impl Shmem {
    /// A file of `size` zeros, none of which has a page. Process context.
    ///
    /// # Errors
    /// `EINVAL` for a size beyond [`MAX_BYTES`]; `ENOMEM` where memory is short, or too much is
    /// promised already.
    pub fn new(
        size: u64,
        noreserve: bool,
        limits: Option<KArc<ShmemLimits>>,
    ) -> Result<Self, Errno> {
        if size > MAX_BYTES {
            return Err(Errno::EINVAL);
        }
        let mapping = AddressSpace::new(true)?;
        if !noreserve {
            limits::charge(pages_of(size))?;
        }
        let (size, blocks) = (AtomicU64::new(size), AtomicU64::new(0));
        Ok(Self { mapping, size, noreserve, limits, blocks })
    }

    /// Pages of the file.
    #[must_use]
    pub const fn mapping(&self) -> &AddressSpace {
        &self.mapping
    }

    /// Size in bytes (Linux: i_size_read).
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size.load(Relaxed)
    }

    /// Number of pages that are there.
    #[must_use]
    pub fn nr_pages(&self) -> u64 {
        self.blocks.load(Relaxed)
    }

    /// Returns the page at `index` for a fault (Linux: shmem_fault).
    ///
    /// # Errors
    /// [`FaultError::Sigbus`] past the end, or where a limit of the file system forbids one more;
    /// [`FaultError::Oom`].
    pub fn fault(&self, index: u64) -> Result<Frame, FaultError> {
        let is_inside = || index < pages_of(self.size());
        if !is_inside() {
            return Err(FaultError::Sigbus);
        }
        match self.get_page(index, is_inside) {
            Ok((page, _)) => Ok(page.into_raw()),
            Err(Errno::ENOMEM) => Err(FaultError::Oom),
            Err(_) => Err(FaultError::Sigbus),
        }
    }

    /// Returns the page at `index`, and whether it is a new one, of zeros (Linux:
    /// shmem_get_folio_gfp).
    ///
    /// # Errors
    /// `ENOMEM`; `ENOSPC` at a limit; `EFBIG` where `is_inside` says no.
    fn get_page(&self, index: u64, is_inside: impl Fn() -> bool) -> Result<(PageRef, bool), Errno> {
        if let Some(page) = self.mapping.find_get_page(index) {
            return Ok((page, false));
        }
        self.take_blocks(1)?;
        let gfp = Gfp::GFP_HIGHUSER | Gfp::__GFP_ZERO;
        let added = match OwnedPage::alloc(gfp) {
            Some(page) => self.mapping.add(index, page, is_inside),
            None => Err(AddError::Oom),
        };
        added.map(|page| (page, true)).or_else(|why| {
            self.give_blocks(1);
            match why {
                AddError::Exists(page) => Ok((page, false)),
                AddError::Beyond => Err(Errno::EFBIG),
                AddError::Oom => Err(Errno::ENOMEM),
            }
        })
    }

    /// Takes `n` pages from the file system's limit and from what may be promised (Linux:
    /// shmem_inode_acct_blocks).
    fn take_blocks(&self, n: u64) -> Result<(), Errno> {
        if self.noreserve {
            limits::charge(n).map_err(|_| Errno::ENOSPC)?;
        }
        if let Some(limits) = &self.limits
            && let Err(full) = limits.blocks.take(n)
        {
            if self.noreserve {
                limits::uncharge(n);
            }
            return Err(full);
        }
        self.blocks.fetch_add(n, Relaxed);
        Ok(())
    }

    /// Gives `n` pages back.
    fn give_blocks(&self, n: u64) {
        self.blocks.fetch_sub(n, Relaxed);
        if let Some(limits) = &self.limits {
            limits.blocks.give(n);
        }
        if self.noreserve {
            limits::uncharge(n);
        }
    }

    /// Reads from `at` on into `sink`, up to the end of the file, and returns the number of bytes.
    /// Process context (Linux: shmem_file_read_iter).
    ///
    /// # Errors
    /// `EFAULT` if the first byte could not be copied.
    pub fn read(&self, at: u64, sink: &mut dyn IoSink) -> Result<usize, Errno> {
        let contents = self.mapping.read_contents();
        let left = self.size().saturating_sub(at).min(sink.remaining() as u64);
        let (mut done, mut at) = (0, at);
        while (done as u64) < left {
            let (index, offset) = split(at);
            let len = (PAGE_SIZE - offset).min((left - done as u64) as usize);
            let copied = contents.read(index, offset, len, sink);
            done += copied;
            at += copied as u64;
            if copied < len {
                break;
            }
        }
        if done == 0 && left > 0 { Err(Errno::EFAULT) } else { Ok(done) }
    }

    /// Writes all of `source` from `at` on, and returns the number of bytes; less where memory or
    /// a limit ends it, or the source can't be read. `at` of `None` is the end of the file
    /// (O_APPEND), and the second result is where the write began. At most to `limit`, the largest
    /// size that the caller may give a file. Process context (Linux: generic_perform_write).
    ///
    /// # Errors
    /// Where no byte was written: `EFBIG` at the limit or [`MAX_BYTES`], `ENOSPC`, `ENOMEM`,
    /// `EFAULT`.
    pub fn write(
        &self,
        at: Option<u64>,
        source: &mut dyn IoSource,
        limit: u64,
    ) -> Result<(usize, u64), Errno> {
        let mut contents = self.mapping.write_contents();
        let start = at.unwrap_or_else(|| self.size());
        if source.remaining() == 0 {
            return Ok((0, start));
        }
        let room = limit.min(MAX_BYTES).saturating_sub(start);
        if room == 0 {
            return Err(Errno::EFBIG);
        }
        let left = room.min(source.remaining() as u64);
        let (mut done, mut failed) = (0, None);
        while done < left {
            let (index, offset) = split(start + done);
            let len = (PAGE_SIZE - offset).min((left - done) as usize);
            let mut page = match self.get_page(index, || true) {
                Ok((page, _)) => page,
                Err(why) => {
                    failed = Some(why);
                    break;
                }
            };
            let copied = contents.write(&mut page, offset, len, source);
            done += copied as u64;
            self.size.fetch_max(start + done, Relaxed);
            if copied < len {
                failed = Some(Errno::EFAULT);
                break;
            }
        }
        match failed {
            Some(why) if done == 0 => Err(why),
            _ => Ok((done as usize, start)),
        }
    }
}

/// Index of a byte's page, and the byte's offset there.
fn split(at: u64) -> (u64, usize) {
    (at >> PAGE_SHIFT, at as usize & (PAGE_SIZE - 1))
}

impl Drop for Shmem {
    fn drop(&mut self) {
        // The pages themselves go with the cache.
        self.give_blocks(self.nr_pages());
        if !self.noreserve {
            limits::uncharge(pages_of(self.size()));
        }
    }
}
