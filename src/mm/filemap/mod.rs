//! The page cache: pages of files by their offsets (Linux: mm/filemap.c, struct address_space).
//!
//! | file | contents |
//! | --- | --- |
//! | `radix_tree` | a file's pages by index |
//! | `page_ref` | counted references to pages |
//! | `contents` | the bytes of pages, under the lock of a file's contents |
//! | `i_mmap` | the areas of user memory that map a file, and unmapping there |
//! | `objects` | numbers of files, by which pages name them |
//! | `mapped_file` | what a mapping needs of a file |
//!
//! # Who holds a page
//! A page in a cache has one reference of the cache's, the word `owner` names file and index
//! ([`Mapping`]), and all mappings together hold another reference. [`AddressSpace::find_get_page`]
//! returns a further one.
//!
//! # A page that leaves
//! Truncation first makes the file shorter, then unmaps, then takes pages out of the cache and
//! clears their owner, then unmaps once more. A fault that found the page before looks at the owner
//! again under the lock of the page table, so that it maps the page before the second unmapping or
//! not at all.
//!
//! # Lock order
//! The lock of contents (`SleepRank::Inode`), then that of an address space of users, then
//! [`i_mmap_lock`]; below them the spin lock of a cache's pages (`Rank::PageCache`), under which
//! nothing is allocated. A fault takes the spin lock alone.
#![deny(unsafe_code)]

#[expect(unsafe_code, reason = "the mechanism: it reaches bytes of pages under a lock")]
mod contents;
mod i_mmap;
mod mapped_file;
mod objects;
#[expect(unsafe_code, reason = "the mechanism: it counts references and frees pages")]
mod page_ref;
mod radix_tree;
#[cfg(test)]
pub(in crate::mm) mod tests;

pub use contents::{ReadContents, WriteContents};
pub use i_mmap::{IMmap, MmapArea, UnmapMapping, i_mmap_lock, nr_areas, register_unmap};
pub use mapped_file::{FaultError, FileAccess, MappedFile, VmFile};
pub use page_ref::PageRef;

use crate::arch::irq::with_masked;
use crate::mm::alloc::AllocError;
use crate::mm::gfp::Gfp;
use crate::mm::page::{Mapping, MappingKind};
use crate::mm::page_alloc::OwnedPage;
use crate::mm::vmstat::{NodeStat, mod_node_page_state};
use crate::sched::RwSemaphore;
use crate::sync::{Rank, SleepRank, SpinLock};
use arrayvec::ArrayVec;
use core::fmt;
use objects::ObjectNumber;
use radix_tree::{InsertError, Nodes, RadixTree};

/// Pages that leave a cache at a time.
const BATCH: usize = 16;

/// The pages of a file (Linux: struct address_space).
pub struct AddressSpace {
    object: ObjectNumber,
    /// Counter of a node that its pages count in beside `FilePages`.
    stat: Option<NodeStat>,
    pages: SpinLock<RadixTree<PageRef>>,
    contents: RwSemaphore,
}

/// Reason why a page did not come into a cache.
#[derive(Debug)]
pub enum AddError {
    /// A reference to another page, which is at the index.
    Exists(PageRef),
    /// The file is shorter now.
    Beyond,
    /// Memory for the tree is short.
    Oom,
}

impl AddressSpace {
    /// A cache without pages. Its pages count as those of shared memory if `shmem` says so.
    ///
    /// # Errors
    /// Memory is short, or as many files as can be numbered exist.
    pub fn new(shmem: bool) -> Result<Self, AllocError> {
        Ok(Self {
            object: ObjectNumber::new(Gfp::GFP_KERNEL)?,
            stat: shmem.then_some(NodeStat::Shmem),
            pages: SpinLock::new(Rank::PageCache, RadixTree::new()),
            contents: RwSemaphore::new(SleepRank::Inode),
        })
    }

    /// Number of the file, by which its pages name it.
    #[must_use]
    pub const fn object(&self) -> u32 {
        self.object.get()
    }

    /// The word of a page at `index`; `None` beyond the largest file.
    #[must_use]
    pub const fn page_mapping(&self, index: u64) -> Option<Mapping> {
        Mapping::new(MappingKind::File, self.object(), index)
    }

    /// Number of pages in the cache (Linux: nrpages).
    #[must_use]
    pub fn nr_pages(&self) -> usize {
        with_masked(|irq| self.pages.lock(irq).len())
    }

    /// A reference to the page at `index`, if there is one. Any context (Linux: find_get_page).
    #[must_use]
    pub fn find_get_page(&self, index: u64) -> Option<PageRef> {
        with_masked(|irq| self.pages.lock(irq).get(index).cloned())
    }

