//! Memory taken offline and put back online, section by section (Linux:
//! mm/memory_hotplug.c, drivers/base/memory.c).
//!
//! A section goes offline by being emptied: its pageblocks are isolated, the per-CPU lists
//! drained, and the owners of its pages in use move them elsewhere. Then its free blocks
//! leave the lists, and it counts as neither present nor managed, until it is put online
//! again. Of its frames each is marked `OFFLINE` but those that hold descriptors
//! (`VMEMMAP`): these stay reserved and in use (Linux: memmap_on_memory). Poisoned frames
//! stay poisoned, offline and online.
//!
//! Of a zone's RAM, what is offline is all that is not present.
//!
//! Lock order: one range at a time changes (`CHANGING`, a mutex: the owners that
//! move pages may sleep); figures
//! and frames are marked under the zone's lock.
#![deny(unsafe_code)]

mod state;
pub(in crate::mm) use state::validate_zone;
pub use state::{MemoryState, section_state, sections};

use crate::addr::{Order, Pfn, PfnRange};
use crate::arch::irq::with_masked;
use crate::mm::contig::migrate_range;
use crate::mm::mmzone::{LockedZone, Migratetype, ZoneId};
use crate::mm::page::{Frame, PageFlags, PageType};
use crate::mm::page_alloc::{
    ContigError, State, add, buddy_order, drain_all_pages, free_block_around, online_range,
    pageblocks, setup_watermarks, single_zone, start_isolate, state_of, sub, undo_isolate,
    unmovable_page,
};
use crate::mm::sparse::Section;
use crate::sched;
use core::fmt;
use state::{Changing, update_span};

/// Reason why the state of a range was not changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HotplugError {
    /// Not whole sections of one zone's RAM, or there are holes in it, or no descriptors.
    Invalid,
    /// The section that starts here is not online, or not offline, as it would have to be.
    State(Pfn),
    /// The frame can't be emptied: it is reserved, a CMA area's, or in use by an owner who can't
    /// move it; or there is no memory to move it to.
    Busy(Pfn),
}

impl fmt::Display for HotplugError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid => f.write_str("not whole sections of one zone's memory"),
            Self::State(pfn) => {
                let section = Section::of(*pfn);
                write!(f, "section {:?} is ", section.frames().phys())?;
                match section_state(section) {
                    Some(state) => state.fmt(f),
                    None => f.write_str("not there"),
                }
            }
            Self::Busy(pfn) => write!(f, "frame {:#x} is in use", pfn.get()),
        }
    }
}

impl core::error::Error for HotplugError {}

impl From<ContigError> for HotplugError {
    fn from(error: ContigError) -> Self {
        match error {
            ContigError::Busy(pfn) => Self::Busy(pfn),
            ContigError::Invalid => Self::Invalid,
        }
    }
}

/// Passes over a range of which nothing more could be moved: what is in use for a moment
/// is free in the next.
const IDLE_PASSES: u32 = 20;

/// Takes the sections of `range` offline, all or none: pages in use are moved elsewhere,
/// and nothing is handed out of it until [`online_pages`]. Figures and watermarks are those
/// of the memory that is left. May take time in proportion to the range; for threads with
/// interrupts on (Linux: offline_pages).
///
/// # Errors
/// [`HotplugError`]; everything is as it was then, but pages that were moved.
pub fn offline_pages(range: PfnRange) -> Result<(), HotplugError> {
    let _changing = Changing::start(range, MemoryState::GoingOffline)?;
    expect_state(range, MemoryState::GoingOffline)?;
    let zone = check_range(range)?;
    if let Some(pfn) = cma_block(range).or_else(|| unmovable_page(range, may_stay)) {
        return Err(HotplugError::Busy(pfn));
    }
    start_isolate(zone, range)?;
    if let Err(error) = empty(zone, range) {
        undo_isolate(zone, range);
        return Err(error);
    }
    with_masked(|irq| update_span(irq, zone));
    setup_watermarks();
    Ok(())
}

/// Puts the sections of `range` online again: their frames are free, of movable
/// pageblocks. Threads (Linux: online_pages).
///
/// # Errors
/// [`HotplugError::Invalid`], or [`HotplugError::State`] where one is not offline; nothing
/// is changed then.
pub fn online_pages(range: PfnRange) -> Result<(), HotplugError> {
    let _changing = Changing::start(range, MemoryState::Online)?;
    expect_state(range, MemoryState::Offline)?;
    let zone = single_zone(range)?;
    // The first pageblock of a section says its state: it comes last.
    for first in pageblocks(range).rev().filter(|first| first.pfn().is_aligned(Order::MAX)) {
        with_masked(|irq| zone.zone().lock(irq).online_block(first));
    }
    with_masked(|irq| update_span(irq, zone));
    setup_watermarks();
    Ok(())
}

