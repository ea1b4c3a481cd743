//! Users' page tables: what they map, faults that fill them, and taking memory out of them again
//! (Linux: mm/memory.c, mm/mprotect.c and mm/mremap.c as far as they edit tables).
//!
//! One [`UserTables`] is the tables of an address space. Areas, their rights and limits are policy of
//! `mm_struct` and `vma`, above; here a fault is told of its area by an [`Area`].
//!
//! | file | contents |
//! | --- | --- |
//! | `tables` | [`UserTables`]: the root, its `sched::Mm`, the end |
//! | `table_page` | pages that hold tables |
//! | `walk` | finding, locking and making tables |
//! | `locked` | a last-level table under its lock |
//! | `counters` | what an address space has in memory |
//! | `area` | an area, as a fault sees it |
//! | `fault` | faults: anonymous memory, access flag and dirty state |
//! | `file` | faults in pages of files, with those around them |
//! | `wp` | writes to write-protected pages: copy or reuse |
//! | `hand` | the page that a fault has in hand |
//! | `pte_page`, `zero_page` | the pages that entries map |
//! | `gather`, `release`, `zap` | taking pages out, and freeing them after the flush |
//! | `free_tables` | freeing tables that have become empty |
//! | `protect` | other rights for what is mapped |
//! | `move_tables` | moving what is mapped to other addresses |
//! | `resident` | reading what is mapped |
//! | `validate` | the checks of all of it |
//!
//! # Locks
//! `mm.lock`, which `mm_struct` has, keeps areas and entries in step: faults hold it for reading. No
//! function here needs it to be sound. Three mechanisms see to that:
//!
//! 1. Each last-level table has its lock, a word of its descriptor (`Rank::PageTable`). Entries are
//!    changed under it alone. Faults in other tables don't wait for it.
//! 2. Links between tables are made and taken under one lock (`Rank::MmPageTable`), and followed
//!    under none.
//! 3. Who follows links has interrupts masked and is on record for that (`walk`): a table that was
//!    taken out of the tree is closed, and freed when all who may have a link to it are done. Who
//!    finds a table closed looks again.
//!
//! # Pages
//! A page that was made by a fault on private memory is *exclusive* to its entry, which says so in a
//! bit of software's: it is mapped once, its descriptor names its family and index
//! ([`Mapping`](crate::mm::page::Mapping)), and a write need not copy it. A page of a file is counted
//! in its descriptor by each of its mappings. All mappings of a page hold one reference together, and
//! an entry's part in it ends when TLBs have forgotten the entry. Special entries, of the shared zero
//! page and of the kernel's pages, are not counted.
#![deny(unsafe_code)]

mod area;
mod counters;
mod fault;
#[expect(unsafe_code, reason = "takes over the reference that a file gives")]
mod file;
mod free_tables;
mod gather;
#[expect(unsafe_code, reason = "the mechanism: it owns a page that was just allocated")]
mod hand;
mod locked;
mod move_tables;
mod protect;
#[expect(unsafe_code, reason = "the mechanism: it reaches pages by entries")]
mod pte_page;
#[expect(unsafe_code, reason = "the mechanism: it frees pages that no entry maps")]
mod release;
mod resident;
#[expect(unsafe_code, reason = "the mechanism: it owns pages that hold tables")]
mod table_page;
#[expect(unsafe_code, reason = "says that its tables stay while its `Mm` does")]
mod tables;
#[cfg(test)]
mod tests;
mod validate;
#[expect(unsafe_code, reason = "the mechanism: it reaches tables by links")]
mod walk;
mod wp;
mod zap;
mod zero_page;

pub use crate::arch::fault::{Access, Fault};
pub use area::Area;
pub use counters::MmCounter;
pub use resident::Resident;
pub use tables::UserTables;
pub use validate::BadTables;
pub use zap::Zap;
