//! The bytes of a file's pages, under the lock of its contents.
//!
//! The lock is what makes these functions safe: a page is in one cache at a time, so who holds the
//! lock of a cache for writing is the only one in the kernel to touch the bytes of its pages.

use super::{AddressSpace, PageRef};
use crate::addr::PAGE_SIZE;
use crate::arch::uaccess::{IoSink, IoSource};
use crate::sched::{RwReadGuard, RwWriteGuard};

/// The contents of a file, locked for reading.
pub struct ReadContents<'a> {
    space: &'a AddressSpace,
    _lock: RwReadGuard<'a>,
}

/// The contents of a file, locked for writing.
pub struct WriteContents<'a> {
    space: &'a AddressSpace,
    _lock: RwWriteGuard<'a>,
}

impl AddressSpace {
    /// Locks the contents for reading; sleeps while somebody writes. Process context (Linux:
    /// inode_lock_shared).
    pub fn read_contents(&self) -> ReadContents<'_> {
        ReadContents { space: self, _lock: self.contents.read() }
    }

    /// Locks the contents for writing; sleeps while others have them. Process context (Linux:
    /// inode_lock).
    pub fn write_contents(&self) -> WriteContents<'_> {
        WriteContents { space: self, _lock: self.contents.write() }
    }
}

impl ReadContents<'_> {
    /// Copies bytes `offset..offset + len` of the page at `index` into `sink`, zeros where there is
    /// no page. Returns the number of bytes that were copied.
    ///
    /// # Panics
    /// The bytes are not on one page.
    pub fn read(&self, index: u64, offset: usize, len: usize, sink: &mut dyn IoSink) -> usize {
        assert!(offset <= PAGE_SIZE && len <= PAGE_SIZE - offset);
        match self.space.find_get_page(index) {
            // SAFETY: the lock keeps writers away from the pages of this cache, and the page is
            // in no other one while this reference is there.
            Some(page) => sink.put(&unsafe { page.bytes() }[offset..][..len]),
            None => sink.put_zeros(len),
        }
    }
}

impl WriteContents<'_> {
    /// Copies bytes from `source` to `offset..offset + len` of `page`. Returns the number of bytes
    /// that were copied.
    ///
    /// # Panics
    /// The bytes are not on one page, or the page is not in this cache.
    pub fn write(
        &mut self,
        page: &mut PageRef,
        offset: usize,
        len: usize,
        source: &mut dyn IoSource,
    ) -> usize {
        assert!(offset <= PAGE_SIZE && len <= PAGE_SIZE - offset);
        source.take(&mut self.bytes(page)[offset..][..len])
    }

    /// Writes zeros to bytes `offset..end` of the page at `index`, if there is one.
    ///
    /// # Panics
    /// The bytes are not on one page.
    pub fn zero(&mut self, index: u64, offset: usize, end: usize) {
        assert!(offset <= end && end <= PAGE_SIZE);
        if let Some(mut page) = self.space.find_get_page(index) {
            self.bytes(&mut page)[offset..end].fill(0);
        }
    }

    /// The bytes of a page of this cache.
    fn bytes<'b>(&'b mut self, page: &'b mut PageRef) -> &'b mut [u8; PAGE_SIZE] {
        let mapping = page.frame().page().mapping();
        assert!(
            mapping.is_some_and(|mapping| mapping.object() == self.space.object()),
            "{:?} belongs to {mapping:?}, not to file {}",
            page.frame(),
            self.space.object()
        );
        // SAFETY: pages enter and leave the cache under this lock or by a fault, which does not
        // touch the bytes of a page that is in it; so the borrow of the lock is the only one.
        unsafe { page.bytes_mut() }
    }
}
