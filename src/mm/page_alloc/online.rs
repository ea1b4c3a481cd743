//! Bringing one section up: its frame descriptors are made, and the rest of its free memory goes
//! to the free lists (Linux: sparse_init_nid, mm/sparse.c; deferred_init_maxorder,
//! mm/mm_init.c).
#![deny(unsafe_code)]

use super::buddy::{pageblock_migratetype, sub};
use super::fallback::Reach;
use super::memmap::{Part, Ram};
use crate::addr::{Order, Pfn, PfnRange};
use crate::arch::IrqMasked;
use crate::mm::hooks::{points, taken_off_list};
use crate::mm::mmzone::{Migratetype, NodeId, ZoneId, ZoneType, zone_of};
use crate::mm::page::{Frame, PageType};
use crate::mm::sparse::{self, FreeRam, Section};
use core::fmt;

/// The section that starts here could not be brought up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::mm) struct OnlineError(pub(in crate::mm) Pfn);

impl fmt::Display for OnlineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "section {:?} stays down, no memory for descriptors", self.0.phys())
    }
}

impl core::error::Error for OnlineError {}

/// Gives `section` its descriptors and frees the rest of its free memory.
pub(super) fn online<P, F>(
    irq: &IrqMasked,
    ram: &Ram<'_, P, F>,
    section: Section,
) -> Result<(), OnlineError>
where
    P: Iterator<Item = (NodeId, PfnRange)> + Clone,
    F: Iterator<Item = FreeRam> + Clone,
{
    let blocks = ram.blocks(section);
    if blocks == 0 {
        return Err(OnlineError(section.start()));
    }
    // A section with too little free memory of its own borrows from the rest.
    let mut spare = None;
    for _ in 0..ram.lacking(section) {
        let frame = take_spare(irq).or_else(|| grow(irq, ram).then(|| take_spare(irq)).flatten());
        let Some(frame) = frame else {
            give_back_spare(irq, spare);
            return Err(OnlineError(section.start()));
        };
        frame.page().set_next(spare);
        spare = Some(frame);
    }
    let mut next_spare = || {
        let frame: Frame = spare?;
        spare = frame.page().next();
        points::mm_page_free(frame, Order::ZERO);
        frame.page().set_next(None);
        frame.page().set_type(PageType::Vmemmap);
        Some(frame.pfn())
    };
    let mut table = || ram.tables.take();
    let (free, populate) = (ram.free.clone(), ram.populate);
    sparse::populate(irq, section, blocks, free, &mut next_spare, &mut table, populate)
        // There were pages enough, so the tables are not what they should be.
        .unwrap_or_else(|error| {
            panic!("page allocator: section {:?}: {error}", section.frames().phys())
        });

    let present = || ram.present.clone();
    let present_here = present().map(|(_, range)| range.intersect(section.frames()));
    prepare_blocks(section, blocks, present_here, |block| zone_of(&ram.limits, present(), block).0);
    let mark = |range: PfnRange| {
        range.iter().filter_map(Frame::new).for_each(|f| f.page().set_type(PageType::Vmemmap));
    };
    mark(ram.tables.range().intersect(section.frames()));
    for part in ram.parts(section) {
        mark(part.memmap);
        let mut locked = part.zone.zone().lock(irq);
        sub(&part.zone.zone().deferred, part.left.len());
        for (pfn, order) in part.left.blocks(Order::MAX) {
            if let Some(frame) = Frame::new(pfn) {
                locked.free_one(frame, order, Migratetype::Movable);
            }
        }
    }
    Ok(())
}

/// Says of each block of a fresh section which zone it is in, and where it has holes;
/// its pageblocks start as movable, which unmovable allocations then take over one by one.
fn prepare_blocks(
    section: Section,
    blocks: u32,
    present: impl Iterator<Item = PfnRange> + Clone,
    zone_of: impl Fn(Pfn) -> ZoneId,
) {
    for n in (0..u32::BITS).filter(|n| blocks >> n & 1 != 0) {
        let block = section.block(n);
        let Some(first) = Frame::new(block.start()) else { continue };
        first.set_zone(zone_of(block.start()));
        for at in (0..block.len()).step_by(Order::PAGEBLOCK.pages() as usize) {
            first.within(Order::MAX, at).set_block_migratetype(Migratetype::Movable);
        }
        let mut at = block.start();
        let ends = present.clone().map(|range| range.intersect(block)).filter(|r| !r.is_empty());
        for range in ends.chain([PfnRange::new(block.end(), block.end())]) {
            for hole in PfnRange::new(at, range.start()).iter() {
                let frame = first.within(Order::MAX, hole - block.start());
                frame.page().set_type(PageType::Hole);
            }
            at = range.end();
        }
    }
}

/// A page for another section's descriptors, from any zone that has one at hand; the zone does
/// not manage it any more.
fn take_spare(irq: &IrqMasked) -> Option<Frame> {
    let reach = Reach { cma: false, no_fragment: false };
    let take = |id: ZoneId| {
        let mut zone = id.zone().lock(irq);
        let frame = zone.rmqueue(Order::ZERO, Migratetype::Unmovable, reach)?;
        zone.sub_managed(1);
        Some(frame)
    };
    ZoneId::all()
        .filter(|id| id.kind() != ZoneType::Movable)
        .find_map(take)
        .inspect(|&frame| taken_off_list(frame, Order::ZERO))
}

/// Brings up the first section that is down and has pages for [`take_spare`], when the free lists
/// have none. Returns true if there was one.
fn grow<P, F>(irq: &IrqMasked, ram: &Ram<'_, P, F>) -> bool
where
    P: Iterator<Item = (NodeId, PfnRange)> + Clone,
    F: Iterator<Item = FreeRam> + Clone,
{
    let serves = |section: &Section| {
        let is_spare = |part: &Part| !part.left.is_empty() && part.zone.kind() != ZoneType::Movable;
        sparse::populated_blocks(*section) == 0 && ram.parts(*section).any(|part| is_spare(&part))
    };
    let mut sections = ram.free.clone().flat_map(|free| Section::all_of(free.range()));
    // It gives pages, so it takes none of others.
    sections.find(serves).is_some_and(|section| online(irq, ram, section).is_ok())
}

fn give_back_spare(irq: &IrqMasked, mut spare: Option<Frame>) {
    while let Some(frame) = spare {
        spare = frame.page().next();
        let mut zone = frame.zone().zone().lock(irq);
        zone.add_managed(1);
        let mt = pageblock_migratetype(frame);
        zone.free_one(frame, Order::ZERO, mt);
    }
}
