//! The two scanners: one rises through a zone and isolates movable pages, one falls and
//! takes free pages to move them to; where they meet, the zone is compacted (Linux:
//! isolate_migratepages, isolate_freepages).
#![deny(unsafe_code)]

use crate::addr::{Order, Pfn, PfnRange};
use crate::arch::irq::with_masked;
use crate::mm::hooks::points;
use crate::mm::migrate::{Isolated, MigrateMode, migrate_pages};
use crate::mm::mmzone::{Migratetype, ZoneId};
use crate::mm::page::{BlockSkip, Frame};
use crate::mm::page_alloc::{
    OwnedPage, PageList, buddy_order, drain_local_pages, pageblock_migratetype,
};

/// Positions of the scanners, and the pages that they hold.
pub(super) struct Scanners {
    zone: ZoneId,
    mode: MigrateMode,
    /// Requested order: after a block of it has been scanned, freed pages are let merge.
    order: Order,
    /// The next frame that the rising one looks at.
    migrate: Pfn,
    /// Position when the scanner last left its pageblock, and whether pages were isolated since.
    began: Pfn,
    found: bool,
    /// True if pages were freed since those on the per-CPU lists were let merge.
    freed: bool,
    /// The end of the pageblocks that the falling one has not been through.
    free: Pfn,
    /// Free pages to move to.
    pages: PageList<OwnedPage>,
    /// Numbers of pages scanned and moved.
    pub scanned: u32,
    pub moved: u32,
}

/// Result of a step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// Some pageblocks were gone through.
    Gone,
    /// The scanners have met.
    Met,
}

impl Scanners {
    /// Scanners that start at these places in `zone`, for a block of `order`.
    pub fn new(zone: ZoneId, mode: MigrateMode, order: Order, migrate: Pfn, free: Pfn) -> Self {
        let (pages, order) = (PageList::new(), order.min(Order::PAGEBLOCK));
        let (began, found, freed) = (migrate, false, false);
        Self { zone, mode, order, migrate, began, found, freed, free, pages, scanned: 0, moved: 0 }
    }

    /// Returns the positions of both scanners.
    pub fn places(&self) -> (Pfn, Pfn) {
        (self.migrate, self.free)
    }

    /// Isolates a cluster of movable pages and moves them up.
    pub fn step(&mut self) -> Step {
        let mut isolated = Isolated::new();
        let from = self.migrate;
        while !isolated.is_full() {
            if self.migrate >= self.free {
                break;
            }
            let block = self.migrate.align_down(Order::PAGEBLOCK);
            let end = (block + Order::PAGEBLOCK.pages()).min(self.free);
            if let Some(first) = self.source(block) {
                self.isolate_migratepages(end, &mut isolated);
                self.found |= !isolated.is_empty();
                if self.migrate < end {
                    continue;
                }
                // Gone through from its start, with nothing to move.
                if !self.found && self.began <= block && end.is_aligned(Order::PAGEBLOCK) {
                    first.page().add_block_skip(BlockSkip::SOURCE);
                }
            } else {
                self.migrate = end;
            }
            (self.began, self.found) = (end, false);
            if !isolated.is_empty() {
                break;
            }
        }
        if isolated.is_empty() {
            return Step::Met;
        }
        self.move_up(isolated);
        // What was freed merges only when it is off the per-CPU lists.
        if self.freed && from < self.migrate.align_down(self.order) {
            with_masked(drain_local_pages);
            self.freed = false;
        }
        if self.migrate >= self.free { Step::Met } else { Step::Gone }
    }

    fn move_up(&mut self, mut isolated: Isolated) {
        let Self { zone, mode, migrate, .. } = *self;
        let (free, pages) = (&mut self.free, core::cell::RefCell::new(&mut self.pages));
        let mut new_page = || {
            let mut pages = pages.borrow_mut();
            if pages.is_empty() {
                isolate_freepages(zone, mode, migrate, free, &mut pages);
            }
            pages.pop()
        };
        let mut unused = |page| pages.borrow_mut().push(page);
        let moved = migrate_pages(&mut isolated, mode, &mut new_page, &mut unused) as u32;
        points::mm_compaction_migratepages(moved, isolated.len() as u32);
        self.moved += moved;
        self.freed |= moved > 0;
    }

    /// The first frame of the pageblock at `start`, if that is of this zone.
    fn block(zone: ZoneId, start: Pfn) -> Option<Frame> {
        let first = Frame::new(start)?;
        (first.zone() == zone).then_some(first)
    }

