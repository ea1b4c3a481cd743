//! Counters of what an address space has in memory (Linux: MM_FILEPAGES and its like, rss_stat).
#![deny(unsafe_code)]

use core::sync::atomic::{AtomicIsize, Ordering::Relaxed};

/// A counter of resident memory (Linux: enum of mm_types_task.h).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MmCounter {
    /// Pages of files (MM_FILEPAGES).
    File,
    /// Anonymous pages (MM_ANONPAGES).
    Anon,
    /// Pages that are swapped out (MM_SWAPENTS).
    Swap,
    /// Pages of shared memory (MM_SHMEMPAGES).
    Shmem,
}

/// The counters of an address space.
pub(super) struct RssStat([AtomicIsize; 4]);

impl RssStat {
    pub const fn new() -> Self {
        Self([const { AtomicIsize::new(0) }; 4])
    }

    /// Adds to a counter.
    #[inline(always)]
    pub fn add(&self, counter: MmCounter, pages: isize) {
        self.0[counter as usize].fetch_add(pages, Relaxed);
    }

    /// Returns a counter. While others count, one may have seen less come than go.
    pub fn get(&self, counter: MmCounter) -> usize {
        self.0[counter as usize].load(Relaxed).try_into().unwrap_or(0)
    }
}
