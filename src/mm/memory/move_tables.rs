//! Moving what is mapped to other addresses (Linux: move_page_tables, mm/mremap.c).
#![deny(unsafe_code)]

use super::locked::LockedTable;
use super::tables::UserTables;
use super::walk::LastTable;
use crate::addr::{PAGE_SHIFT, UserAddr, UserRange};
use crate::arch::pgtable::{FlushOwed, Level, PteWord, Table, TableAddr, User};

/// Bytes that a last-level table translates.
const SPAN: usize = Level::Pmd.size();
/// Number of tables that are moved with one flush.
const BATCH: usize = 32;

impl UserTables {
    /// Moves whatever is mapped in `len` bytes, whole pages, from `from` to `to`, where nothing is
    /// mapped; the two ranges don't overlap. Whole tables move as they are where both addresses
    /// allow it. An entry of `to` that is not empty stays, and so does that of `from`. Process
    /// context; `mm.lock` is held for writing.
    ///
    /// # Errors
    /// The number of bytes that were moved before memory for a table was missing.
    ///
    /// # Panics
    /// A range reaches past the end of users' addresses.
    pub fn move_tables(&self, from: UserAddr, to: UserAddr, len: usize) -> Result<(), usize> {
        let mut done = 0;
        while done < len {
            let at = |base: UserAddr| base.checked_add(done).expect("a user's range");
            let (old, new) = (at(from), at(to));
            let whole = (len - done) & !(SPAN - 1);
            if (old.get() | new.get()).is_multiple_of(SPAN) && whole > 0 {
                let bytes =
                    self.move_whole(old, new, whole.min(BATCH * SPAN)).map_err(|()| done)?;
                if bytes > 0 {
                    done += bytes;
                    continue;
                }
            }
            let to_end = |at: UserAddr| SPAN - (at.get() & (SPAN - 1));
            let bytes = to_end(old).min(to_end(new)).min(len - done);
            self.move_ptes(old, new, bytes).map_err(|()| done)?;
            done += bytes;
        }
        Ok(())
    }

    /// Moves whole tables, up to the first whose place is taken. Returns the number of bytes.
    fn move_whole(&self, old: UserAddr, new: UserAddr, len: usize) -> Result<usize, ()> {
        let mut tables: [Option<TableAddr<User>>; BATCH] = [None; BATCH];
        let mut owed = FlushOwed::NONE;
        let mut done = 0;
        let mut result = Ok(());
        while done < len {
            let (from, to) = (old.checked_add(done), new.checked_add(done));
            let (Some(from), Some(to)) = (from, to) else { break };
            if self.walk(|walk| walk.last_table(from).is_some()) {
                if self.upper_alloc(to).is_err() {
                    result = Err(());
                    break;
                }
                if self.walk(|walk| walk.last_table(to).is_some()) {
                    break;
                }
                tables[done / SPAN] = self.walk(|walk| walk.unlink(from));
                if let Some(range) = UserRange::from_size(from, SPAN) {
                    // All that they map, and the pointers to them.
                    owed.owe(range);
                }
            }
            done += SPAN;
        }
        owed.flush_tables(self.mm().context());
        for (n, table) in tables.iter().enumerate() {
            let Some(table) = *table else { continue };
            let at = |base: UserAddr| base.checked_add(n * SPAN).expect("went there before");
            // The place was free; it still is, as long as `mm.lock` is held.
            let linked =
                self.walk(|walk| walk.relink(at(new), table) || walk.relink(at(old), table));
            assert!(linked, "a table between {old} and {new} has lost its place");
        }
        result.map(|()| done)
    }

    /// Moves entries of one table to one table.
    fn move_ptes(&self, old: UserAddr, new: UserAddr, bytes: usize) -> Result<(), ()> {
        if self.walk(|walk| walk.last_table(old).is_none()) {
            return Ok(());
        }
        loop {
            self.pte_alloc(new).map_err(|_| ())?;
            let moved = self.walk(|walk| {
                let Some(from) = walk.last_table(old) else { return true };
                let Some(to) = walk.last_table(new) else { return false };
                let (first, second) =
                    (Table::<User>::pte_index(old), Table::<User>::pte_index(new));
                let run = Run { first, second, pages: bytes >> PAGE_SHIFT };
                let mut owed = FlushOwed::NONE;
                let moved = self.move_run(from, to, &run, old, &mut owed);
                moved.is_some()
            });
            if moved {
                return Ok(());
            }
        }
    }

    /// Moves a run of entries under the locks of both tables, and flushes before it gives them up.
    /// `None` where one was taken out of the tree.
    fn move_run(
        &self,
        from: LastTable<'_>,
        to: LastTable<'_>,
        run: &Run,
        old: UserAddr,
        owed: &mut FlushOwed<User>,
    ) -> Option<()> {
        let context = self.mm().context();
        let mut finish = |range: Option<UserRange>| {
            if let Some(range) = range {
                owed.owe(range);
                core::mem::replace(owed, FlushOwed::NONE).flush(context);
            }
        };
        if from.is(to) {
            let table = from.lock()?;
            let (moved, _) = run.move_between(table.words(), table.words(), old, false);
            finish(moved);
            return Some(());
        }
        let (mut a, mut b): (LockedTable<'_>, LockedTable<'_>) = if from.comes_before(to) {
            let a = from.lock()?;
            let b = to.lock_nested(&a)?;
            (a, b)
        } else {
            let b = to.lock()?;
            (from.lock_nested(&b)?, b)
        };
        let (moved, count) = run.move_between(a.words(), b.words(), old, b.used() == 0);
        a.add_used(-count);
        b.add_used(count);
        finish(moved);
        Some(())
    }
}

/// Entries that move: their first place, the new one, and their number.
struct Run {
    first: usize,
    second: usize,
    pages: usize,
}

impl Run {
    /// Moves the entries, to a table that is empty if `is_free`. Returns the range that is to be
    /// flushed, from `old` on, and the number of entries that were there.
    #[inline(always)]
    fn move_between(
        &self,
        from: &Table<User>,
        to: &Table<User>,
        old: UserAddr,
        is_free: bool,
    ) -> (Option<UserRange>, i32) {
        let mut count = 0;
        // Most pages are mapped as the one before.
        let mut kind = u64::MAX;
        for n in 0..self.pages {
            let pte = from.pte(self.first + n);
            if pte.is_none() || !is_free && !to.pte(self.second + n).is_none() {
                continue;
            }
            count += 1;
            if pte.kind() == kind {
                from.set_pte_relaxed(self.first + n, PteWord::NONE);
                to.set_pte_relaxed(self.second + n, pte);
                continue;
            }
            let pte = from.take_pte(self.first + n, pte);
            to.set_pte_relaxed(self.second + n, pte);
            if !pte.may_change() {
                kind = pte.kind();
            }
        }
        if count == 0 {
            return (None, 0);
        }
        (UserRange::from_size(old, self.pages << PAGE_SHIFT), count)
    }
}
