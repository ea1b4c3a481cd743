//! Finding tables, and making those that are missing.
//!
//! Links are followed without a lock. A CPU that follows them has interrupts masked, and has said so
//! in its `WALKING` before it read the first. Who has taken a table out of the tree waits for all CPUs
//! that were walking, and frees it then: none of them can have a link to it any more. (Linux frees
//! tables by RCU, since its walkers may be preempted: CONFIG_MMU_GATHER_RCU_TABLE_FREE.)

use super::locked::LockedTable;
use super::table_page::{alloc_table, free_table, page_of, words};
use super::tables::UserTables;
use crate::addr::{PAGE_SIZE, UserAddr, UserRange, VirtAddr};
use crate::arch::irq::with_masked;
use crate::arch::pgtable::{Level, Table, TableAddr, User};
use crate::arch::{IrqMasked, cpu};
use crate::mm::slab::AllocError;
use crate::per_cpu;
use crate::percpu::possible_cpus;
use crate::sync::{Rank, lock_word, lock_word_nested};
use core::sync::atomic::{AtomicU32, Ordering, fence};

per_cpu! {
    /// An odd number while the CPU walks tables; another each time.
    static WALKING: AtomicU32 = AtomicU32::new(0);
}

/// A CPU that walks the tables of an address space. Tables that it finds are not freed while it
/// lives.
pub(super) struct Walk<'a> {
    tables: &'a UserTables,
    irq: &'a IrqMasked,
    number: u32,
}

impl UserTables {
    /// Walks the tables, with interrupts masked.
    #[inline(always)]
    pub(super) fn walk<R>(&self, f: impl FnOnce(&Walk<'_>) -> R) -> R {
        with_masked(|irq| f(&Walk::begin(self, irq)))
    }

    /// Makes the tables that translate `at`, where they are missing. May sleep (Linux: __pte_alloc
    /// and its kin).
    ///
    /// # Errors
    /// There is no memory for one. Those that were made stay.
    pub(super) fn pte_alloc(&self, at: UserAddr) -> Result<(), AllocError> {
        while self.walk(|walk| walk.last_table(at).is_none()) {
            let new = alloc_table()?;
            if !self.walk(|walk| walk.link(at, new, Level::Pte)) {
                free_table(new);
            }
        }
        Ok(())
    }

    /// Makes the tables above the last-level table that translates `at`. May sleep.
    ///
    /// # Errors
    /// As for [`pte_alloc`](Self::pte_alloc).
    pub(super) fn upper_alloc(&self, at: UserAddr) -> Result<(), AllocError> {
        while self.walk(|walk| walk.table(at, Level::Pmd).is_none()) {
            let new = alloc_table()?;
            if !self.walk(|walk| walk.link(at, new, Level::Pmd)) {
                free_table(new);
            }
        }
        Ok(())
    }
}

/// Waits until no CPU has a link to a table that was taken out of its tree before.
pub(super) fn wait_for_walkers() {
    fence(Ordering::SeqCst);
    for cpu in possible_cpus() {
        let Some(walking) = WALKING.try_of(cpu) else { continue };
        let seen = walking.load(Ordering::Acquire);
        while seen % 2 != 0 && walking.load(Ordering::Acquire) == seen {
            cpu::relax();
        }
    }
}

impl<'a> Walk<'a> {
    /// Begins to walk.
    #[inline(always)]
    pub(super) fn begin(tables: &'a UserTables, irq: &'a IrqMasked) -> Self {
        let walking = WALKING.get(irq);
        let number = walking.load(Ordering::Relaxed) + 1;
        debug_assert!(number % 2 == 1, "a walk within a walk");
        walking.store(number, Ordering::Relaxed);
        // Links are read after this is seen: pairs with the fence of `wait_for_walkers`.
        fence(Ordering::SeqCst);
        Self { tables, irq, number }
    }

    #[inline(always)]
    pub(super) fn irq(&self) -> &'a IrqMasked {
        self.irq
    }

    /// The words of a table that a link led to.
    #[inline(always)]
    fn words(&self, table: TableAddr<User>) -> &Table<User> {
        // SAFETY: it was linked when this CPU was on record already, so it is not freed while `self`
        // lives.
        unsafe { words(table) }
    }

    /// The table of `level` that translates `at`, and its words.
    #[inline(always)]
    pub(super) fn table(
        &self,
        at: UserAddr,
        level: Level,
    ) -> Option<(TableAddr<User>, &Table<User>)> {
        let va = VirtAddr::new(at.get());
        let (mut table, mut here) = (self.tables.root(), Level::Pgd);
        while here != level {
            table = self.words(table).table_below(here.index(va))?;
            here = here.down()?;
        }
        Some((table, self.words(table)))
    }

