//! Bringing memory up section by section (Linux: deferred_grow_zone, mm/mm_init.c).
//!
//! At boot the free ranges are only written down: that costs as much as there are ranges,
//! however large they are. Their pages count as free, except those that the descriptors will
//! take (`memmap`). When a zone's free lists fall short, the next section with free memory of
//! that zone gets its descriptors, and the rest of its free memory goes to the free lists.
//!
//! The ranges never change afterwards. A section is up or down as a whole, which [`sparse`]
//! records.
#![deny(unsafe_code)]

use super::buddy::add;
use super::check::{State, state_of};
use super::memmap::{Ram, Tables};
use super::online::{OnlineError, online};
use crate::addr::{Order, Pfn, PfnRange};
use crate::arch::IrqMasked;
use crate::arch::irq::with_masked;
use crate::machine_local;
use crate::mm::ids::PcpColumn;
use crate::mm::mmzone::{NodeId, ZoneId, ZoneLimits, zone_of, zones_of};
use crate::mm::page::Frame;
use crate::mm::sparse::{self, FreeRam, Populate, Section};
use crate::sync::{Rank, SpinLock};
use arrayvec::ArrayVec;
use core::fmt;
use core::sync::atomic::Ordering::Relaxed;

/// Ranges that are remembered. The sections of those past it are brought up at once.
const PRESENT_RANGES: usize = 64;
const FREE_RANGES: usize = 128;

/// Reason why the allocator can't start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum InitError {
    /// The ranges are not rising, or overlap; the second of the two.
    Unsorted(PfnRange),
    /// A free range that is not RAM.
    NotPresent(PfnRange),
    /// There is no free memory, or not enough for its own descriptors.
    NoMemory,
    /// RAM is on a node that was given no zones ([`alloc_node_data`](super::alloc_node_data)).
    NoZones(NodeId),
    /// The allocator is up already.
    Again,
}

impl fmt::Display for InitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsorted(range) => {
                write!(f, "memory range {:?} overlaps or precedes the one before", range.phys())
            }
            Self::NotPresent(range) => {
                write!(f, "free memory range {:?} lies outside RAM", range.phys())
            }
            Self::NoMemory => f.write_str("no free memory"),
            Self::NoZones(node) => write!(f, "node {} has RAM and no zones", node.index()),
            Self::Again => f.write_str("the page allocator is up already"),
        }
    }
}

impl core::error::Error for InitError {}

/// Memory ranges from the firmware and memblock, and the progress of bringing up their sections.
struct Sections {
    present: ArrayVec<(NodeId, PfnRange), PRESENT_RANGES>,
    free: ArrayVec<FreeRam, FREE_RANGES>,
    limits: ZoneLimits,
    populate: Populate,
    tables: Tables,
    /// Below it, no section that is down has free memory of the zone.
    cursor: [Pfn; ZoneId::COUNT],
}

machine_local! {
    static SECTIONS: SpinLock<Option<Sections>> = SpinLock::new(Rank::Section, None);
}

/// Writes down what memory there is, and counts it. Ranges are sorted and disjoint.
pub(super) fn init(
    irq: &IrqMasked,
    limits: ZoneLimits,
    present: impl Iterator<Item = (NodeId, PfnRange)> + Clone,
    free: impl Iterator<Item = FreeRam> + Clone,
    populate: Populate,
) -> Result<(), InitError> {
    let mut sections = SECTIONS.lock(irq);
    if sections.is_some() {
        return Err(InitError::Again);
    }
    let limits = limits.rounded();
    sorted(present.clone().map(|(_, range)| range))?;
    sorted(free.clone().map(FreeRam::range))?;
    for range in free.clone().map(FreeRam::range) {
        // Adjacent ranges of RAM may hold a free one together.
        let found: u32 = present.clone().map(|(_, ram)| ram.intersect(range).len()).sum();
        if found != range.len() {
            return Err(InitError::NotPresent(range));
        }
    }
    for (_, range) in present.clone() {
        for (id, part) in zones_of(limits, present.clone(), range) {
            let zone = id.zone();
            if zone.present() == 0 {
                PcpColumn::assign(id);
                zone.start.store(part.start().get(), Relaxed);
            }
            zone.end.store(part.end().get(), Relaxed);
            add(&zone.present, part.len());
        }
    }
    let ranges = present.clone().map(|(_, range)| range);
    let tables = Tables::new(populate, ranges, free.clone()).ok_or(InitError::NoMemory)?;
    let set_aside = tables.range();
    let free = free.map(|ram| match ram.range().start() == set_aside.start() {
        true => ram.split_at(set_aside.end()).1,
        false => ram,
    });
    let ram =
        Ram { limits, present: present.clone(), free: free.clone(), tables: &tables, populate };
    ram.count_given(PfnRange::new(Pfn::new(0), Pfn::LIMIT), |id, pages| {
        let mut zone = id.zone().lock(irq);
        zone.add_managed(pages);
        add(&zone.zone.deferred, pages);
    });
    // What can't be remembered comes up now, by whole sections.
    let left_out = present
        .clone()
        .map(|(_, range)| range)
        .skip(PRESENT_RANGES)
        .chain(free.clone().map(FreeRam::range).skip(FREE_RANGES))
        .map(|range| Section::of(range.start()))
        .min();
    if let Some(first) = left_out {
        for (_, range) in present.clone().filter(|(_, range)| range.end() > first.start()) {
            let mut at = range.start().max(first.start());
            while at < range.end() {
                let section = Section::of(at);
                if sparse::populated_blocks(section) == 0
                    && let Err(error) = online(irq, &ram, section)
                {
                    log::warn!("page allocator: {error}");
                }
                at = section.end();
            }
        }
    }
    *sections = Some(Sections {
        present: present.take(PRESENT_RANGES).collect(),
        free: free.take(FREE_RANGES).collect(),
        limits,
        populate,
        tables,
        cursor: [Pfn::new(0); ZoneId::COUNT],
    });
    Ok(())
}

