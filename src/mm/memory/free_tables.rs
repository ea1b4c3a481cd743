//! Freeing tables that have become empty (Linux: free_pgtables, free_pgd_range).
#![deny(unsafe_code)]

use super::table_page::{frame_of, free_table, page_of, table_in};
use super::tables::UserTables;
use super::walk::{Walk, wait_for_walkers};
use crate::addr::{PAGE_SIZE, UserAddr, UserRange};
use crate::arch::pgtable::{FlushOwed, Level, TableAddr, User};
use crate::mm::page::Frame;
use core::sync::atomic::Ordering::Relaxed;

/// Tables that are out of the tree, linked through their descriptors' `next`, and the flush that has
/// CPUs forget them.
struct Dead {
    first: Option<Frame>,
    owed: FlushOwed<User>,
}

impl UserTables {
    /// Frees the tables that translate nothing but addresses of `hole` and have no entries: from the
    /// end of the area below what was unmapped to the start of the area above, so that no table of
    /// a neighbour's goes. Process context.
    pub fn free_tables(&self, hole: UserRange) {
        let mut at = hole.start().get();
        // By parts that are done with interrupts masked.
        while let Some(start) = UserAddr::new(at).filter(|_| at < hole.end()) {
            let end = ((at | (Level::Pud.size() - 1)) + 1).min(hole.end());
            let next = self.walk(|walk| walk.next_used(start, hole.end()));
            let Some(next) = next else { break };
            if next >= end {
                at = next & !(Level::Pud.size() - 1);
                at = at.max(hole.start().get());
                continue;
            }
            self.free_part(hole, start);
            at = end;
        }
        self.free_upper(hole);
    }

    /// Frees the last-level tables for the 1 GiB around `at`, and the table that links them.
    fn free_part(&self, hole: UserRange, at: UserAddr) {
        let mut dead = Dead { first: None, owed: FlushOwed::NONE };
        self.walk(|walk| {
            let _lock = self.page_table_lock.lock(walk.irq());
            let base = at.align_down(Level::Pud.size());
            if let Some((pmd, _)) = walk.table(at, Level::Pmd) {
                for n in 0..512 {
                    if page_of(pmd).private() == 0 {
                        break;
                    }
                    walk.take_table(hole, base, n, Level::Pmd, pmd, &mut dead);
                }
            }
        });
        self.free_dead(dead);
    }

    /// Frees tables above the last two levels, and those of level 2 that have become empty.
    fn free_upper(&self, hole: UserRange) {
        for level in [Level::Pud, Level::Pgd] {
            let mut dead = Dead { first: None, owed: FlushOwed::NONE };
            self.walk(|walk| {
                let _lock = self.page_table_lock.lock(walk.irq());
                let mut at = hole.start().get();
                while let Some(start) = UserAddr::new(at).filter(|_| at < hole.end()) {
                    let base = start.align_down(level.table_span());
                    if let Some((table, _)) = walk.table(start, level) {
                        let first = (start.get() >> level.shift()) & 511;
                        for n in first..512 {
                            if page_of(table).private() == 0 {
                                break;
                            }
                            walk.take_table(hole, base, n, level, table, &mut dead);
                        }
                    }
                    at = base.get() + level.table_span();
                }
            });
            self.free_dead(dead);
        }
    }

    fn free_dead(&self, dead: Dead) {
        if dead.first.is_none() {
            return;
        }
        wait_for_walkers();
        dead.owed.flush_empty_tables(self.mm().context());
        let mut next = dead.first;
        while let Some(frame) = next {
            next = frame.page().next();
            free_table(table_in(frame));
            self.pgtables_bytes.fetch_sub(PAGE_SIZE, Relaxed);
        }
    }
}

impl Walk<'_> {
    /// An address from `at` on whose table of level 2 is there; `None` if none is below `end`.
    fn next_used(&self, at: UserAddr, end: usize) -> Option<usize> {
        let mut at = at.get();
        while let Some(start) = UserAddr::new(at).filter(|_| at < end) {
            let missing =
                [Level::Pud, Level::Pmd].into_iter().find(|&l| self.table(start, l).is_none());
            match missing {
                None => return Some(at),
                Some(level) => at = (at | (level.table_span() - 1)) + 1,
            }
        }
        None
    }

    /// Takes the table that entry `n` of `table` links out of the tree, if all that it translates is
    /// in `hole` and it is empty. The lock of the links is held; `base` is the first address that
    /// `table`, of `level`, translates.
    fn take_table(
        &self,
        hole: UserRange,
        base: UserAddr,
        n: usize,
        level: Level,
        table: TableAddr<User>,
        dead: &mut Dead,
    ) {
        let Some(start) = base.checked_add(n << level.shift()) else { return };
        let inside = start >= hole.start() && start.get() + level.size() <= hole.end();
        let Some((_, words)) = self.table(base, level).filter(|_| inside) else { return };
        let Some(below) = words.table_below(n) else { return };
        if level == Level::Pmd {
            // Its entries are counted under its lock.
            let Some(locked) = self.last_table(start).and_then(|last| last.lock()) else { return };
            if locked.used() != 0 {
                return;
            }
            words.unlink_below(n);
            locked.close();
        } else if page_of(below).private() == 0 {
            words.unlink_below(n);
        } else {
            return;
        }
        let page = page_of(table);
        page.set_private(page.private() - 1);
        let frame = frame_of(below);
        frame.page().set_next(dead.first.replace(frame));
        if let Some(range) = UserRange::from_size(start, level.size()) {
            dead.owed.owe_tables(range, level);
        }
    }
}
