//! The tables of an address space.

use super::counters::{MmCounter, RssStat};
use super::table_page::{alloc_table, free_table};
use super::zap::Zap;
use crate::addr::{TASK_SIZE, UserAddr, UserRange};
use crate::arch::mmu_context::UserRoot;
use crate::arch::pgtable::{TableAddr, User};
use crate::mm::slab::AllocError;
use crate::sched::{Mm, ReleaseMm};
use crate::sync::{Rank, SpinLock};
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// The tables of an address space of users, and the memory that they map (Linux: the part of
/// struct mm_struct that mm/memory.c uses). It begins with its `Mm`, and is the first field of what
/// its owner allocates.
#[repr(C)]
pub struct UserTables {
    mm: Mm,
    root: TableAddr<User>,
    /// Guards the links between tables.
    pub(super) page_table_lock: SpinLock<()>,
    pub(super) rss: RssStat,
    pub(super) pgtables_bytes: AtomicUsize,
}

impl UserTables {
    /// Creates tables that map nothing. `release` is called when the last reference to the `Mm` is
    /// gone; it drops this. May sleep (Linux: mm_init, pgd_alloc).
    ///
    /// # Errors
    /// There is no memory for the PGD.
    pub fn new(release: ReleaseMm) -> Result<Self, AllocError> {
        let root = alloc_table()?;
        // SAFETY: the tables map for EL0 what faults give to it, PXN all of it, and go with this,
        // which invalidates first.
        let mm = unsafe { Mm::new(UserRoot::new(root.phys()), release) };
        Ok(Self {
            mm,
            root,
            page_table_lock: SpinLock::new(Rank::MmPageTable, ()),
            rss: RssStat::new(),
            pgtables_bytes: AtomicUsize::new(0),
        })
    }

    /// The address space, as CPUs know it.
    #[inline(always)]
    #[must_use]
    pub fn mm(&self) -> &Mm {
        &self.mm
    }

    /// The PGD.
    #[inline(always)]
    pub(super) fn root(&self) -> TableAddr<User> {
        self.root
    }

    /// Number of pages of a kind that are mapped (Linux: get_mm_counter).
    #[must_use]
    pub fn rss(&self, counter: MmCounter) -> usize {
        self.rss.get(counter)
    }

    /// Bytes of tables below the PGD (Linux: mm_pgtables_bytes).
    #[must_use]
    pub fn pgtables_bytes(&self) -> usize {
        self.pgtables_bytes.load(Relaxed)
    }

    /// All addresses.
    pub(super) fn all() -> UserRange {
        let zero = UserAddr::default();
        UserRange::from_size(zero, TASK_SIZE).expect("all of them")
    }
}

/// Takes all memory out, and frees the tables (Linux: exit_mmap, pgd_free). No CPU walks them any
/// more; what TLBs hold of them is invalidated.
impl Drop for UserTables {
    fn drop(&mut self) {
        self.zap(Self::all(), Zap::All);
        self.free_tables(Self::all());
        free_table(self.root);
    }
}
