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

/// The part of `hole` that is whole entries of a table of `level`.
#[inline(always)]
fn whole_entries(hole: UserRange, level: Level) -> Option<UserRange> {
    let start = (hole.start().get() + level.size() - 1) & !(level.size() - 1);
    let end = hole.end() & !(level.size() - 1);
    let at = UserAddr::new(start).filter(|_| start < end)?;
    UserRange::from_size(at, end - start)
}

impl UserTables {
    /// Frees the tables that translate nothing but addresses of `hole` and have no entries: from the
    /// end of the area below what was unmapped to the start of the area above, so that no table of
    /// a neighbour's goes. Process context.
    #[inline]
    pub fn free_tables(&self, hole: UserRange) {
        for level in [Level::Pmd, Level::Pud, Level::Pgd] {
            // What holds no table of a level holds none of those above it.
            let Some(whole) = whole_entries(hole, level) else { return };
            self.free_level(whole, level);
        }
    }

    /// Frees empty tables that tables of `level` link in `range`, which is whole entries of those.
    #[inline(never)]
    fn free_level(&self, range: UserRange, level: Level) {
        let mut rest = Some(range);
        // By tables, each with interrupts masked.
        while let Some(range) = rest {
            let mut dead = Dead { first: None, owed: FlushOwed::NONE };
            rest = self.walk(|walk| {
                let (start, table) = walk.next_used(range, level)?;
                let end = ((start | (level.table_span() - 1)) + 1).min(range.end());
                let _lock = self.page_table_lock.lock(walk.irq());
                let mut at = start;
                while let Some(entry) = UserAddr::new(at).filter(|_| at < end) {
                    if page_of(table).private() == 0 {
                        break;
                    }
                    walk.take_table(entry, level, table, &mut dead);
                    at += level.size();
                }
                let next = UserAddr::new(end)?;
                UserRange::from_size(next, range.end() - end)
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
    /// The first table of `level` that translates some of `range`, with the first address of that.
    fn next_used(&self, range: UserRange, level: Level) -> Option<(usize, TableAddr<User>)> {
        let mut at = range.start().get();
        while let Some(start) = UserAddr::new(at).filter(|_| at < range.end()) {
            let mut above =
                [Level::Pud, Level::Pmd].into_iter().take_while(|&above| above <= level);
            match above.find(|&above| self.table(start, above).is_none()) {
                None => return self.table(start, level).map(|(table, _)| (at, table)),
                Some(missing) => at = (at | (missing.table_span() - 1)) + 1,
            }
        }
        None
    }

    /// Takes the table that the entry of `table`, of `level`, for `start` links out of the tree, if
    /// it is empty. The lock of the links is held.
    fn take_table(&self, start: UserAddr, level: Level, table: TableAddr<User>, dead: &mut Dead) {
        let n = (start.get() >> level.shift()) & 511;
        // The table may be out of the tree since it was found: then it is empty.
        let Some((found, words)) = self.table(start, level) else { return };
        let Some(below) = words.table_below(n).filter(|_| found == table) else { return };
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
