//! Other rights for what is mapped (Linux: change_protection, mm/mprotect.c).
#![deny(unsafe_code)]

use super::locked::LockedTable;
use super::pte_page::sync_icache;
use super::tables::UserTables;
use crate::addr::{PAGE_SHIFT, UserAddr, UserRange};
use crate::arch::pgtable::{FlushOwed, Prot, PteWord, Table, User, UserAttrs};

impl UserTables {
    /// Gives all pages of `range`, whole pages, the rights of `attrs`, which are those of their area.
    /// In a private area (not `shared`) only exclusive pages become writable: others are copied when
    /// they are written to. Any context (Linux: change_protection with MM_CP_TRY_CHANGE_WRITABLE).
    pub fn change_protection(&self, range: UserRange, attrs: UserAttrs, shared: bool) {
        let mut owed = FlushOwed::NONE;
        let mut rest = Some(range);
        while let Some(range) = rest {
            rest = self.walk(|walk| {
                let (table, part) = walk.next_table(range)?;
                if let Some(table) = table.lock() {
                    change_table(&table, part, attrs, shared, &mut owed);
                }
                let from = UserAddr::new(part.end())?;
                UserRange::from_size(from, range.end() - part.end())
            });
        }
        owed.flush(self.mm().context());
    }
}

fn change_table(
    table: &LockedTable<'_>,
    part: UserRange,
    attrs: UserAttrs,
    shared: bool,
    owed: &mut FlushOwed<User>,
) {
    let words = table.words();
    let first = Table::<User>::pte_index(part.start());
    let end = first + (part.len() >> PAGE_SHIFT);
    let is_exec = attrs.prot().contains(Prot::EXEC);
    let mut changed = false;
    // Most pages are mapped as the one before.
    let (mut kind, mut change) = (u64::MAX, 0);
    for index in first..end {
        let pte = words.pte(index);
        if pte.kind() == kind {
            words.set_pte_relaxed(index, pte.changed_by(change));
            continue;
        }
        if let Some((old, new)) = change_one(words, index, attrs, shared) {
            changed |= old != new;
            // Each page that becomes executable needs more than its entry.
            if !old.may_change() && !is_exec {
                (kind, change) = (old.kind(), old.kind() ^ new.kind());
            }
        }
    }
    if changed {
        owed.owe(part);
    }
}

/// Changes one entry; what it was and is now. `None` where there is no page.
fn change_one(
    words: &Table<User>,
    index: usize,
    area: UserAttrs,
    shared: bool,
) -> Option<(PteWord, PteWord)> {
    loop {
        let old = words.pte(index);
        if !old.is_valid() {
            return None;
        }
        let attrs = old.attrs();
        let may_write = shared || attrs.is_exclusive();
        let new = PteWord::page(old.phys(), attrs.with_rights_of(area, may_write));
        if !attrs.prot().contains(Prot::EXEC) {
            sync_icache(new);
        }
        if new == old || words.exchange_pte(index, old, new) {
            return Some((old, new));
        }
    }
}