    /// The first frame of the pageblock at `start`, if pages are moved out of it (Linux:
    /// suitable_migration_source).
    fn source(&self, start: Pfn) -> Option<Frame> {
        let first = Self::block(self.zone, start)?;
        let is_source = match pageblock_migratetype(first) {
            Migratetype::Movable | Migratetype::Cma => true,
            Migratetype::Isolate => false,
            // Few pages can be moved there: worth it for one who waits.
            _ => self.mode != MigrateMode::Async,
        };
        (is_source && !is_skipped(first, BlockSkip::SOURCE, self.mode)).then_some(first)
    }

    /// Isolates movable pages from here to `end`, until there are enough.
    fn isolate_migratepages(&mut self, end: Pfn, isolated: &mut Isolated) {
        let (start, scanned, before) = (self.migrate, self.scanned, isolated.len());
        self.isolate_up_to(end, isolated);
        let (scanned, taken) = (self.scanned - scanned, isolated.len() - before);
        points::isolate_migratepages(start, self.migrate, scanned, taken);
    }

    fn isolate_up_to(&mut self, end: Pfn, isolated: &mut Isolated) {
        while self.migrate < end && !isolated.is_full() {
            let Some(frame) = Frame::new(self.migrate) else {
                self.migrate = end;
                return;
            };
            // Without the lock it is a guess, and skips a block at most.
            let free = buddy_order(frame).map_or(0, Order::pages);
            if free == 0 {
                isolated.isolate(frame);
            }
            self.scanned += 1;
            self.migrate = (self.migrate + free.max(1)).min(end);
        }
    }
}

/// Returns whether the pageblock at `first` is left out because there was nothing to do there
/// the last time (`what`); where all has to be tried none is (Linux: isolation_suitable).
fn is_skipped(first: Frame, what: BlockSkip, mode: MigrateMode) -> bool {
    mode != MigrateMode::Sync && first.page().block_skip().contains(what)
}

/// Takes all hints of `zone` back, so that all of it is gone through again (Linux:
/// __reset_isolation_suitable).
pub(super) fn reset_isolation_suitable(zone: ZoneId) {
    let span = zone.zone().spanned();
    let size = Order::PAGEBLOCK.pages() as usize;
    for start in (span.start().get()..span.end().get()).step_by(size) {
        if let Some(first) = Scanners::block(zone, Pfn::new(start)) {
            first.page().clear_block_skip();
        }
    }
}

/// Returns whether pages are moved into pageblocks of this type: into those of movable pages,
/// and where all has to be tried into the others (Linux: suitable_migration_target).
fn is_target(mt: Migratetype, mode: MigrateMode) -> bool {
    match mt {
        Migratetype::Movable | Migratetype::Cma => true,
        Migratetype::Unmovable | Migratetype::Reclaimable => mode == MigrateMode::Sync,
        Migratetype::HighAtomic | Migratetype::Isolate => false,
    }
}

/// Takes the free pages of the next pageblocks below `free`, until there are some or the
/// other scanner at `migrate` is met.
fn isolate_freepages(
    zone: ZoneId,
    mode: MigrateMode,
    migrate: Pfn,
    free: &mut Pfn,
    pages: &mut PageList<OwnedPage>,
) {
    let size = Order::PAGEBLOCK.pages();
    let lowest = migrate.align_up(Order::PAGEBLOCK);
    while pages.is_empty() && *free > lowest {
        let start = if free.is_aligned(Order::PAGEBLOCK) {
            Pfn::new(free.get() - size)
        } else {
            free.align_down(Order::PAGEBLOCK)
        };
        let Some(first) = Scanners::block(zone, start) else {
            *free = start;
            continue;
        };
        *free = start;
        if is_skipped(first, BlockSkip::TARGET, mode) {
            continue;
        }
        with_masked(|irq| {
            let mut locked = zone.zone().lock(irq);
            let mt = pageblock_migratetype(first);
            // Free as a whole it is what compaction wants to get.
            let whole = buddy_order(first).is_some_and(|order| order >= Order::PAGEBLOCK)
                || buddy_order(first.align_down(Order::MAX)) == Some(Order::MAX);
            if is_target(mt, mode) && !whole {
                locked.take_free_blocks(PfnRange::new(start, start + size), mt, pages);
                if pages.is_empty() {
                    first.page().add_block_skip(BlockSkip::TARGET);
                }
                points::isolate_freepages(start, start + size, size, pages.len() as usize);
            }
        });
    }
}
