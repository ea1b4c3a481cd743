//! Checks of an address space's tables against its counters.
#![deny(unsafe_code)]

use super::counters::MmCounter;
use super::table_page::page_of;
use super::tables::UserTables;
use crate::addr::{PAGE_SIZE, UserAddr};
use crate::arch::pgtable::{Level, UserPte};
use core::fmt;

/// The contents of an address space's tables don't agree with what is counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BadTables {
    /// Name of the figure or the place.
    pub what: &'static str,
    /// The value that was found in the tables.
    pub found: usize,
    /// The value that is counted.
    pub counted: usize,
}

impl fmt::Display for BadTables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} in the tables, {} counted", self.what, self.found, self.counted)
    }
}

impl core::error::Error for BadTables {}

/// Sums over all tables.
#[derive(Default)]
struct Sums {
    tables: usize,
    anon: usize,
    of_files: usize,
}

impl UserTables {
    /// Walks all tables, and checks them against the counters. Of tables that change meanwhile the
    /// figures may differ.
    ///
    /// # Errors
    /// The first figure that is wrong.
    pub fn validate(&self) -> Result<(), BadTables> {
        let mut sums = Sums::default();
        self.validate_table(Level::Pgd, UserAddr::default(), &mut sums)?;
        let files = self.rss(MmCounter::File) + self.rss(MmCounter::Shmem);
        check("pages of tables", sums.tables * PAGE_SIZE, self.pgtables_bytes())?;
        check("anonymous pages", sums.anon, self.rss(MmCounter::Anon))?;
        check("pages of files", sums.of_files, files)
    }

    /// Goes through one table, and those below.
    fn validate_table(
        &self,
        level: Level,
        base: UserAddr,
        sums: &mut Sums,
    ) -> Result<(), BadTables> {
        let mut used = 0;
        for n in 0..512 {
            let at = base.checked_add(n << level.shift()).expect("in the table");
            let entry = self.walk(|walk| {
                let (table, words) = walk.table(at, level)?;
                let below = level.down().and_then(|down| walk.table(at, down));
                Some((page_of(table).private() as usize, words.pte(n), below.is_some()))
            });
            let Some((counted, pte, has_table)) = entry else { break };
            if let Some(down) = level.down() {
                if has_table {
                    used += 1;
                    sums.tables += 1;
                    self.validate_table(down, at, sums)?;
                }
            } else if !pte.is_none() {
                used += 1;
                match pte.decode() {
                    UserPte::Present(leaf) if leaf.attrs.is_special() => {}
                    UserPte::Present(leaf) if leaf.attrs.is_exclusive() => sums.anon += 1,
                    UserPte::Present(_) => sums.of_files += 1,
                    UserPte::Bad(_) => {
                        return Err(BadTables { what: "bad entry", found: at.get(), counted: 0 });
                    }
                    _ => {}
                }
            }
            if n == 511 {
                check("entries of a table", used, counted)?;
            }
        }
        Ok(())
    }
}

fn check(what: &'static str, found: usize, counted: usize) -> Result<(), BadTables> {
    if found == counted { Ok(()) } else { Err(BadTables { what, found, counted }) }
}
