//! Given ranges of frames, allocated as a whole (Linux: alloc_contig_range of
//! mm/page_alloc.c). [`crate::mm::page_alloc`] takes free ranges off its lists; here the owners
//! of the pages in use move them out of the way first.
#![deny(unsafe_code)]

use crate::addr::PfnRange;
use crate::arch::irq::with_masked;
use crate::mm::gfp::Gfp;
use crate::mm::migrate::{Isolated, MigrateMode, migrate_pages};
use crate::mm::page::Frame;
#[cfg(doc)]
use crate::mm::page_alloc::free_contig_range;
use crate::mm::page_alloc::{
    ContigError, ContigPages, OwnedPage, TakeFrom, are_watched, drain_all_pages, free_block_around,
    prepare, single_zone, start_isolate, undo_isolate, unmovable_page,
};

impl ContigPages {
    /// Allocates the frames of `range` as [`alloc_contig_range`] does.
    ///
    /// # Errors
    /// As for [`alloc_contig_range`].
    #[expect(unsafe_code, reason = "owns what was allocated just now")]
    pub fn alloc(range: PfnRange) -> Result<Self, ContigError> {
        alloc_contig_range(range)?;
        // SAFETY: allocated just now.
        Ok(unsafe { Self::from_raw(range) })
    }
}

/// Maximum number of passes over a range whose pages in use could not all be moved at once.
const MIGRATE_PASSES: u32 = 5;

/// Allocates exactly the frames of `range`, of pageblocks of any types, as single pages
/// with one reference each; all or none. Movable pages in use are moved elsewhere. To be
/// given back with [`free_contig_range`]. Where all is free no pageblock need be emptied,
/// and none is isolated. May take time in proportion to the range; for
/// threads with interrupts on (Linux: alloc_contig_range).
///
/// # Errors
/// [`ContigError`]; nothing is allocated then.
pub fn alloc_contig_range(range: PfnRange) -> Result<(), ContigError> {
    let zone = single_zone(range)?;
    if are_watched() {
        prepare(range);
    }
    let take = |from| with_masked(|irq| zone.zone().lock(irq).take_range(range, from));
    if take(TakeFrom::NotIsolated).is_ok() {
        return Ok(());
    }
    if let Some(pfn) = unmovable_page(range, |_| false) {
        return Err(ContigError::Busy(pfn));
    }
    start_isolate(zone, range)?;
    drain_all_pages();
    let mut taken = take(TakeFrom::Isolated);
    for _ in 0..MIGRATE_PASSES {
        if taken.is_ok() || migrate_range(range) == 0 {
            break;
        }
        drain_all_pages();
        taken = take(TakeFrom::Isolated);
    }
    undo_isolate(zone, range);
    taken
}

/// Lets the owners of the pages in use in `range` move them elsewhere; returns how many
/// were, up to the first for which there is no memory (Linux: __alloc_contig_migrate_range).
pub(in crate::mm) fn migrate_range(range: PfnRange) -> usize {
    const TARGET: Gfp = Gfp::GFP_USER
        .union(Gfp::__GFP_MOVABLE)
        .union(Gfp::__GFP_RETRY_MAYFAIL)
        .union(Gfp::__GFP_NOWARN);
    let mut moved = 0;
    let mut short = false;
    let mut at = range.start();
    while at < range.end() && !short {
        let mut isolated = Isolated::new();
        while at < range.end() && !isolated.is_full() {
            // What is free can be skipped; a block that changes meanwhile is met again.
            match free_block_around(at) {
                Some((head, order)) => at = head.pfn() + order.pages(),
                None => {
                    let _ = Frame::new(at).is_some_and(|frame| isolated.isolate(frame));
                    at = at + 1;
                }
            }
        }
        moved += migrate_pages(
            &mut isolated,
            MigrateMode::Sync,
            &mut || {
                OwnedPage::alloc(TARGET).or_else(|| {
                    short = true;
                    None
                })
            },
            &mut drop,
        );
    }
    moved
}