fn sorted(ranges: impl Iterator<Item = PfnRange>) -> Result<(), InitError> {
    let mut end = Pfn::new(0);
    for range in ranges {
        if range.start() < end || range.end() > Pfn::LIMIT {
            return Err(InitError::Unsorted(range));
        }
        end = range.end();
    }
    Ok(())
}

/// Brings up the next section that has free memory of `zone`. Returns whether there was
/// one; the zone may have more free pages than before even where there was not.
pub(in crate::mm) fn grow_zone(irq: &IrqMasked, zone: ZoneId) -> bool {
    let mut guard = SECTIONS.lock(irq);
    let Some(sections) = guard.as_mut() else { return false };
    if zone.zone().deferred.load(Relaxed) == 0 {
        return false;
    }
    let ram = sections.ram();
    let mut at = sections.cursor[zone.index()];
    let found = loop {
        let Some(range) = sections.free.iter().map(|f| f.range()).find(|f| f.end() > at) else {
            break false;
        };
        at = at.max(range.start());
        let block = at.align_down(Order::MAX);
        let (here, until) = zone_of(&sections.limits, sections.present.iter().copied(), block);
        if here != zone {
            at = until;
            continue;
        }
        let section = Section::of(at);
        at = section.end();
        if sparse::populated_blocks(section) == 0
            && ram.gives(section)
            && online(irq, &ram, section).is_ok()
        {
            break true;
        }
    };
    drop(ram);
    sections.cursor[zone.index()] = at;
    found
}

/// Returns true if any frame of `range` is the allocator's, allocated or free, whether its
/// section is up or not. Reserved memory and holes are not. Any context.
#[must_use]
pub fn manages(range: PfnRange) -> bool {
    let deferred = |part: PfnRange| {
        with_masked(|irq| {
            let guard = SECTIONS.lock(irq);
            let free = guard.as_ref().map(|sections| &sections.free[..]);
            free.unwrap_or(&[]).iter().any(|ram| ram.range().overlaps(part))
        })
    };
    let mut at = range.start();
    while at < range.end() {
        match Frame::new(at) {
            Some(frame) => {
                if !matches!(state_of(frame), State::Hole | State::Reserved) {
                    return true;
                }
                at = at + 1;
            }
            // Blocks without descriptors have none at all.
            None => {
                let block = PfnRange::new(at, (at + 1).align_up(Order::MAX).min(range.end()));
                if deferred(block) {
                    return true;
                }
                at = block.end();
            }
        }
    }
    false
}

/// Brings up the sections of `range`, in which reserved memory is handed over. Where a section
/// has less free memory than its descriptors take, they are made of free memory elsewhere, which
/// is managed no more.
pub(super) fn online_reserved(irq: &IrqMasked, range: PfnRange) -> Result<(), OnlineError> {
    online_each(irq, range, |_| true)
}

/// Brings up the sections of `range`, each of its own free memory: no figure of managed pages
/// changes. [`OnlineError`] for a section that has too little.
pub(in crate::mm) fn online_range(irq: &IrqMasked, range: PfnRange) -> Result<(), OnlineError> {
    online_each(irq, range, |lacking| lacking == 0)
}