    /// References to the pages at `first..=last`, the lowest ones, as many as fit, each with its
    /// index. Any context (Linux: filemap_get_folios).
    #[must_use]
    pub fn find_get_pages<const N: usize>(
        &self,
        first: u64,
        last: u64,
    ) -> ArrayVec<(u64, PageRef), N> {
        with_masked(|irq| {
            let pages = self.pages.lock(irq);
            let (mut found, mut from) = (ArrayVec::new(), first);
            while !found.is_full()
                && let Some((index, page)) = pages.next(from).filter(|&(index, _)| index <= last)
            {
                found.push((index, page.clone()));
                from = index + 1;
            }
            found
        })
    }

    /// The first index at `from` or above, up to `last`, that has a page. Any context.
    #[must_use]
    pub fn next_page(&self, from: u64, last: u64) -> Option<u64> {
        with_masked(|irq| {
            let pages = self.pages.lock(irq);
            pages.next(from).map(|(index, _)| index).filter(|&index| index <= last)
        })
    }

    /// Puts a page at `index` and returns a further reference to it. `is_inside` is asked under the
    /// lock of the pages whether the file reaches there still. Process context (Linux:
    /// filemap_add_folio).
    ///
    /// # Errors
    /// [`AddError`]; the page is freed.
    pub fn add(
        &self,
        index: u64,
        page: OwnedPage,
        is_inside: impl Fn() -> bool,
    ) -> Result<PageRef, AddError> {
        let mapping = self.page_mapping(index).ok_or(AddError::Beyond)?;
        let mut page = PageRef::from_owned(page);
        let mut nodes = Nodes::new();
        loop {
            let frame = page.frame();
            let missing = with_masked(|irq| {
                let mut pages = self.pages.lock(irq);
                if !is_inside() {
                    return Err(AddError::Beyond);
                }
                frame.page().set_owner(mapping.to_word());
                let (page, why) = match pages.insert(index, page, &mut nodes) {
                    Ok(()) => {
                        let page = pages.get(index).cloned();
                        return Ok(Ok(page.expect("it has just been inserted")));
                    }
                    Err(InsertError::Exists(page)) => (page, None),
                    Err(InsertError::Missing(page, missing)) => (page, Some(missing)),
                };
                frame.page().set_owner(0);
                match why {
                    Some(missing) => Ok(Err((page, missing))),
                    None => {
                        let there = pages.get(index).cloned();
                        Err(AddError::Exists(there.expect("the index is taken")))
                    }
                }
            })?;
            match missing {
                Ok(page) => {
                    self.count(&page, 1);
                    return Ok(page);
                }
                Err((back, missing)) => {
                    page = back;
                    nodes.fill(missing, Gfp::GFP_KERNEL).map_err(|_| AddError::Oom)?;
                }
            }
        }
    }

    fn count(&self, page: &PageRef, by: isize) {
        mod_node_page_state(page.frame(), NodeStat::FilePages, by);
        if let Some(stat) = self.stat {
            mod_node_page_state(page.frame(), stat, by);
        }
    }

    /// Takes pages `first..=last` out of the cache, and unmaps them wherever they are mapped,
    /// private copies too. Returns the number of pages that left. The file was made shorter before,
    /// or its contents are locked for writing. Process context (Linux: truncate_pagecache_range).
    pub fn truncate_range(&self, first: u64, last: u64, even_cows: bool) -> usize {
        i_mmap::unmap_mapping_range(self, first, last, even_cows);
        let removed = self.remove_range(first, last);
        if removed > 0 {
            i_mmap::unmap_mapping_range(self, first, last, even_cows);
        }
        removed
    }

    /// Takes pages `first..=last` out of the cache.
    fn remove_range(&self, first: u64, last: u64) -> usize {
        let (mut from, mut removed) = (first, 0);
        loop {
            let batch: ArrayVec<PageRef, BATCH> = with_masked(|irq| {
                let mut pages = self.pages.lock(irq);
                let mut batch = ArrayVec::new();
                while !batch.is_full()
                    && let Some(index) = pages.next(from).map(|(index, _)| index)
                    && index <= last
                {
                    let page = pages.remove(index).expect("it has just been found");
                    page.frame().page().set_owner(0);
                    batch.push(page);
                    from = index + 1;
                }
                batch
            });
            batch.iter().for_each(|page| self.count(page, -1));
            removed += batch.len();
            if !batch.is_full() {
                return removed;
            }
            drop(batch);
            crate::sched::cond_resched();
        }
    }
}

impl Drop for AddressSpace {
    fn drop(&mut self) {
        // Nobody has it mapped, as each mapping refers to the file.
        self.remove_range(0, u64::MAX);
    }
}

impl fmt::Debug for AddressSpace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AddressSpace({}, {} pages)", self.object(), self.nr_pages())
    }
}