/// Checks that all sections of `range` are in this state.
fn expect_state(range: PfnRange, state: MemoryState) -> Result<(), HotplugError> {
    let starts = (range.start().get()..range.end().get()).step_by(Section::FRAMES as usize);
    let mut sections = starts.map(|start| Section::of(Pfn::new(start)));
    if sections.clone().any(|section| section_state(section).is_none()) {
        return Err(HotplugError::Invalid);
    }
    match sections.find(|&section| section_state(section) != Some(state)) {
        Some(section) => Err(HotplugError::State(section.start())),
        None => Ok(()),
    }
}

/// Brings up the descriptors of `range`, and checks that it is one zone's, without holes.
fn check_range(range: PfnRange) -> Result<ZoneId, HotplugError> {
    // What has not enough free memory for its descriptors is reserved nearly all.
    with_masked(|irq| online_range(irq, range)).map_err(|error| HotplugError::Busy(error.0))?;
    let zone = single_zone(range)?;
    let hole = |frame: Frame| frame.page().is_type(PageType::Hole);
    if range.iter().any(|pfn| Frame::new(pfn).is_none_or(hole)) {
        return Err(HotplugError::Invalid);
    }
    Ok(zone)
}

/// The first frame of `range` that is a CMA area's: what was promised to devices stays.
fn cma_block(range: PfnRange) -> Option<Pfn> {
    let cma = |first: &Frame| first.page().block_kept_migratetype() == Migratetype::Cma;
    pageblocks(range).find(cma).map(Frame::pfn)
}

/// Returns true if a frame may stay where it is in a section that goes offline.
fn may_stay(frame: Frame) -> bool {
    frame.page().is_type(PageType::Vmemmap) || state_of(frame) == State::Poisoned
}

/// Moves what is in use out of `range`, whose pageblocks are isolated, and takes it offline.
fn empty(zone: ZoneId, range: PfnRange) -> Result<(), HotplugError> {
    let mut idle = 0;
    loop {
        drain_all_pages();
        let taken = with_masked(|irq| zone.zone().lock(irq).offline_isolated(range));
        let Err(error) = taken else { return Ok(()) };
        idle = if migrate_range(range) == 0 { idle + 1 } else { 0 };
        if idle == IDLE_PASSES {
            return Err(error);
        }
        sched::cond_resched();
    }
}

impl LockedZone<'_> {
    /// Takes the free blocks of `range`, whose pageblocks are isolated, off their lists for
    /// good, and marks its frames. Nothing changes unless all of it is free or may stay
    /// (Linux: test_pages_isolated, __offline_isolated_pages).
    fn offline_isolated(&mut self, range: PfnRange) -> Result<(), HotplugError> {
        let mut at = range.start();
        while at < range.end() {
            at = match free_block_around(at) {
                Some((head, order)) => head.pfn() + order.pages(),
                None if Frame::new(at).is_some_and(may_stay) => at + 1,
                None => return Err(HotplugError::Busy(at)),
            };
        }
        let mut managed = 0;
        for frame in range.iter().filter_map(Frame::new) {
            if let Some(order) = buddy_order(frame) {
                self.del_from_free_list(frame, order, Migratetype::Isolate);
                self.account_sub(Migratetype::Isolate, order.pages());
            }
            if !frame.page().is_type(PageType::Vmemmap) {
                frame.page().add_type(PageType::Offline, PageFlags::empty());
                managed += 1;
            }
        }
        for first in pageblocks(range) {
            if first.page().block_kept_migratetype() == Migratetype::HighAtomic {
                sub(&self.zone.reserved_highatomic, Order::PAGEBLOCK.pages());
            }
            first.set_block_offline();
        }
        self.sub_managed(managed);
        sub(&self.zone.present, range.len());
        add(&self.zone.offline, range.len());
        Ok(())
    }

    /// Frees the frames of the block of the largest order at `first`, which is offline
    /// (Linux: online_pages_range).
    fn online_block(&mut self, first: Frame) {
        for pageblock in first.block(Order::MAX).step_by(Order::PAGEBLOCK.pages() as usize) {
            pageblock.set_block_migratetype(Migratetype::Movable);
        }
        let (start, end) = (first.pfn(), first.pfn() + Order::MAX.pages());
        let mut managed = 0;
        let mut free_from = start;
        for frame in first.block(Order::MAX) {
            let page = frame.page();
            let is_offline = page.is_type(PageType::Offline);
            let is_good = is_offline && page.flags().is_empty();
            if is_offline {
                managed += 1;
                page.clear_type(PageFlags::empty());
            }
            if !is_good {
                self.free_range(PfnRange::new(free_from, frame.pfn()));
                free_from = frame.pfn() + 1;
            }
        }
        self.free_range(PfnRange::new(free_from, end));
        self.add_managed(managed);
        add(&self.zone.present, Order::MAX.pages());
        sub(&self.zone.offline, Order::MAX.pages());
    }

    fn free_range(&mut self, range: PfnRange) {
        for (pfn, order) in range.blocks(Order::MAX) {
            if let Some(frame) = Frame::new(pfn) {
                self.free_one(frame, order, Migratetype::Movable);
            }
        }
    }
}