    /// The last-level table that translates `at`.
    #[inline(always)]
    pub(super) fn last_table(&self, at: UserAddr) -> Option<LastTable<'_>> {
        let va = VirtAddr::new(at.get());
        let pud = self.words(self.tables.root()).table_below(Level::Pgd.index(va))?;
        let pmd = self.words(pud).table_below(Level::Pud.index(va))?;
        let table = self.words(pmd).table_below(Level::Pmd.index(va))?;
        Some(LastTable { table, words: self.words(table), irq: self.irq })
    }

    /// The first last-level table that translates some of `range`, and its part of it.
    pub(super) fn next_table(&self, range: UserRange) -> Option<(LastTable<'_>, UserRange)> {
        let mut at = range.start().get();
        while at < range.end() {
            let va = VirtAddr::new(at);
            let (mut table, mut level) = (self.tables.root(), Level::Pgd);
            let missing = loop {
                match self.words(table).table_below(level.index(va)) {
                    None => break level,
                    Some(next) if level == Level::Pmd => {
                        let start = UserAddr::new(at)?;
                        let end = ((at | (level.size() - 1)) + 1).min(range.end());
                        let part = UserRange::from_size(start, end - at)?;
                        let words = self.words(next);
                        return Some((LastTable { table: next, words, irq: self.irq }, part));
                    }
                    Some(next) => (table, level) = (next, level.down()?),
                }
            };
            at = (at | (missing.size() - 1)) + 1;
        }
        None
    }

    /// Links `new` where the first table on the way to `at`, down to that of level `last`, is missing.
    /// Returns false if none is.
    fn link(&self, at: UserAddr, new: TableAddr<User>, last: Level) -> bool {
        let va = VirtAddr::new(at.get());
        let _lock = self.tables.page_table_lock.lock(self.irq);
        let (mut table, mut level) = (self.tables.root(), Level::Pgd);
        while let Some(next) = self.words(table).table_below(level.index(va)) {
            match level.down() {
                Some(down) if down != last => (table, level) = (next, down),
                _ => return false,
            }
        }
        self.words(table).link_below(level.index(va), new);
        let page = page_of(table);
        page.set_private(page.private() + 1);
        self.tables.pgtables_bytes.fetch_add(PAGE_SIZE, Ordering::Relaxed);
        true
    }
}

/// Links of last-level tables that move.
impl Walk<'_> {
    /// Takes the last-level table that translates `at` out of the tree, to be linked elsewhere.
    pub(super) fn unlink(&self, at: UserAddr) -> Option<TableAddr<User>> {
        let index = Level::Pmd.index(VirtAddr::new(at.get()));
        let _lock = self.tables.page_table_lock.lock(self.irq);
        let (pmd, words) = self.table(at, Level::Pmd)?;
        let table = words.table_below(index)?;
        words.unlink_below(index);
        page_of(pmd).set_private(page_of(pmd).private() - 1);
        Some(table)
    }

    /// Links a table that [`unlink`](Self::unlink) returned. Returns false if there is another, or
    /// the table above is missing.
    pub(super) fn relink(&self, at: UserAddr, table: TableAddr<User>) -> bool {
        let index = Level::Pmd.index(VirtAddr::new(at.get()));
        let _lock = self.tables.page_table_lock.lock(self.irq);
        let Some((pmd, words)) = self.table(at, Level::Pmd) else { return false };
        if words.table_below(index).is_some() {
            return false;
        }
        words.link_below(index, table);
        page_of(pmd).set_private(page_of(pmd).private() + 1);
        true
    }
}

impl Drop for Walk<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        WALKING.get(self.irq).store(self.number + 1, Ordering::Release);
    }
}

/// A last-level table that a walk has found.
#[derive(Clone, Copy)]
pub(super) struct LastTable<'a> {
    table: TableAddr<User>,
    words: &'a Table<User>,
    irq: &'a IrqMasked,
}

impl<'a> LastTable<'a> {
    /// The entries, which others may be changing.
    #[inline(always)]
    pub fn words(self) -> &'a Table<User> {
        self.words
    }

    /// Takes its lock; `None` where it was taken out of the tree meanwhile (Linux:
    /// pte_offset_map_lock).
    #[inline(always)]
    pub fn lock(self) -> Option<LockedTable<'a>> {
        let page = page_of(self.table);
        let guard = lock_word(page.table_lock(), Rank::PageTable, self.irq)?;
        Some(LockedTable::new(page, self.words, guard))
    }

    /// Takes its lock while that of a table that [comes before](Self::comes_before) is held.
    pub fn lock_nested(self, first: &LockedTable<'a>) -> Option<LockedTable<'a>> {
        let page = page_of(self.table);
        let guard = lock_word_nested(page.table_lock(), first.guard())?;
        Some(LockedTable::new(page, self.words, guard))
    }

    /// Returns whether they are the same table.
    pub fn is(self, other: Self) -> bool {
        self.table == other.table
    }

    /// Returns whether this one's lock is taken first where both are.
    pub fn comes_before(self, other: Self) -> bool {
        self.table.phys() < other.table.phys()
    }

    /// The proof that interrupts are masked.
    #[inline(always)]
    pub fn irq(self) -> &'a IrqMasked {
        self.irq
    }
}
