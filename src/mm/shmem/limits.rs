//! Limits of a file system of shared memory, and the charge of its pages to the memory that is
//! promised (Linux: struct shmem_sb_info, shmem_acct_blocks).
#![deny(unsafe_code)]

use crate::errno::Errno;
use crate::sync::Once;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A number of things in use, and the most that may be.
pub struct Limit {
    used: AtomicU64,
    /// 0 for no limit.
    max: AtomicU64,
}

impl Limit {
    /// A limit of `max`, or none for 0, with nothing in use.
    #[must_use]
    pub const fn new(max: u64) -> Self {
        Self { used: AtomicU64::new(0), max: AtomicU64::new(max) }
    }

    /// Number in use.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.used.load(Relaxed)
    }

    /// The most that may be in use; 0 for no limit.
    #[must_use]
    pub fn max(&self) -> u64 {
        self.max.load(Relaxed)
    }

    /// Takes `n` more.
    ///
    /// # Errors
    /// `ENOSPC` if those are too many; none is taken.
    pub fn take(&self, n: u64) -> Result<(), Errno> {
        let max = self.max();
        let more = |used: u64| used.checked_add(n).filter(|&sum| max == 0 || sum <= max);
        match self.used.fetch_update(Relaxed, Relaxed, more) {
            Ok(_) => Ok(()),
            Err(_) => Err(Errno::ENOSPC),
        }
    }

    /// Gives `n` back.
    ///
    /// # Panics
    /// So many were not taken.
    pub fn give(&self, n: u64) {
        let before = self.used.fetch_sub(n, Relaxed);
        assert!(before >= n, "{n} given back of {before}");
    }
}

/// Limits of a file system of shared memory (Linux: struct shmem_sb_info).
pub struct ShmemLimits {
    /// Pages of files.
    pub blocks: Limit,
    /// Inodes.
    pub inodes: Limit,
}

/// The account of memory that is promised (Linux: vm_committed_as, __vm_enough_memory), filled in
/// by the room that has address spaces.
pub trait VmAccounting: Sync {
    /// Promises `pages` pages more.
    ///
    /// # Errors
    /// `ENOMEM` where the policy of overcommit forbids it.
    fn charge(&self, pages: u64) -> Result<(), Errno>;
    /// Takes back the promise of `pages` pages.
    fn uncharge(&self, pages: u64);
}

crate::machine_local! {
    static ACCOUNTING: Once<&'static dyn VmAccounting> = Once::new();
}

/// Sets the account. The first call counts; it comes before there is a file.
pub fn register_accounting(accounting: &'static dyn VmAccounting) {
    ACCOUNTING.call_once(|| accounting);
}

/// Promises pages.
pub(super) fn charge(pages: u64) -> Result<(), Errno> {
    if pages == 0 {
        return Ok(());
    }
    ACCOUNTING.get().map_or(Ok(()), |accounting| accounting.charge(pages))
}

/// Takes promises back.
pub(super) fn uncharge(pages: u64) {
    if pages > 0
        && let Some(accounting) = ACCOUNTING.get()
    {
        accounting.uncharge(pages);
    }
}