fn online_each(
    irq: &IrqMasked,
    range: PfnRange,
    may_lack: impl Fn(u32) -> bool,
) -> Result<(), OnlineError> {
    let guard = SECTIONS.lock(irq);
    let ram = guard.as_ref().ok_or(OnlineError(range.start()))?.ram();
    let mut at = range.start();
    while at < range.end() {
        let section = Section::of(at);
        if sparse::populated_blocks(section) == 0 {
            if !may_lack(ram.lacking(section)) {
                return Err(OnlineError(section.start()));
            }
            online(irq, &ram, section)?;
        }
        at = section.end();
    }
    Ok(())
}

/// The parts of RAM of `zone`, rising; `None` where not all of RAM is remembered.
pub(in crate::mm) fn present_in(
    irq: &IrqMasked,
    zone: ZoneId,
    mut part: impl FnMut(PfnRange),
) -> Option<()> {
    let guard = SECTIONS.lock(irq);
    let sections = guard.as_ref().filter(|sections| !sections.present.is_full())?;
    let present = sections.present.iter().copied();
    for (_, range) in present.clone() {
        zones_of(sections.limits, present.clone(), range)
            .filter(|(id, _)| *id == zone)
            .for_each(|(_, range)| part(range));
    }
    Some(())
}

/// RAM of a zone in sections that are not up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotUp {
    /// Range of the frames, which have no descriptors.
    pub range: PfnRange,
    /// Number of them that are free; the others are reserved, for their descriptors too.
    pub free: u32,
}

/// The parts of a zone's RAM that are in sections which are not up, rising. The lock is taken
/// for each, so sections may come up meanwhile. Any context.
pub fn not_up(zone: ZoneId) -> impl Iterator<Item = NotUp> {
    let mut at = Pfn::new(0);
    core::iter::from_fn(move || {
        let found = with_masked(|irq| SECTIONS.lock(irq).as_ref()?.next_not_up(zone, at))?;
        at = found.range.end();
        Some(found)
    })
}

impl Sections {
    /// The first such part at or after `from`.
    fn next_not_up(&self, zone: ZoneId, from: Pfn) -> Option<NotUp> {
        let present = self.present.iter().copied();
        let parts = present.clone().flat_map(|(_, range)| {
            zones_of(self.limits, present.clone(), range).filter(|(id, _)| *id == zone)
        });
        let is_down = |pfn| sparse::populated_blocks(Section::of(pfn)) == 0;
        parts.map(|(_, part)| part).find_map(|part| {
            let next = |pfn: Pfn| Section::of(pfn).end().min(part.end());
            let mut start = part.start().max(from);
            while start < part.end() && !is_down(start) {
                start = next(start);
            }
            let mut end = start;
            while end < part.end() && is_down(end) {
                end = next(end);
            }
            let range = PfnRange::new(start, end);
            if range.is_empty() {
                return None;
            }
            let mut free = 0;
            self.ram().count_given(range, |id, pages| free += if id == zone { pages } else { 0 });
            Some(NotUp { range, free })
        })
    }

    fn ram(
        &self,
    ) -> Ram<
        '_,
        impl Iterator<Item = (NodeId, PfnRange)> + Clone,
        impl Iterator<Item = FreeRam> + Clone,
    > {
        let (present, free) = (self.present.iter().copied(), self.free.iter().copied());
        let (tables, populate) = (&self.tables, self.populate);
        Ram { limits: self.limits, present, free, tables, populate }
    }
}

/// Checks the count of pages of `zone` in sections that are not up.
pub(in crate::mm) fn validate_deferred(irq: &IrqMasked, zone: ZoneId) -> Result<(), &'static str> {
    let guard = SECTIONS.lock(irq);
    let Some(sections) = guard.as_ref() else { return Ok(()) };
    let (mut at, mut pages) = (Pfn::new(0), 0);
    while let Some(part) = sections.next_not_up(zone, at) {
        pages += part.free;
        at = part.range.end();
    }
    if pages != zone.zone().deferred.load(Relaxed) {
        return Err("the count of pages that are not up is wrong");
    }
    Ok(())
}

/// Checks that no table is left to be made where all sections are up.
pub(in crate::mm) fn validate_tables(irq: &IrqMasked) -> Result<(), &'static str> {
    let guard = SECTIONS.lock(irq);
    let Some(sections) = guard.as_ref().filter(|sections| !sections.present.is_full()) else {
        return Ok(());
    };
    let down = ZoneId::all().any(|zone| sections.next_not_up(zone, Pfn::new(0)).is_some());
    if !down && sections.tables.left() != 0 {
        return Err("pages are kept for tables over descriptors, and all are up");
    }
    Ok(())
}
