//! Counts of allocations that were served from the blocks of another migratetype: the cause of
//! fragmentation (Linux: the events mm_page_alloc_extfrag).
#![deny(unsafe_code)]

use crate::addr::Order;
use crate::machine_local;
use crate::mm::mmzone::Migratetype;
use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

const COUNT: usize = Migratetype::PCPTYPES;

/// Events by what was asked for and whose block was taken.
type Table = [[AtomicU64; COUNT]; COUNT];

const fn table() -> Table {
    [const { [const { AtomicU64::new(0) }; COUNT] }; COUNT]
}

machine_local! {
    static FALLBACKS: Table = table();
    static FRAGMENTING: Table = table();
    static OWNERSHIP: Table = table();
}

/// Counts of a kind of event since boot.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Extfrag {
    /// Blocks that were taken.
    pub events: u64,
    /// Number of these with blocks smaller than a pageblock: a stranger came into a pageblock,
    /// or another kind took over one that was in use.
    pub fragmenting: u64,
    /// Pageblocks that changed their type with it.
    pub change_ownership: u64,
}

/// Returns the counts of allocations of type `alloc` that were served from blocks of `fallback`.
#[must_use]
pub fn extfrag_events(alloc: Migratetype, fallback: Migratetype) -> Extfrag {
    let of = |table: &Table| {
        let row = table.get(alloc.index());
        row.and_then(|row| row.get(fallback.index())).map_or(0, |n| n.load(Relaxed))
    };
    Extfrag {
        events: of(&FALLBACKS),
        fragmenting: of(&FRAGMENTING),
        change_ownership: of(&OWNERSHIP),
    }
}

/// A block of `current` of type `fallback` is taken for `alloc`, and `blocks` pageblocks change
/// their type.
pub(super) fn note(alloc: Migratetype, fallback: Migratetype, current: Order, blocks: u32) {
    let add = |table: &Table, n: u32| {
        if let Some(cell) = table.get(alloc.index()).and_then(|row| row.get(fallback.index())) {
            cell.fetch_add(u64::from(n), Relaxed);
        }
    };
    add(&FALLBACKS, 1);
    add(&FRAGMENTING, u32::from(current < Order::PAGEBLOCK));
    add(&OWNERSHIP, blocks);
}

/// A line for each kind of event that has come to pass.
pub struct ExtfragEvents;

impl fmt::Display for ExtfragEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:>12} {:>12} {:>10} {:>11} {:>16}",
            "alloc", "fallback", "events", "fragmenting", "change_ownership"
        )?;
        for alloc in Migratetype::ALL {
            for fallback in Migratetype::ALL {
                let Extfrag { events, fragmenting, change_ownership } =
                    extfrag_events(alloc, fallback);
                if events != 0 {
                    writeln!(
                        f,
                        "{alloc:>12} {fallback:>12} {events:>10} {fragmenting:>11} {change_ownership:>16}"
                    )?;
                }
            }
        }
        Ok(())
    }
}
