//! A last-level table under its lock.
#![deny(unsafe_code)]

use crate::arch::pgtable::{PteWord, Table, User};
use crate::mm::page::Page;
use crate::sync::WordGuard;

/// A last-level table whose lock this CPU holds. Its descriptor counts the entries that are not
/// empty.
pub(super) struct LockedTable<'a> {
    page: &'static Page,
    words: &'a Table<User>,
    guard: WordGuard<'a>,
}

impl<'a> LockedTable<'a> {
    #[inline(always)]
    pub fn new(page: &'static Page, words: &'a Table<User>, guard: WordGuard<'a>) -> Self {
        Self { page, words, guard }
    }

    /// The lock.
    pub fn guard(&self) -> &WordGuard<'a> {
        &self.guard
    }

    /// The entries.
    #[inline(always)]
    pub fn words(&self) -> &'a Table<User> {
        self.words
    }

    /// Number of entries that are not empty.
    #[inline(always)]
    pub fn used(&self) -> u32 {
        self.page.private()
    }

    /// Counts entries that were filled, or emptied.
    #[inline(always)]
    pub fn add_used(&mut self, entries: i32) {
        self.page.set_private(self.page.private().wrapping_add_signed(entries));
    }

    /// Fills the empty entry at `index`.
    #[inline(always)]
    pub fn fill(&mut self, index: usize, pte: PteWord) {
        self.words.set_pte(index, pte);
        self.add_used(1);
    }

    /// Gives the table up, which is empty: who waits for the lock doesn't get it.
    pub fn close(self) {
        assert!(self.used() == 0, "a table of {} entries is given up", self.used());
        self.guard.close();
    }
}
