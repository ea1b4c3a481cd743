//! Memory that frame descriptors take, taken off the zones at boot (Linux: the memmap that
//! sparse_init allocates, mm/sparse.c).
//!
//! Descriptors are made when their section comes up, but the pages for them never count as
//! managed, so a zone's managed pages are the same before and after:
//!
//! - The descriptors of a section are made of the lowest free pages of that section.
//! - [`Tables`] over the descriptors of several sections are made of pages that are set aside
//!   at boot. Their number follows from where there is RAM.
//!
//! A section with no more free pages than its descriptors take has nothing to give: all its
//! pages count as reserved, and it comes up only if reserved memory in it is handed over, or if its
//! ranges are more than `deferred` remembers. Its descriptors are then made of pages of other
//! sections, which their zones manage no longer.
#![deny(unsafe_code)]

use crate::addr::{Order, Pfn, PfnRange};
use crate::mm::mmzone::{NodeId, ZoneId, ZoneLimits, zones_of};
use crate::mm::sparse::{FreeRam, MEMMAP_PAGES_PER_BLOCK, Populate, Section};
use core::cell::Cell;

/// Pages set aside for the tables over frame descriptors: a table is needed once, by the first
/// of its sections that comes up.
pub(super) struct Tables {
    ram: FreeRam,
    used: Cell<u32>,
}

impl Tables {
    /// Sets the lowest pages of the first range of `free` aside that is large enough for the
    /// tables of all RAM; `None` where there is no such range.
    pub(super) fn new(
        populate: Populate,
        present: impl Iterator<Item = PfnRange> + Clone,
        mut free: impl Iterator<Item = FreeRam>,
    ) -> Option<Self> {
        let pages = populate.table_pages(present);
        let range = free.find(|ram| ram.range().len() >= pages)?;
        let (ram, _) = range.split_at(range.range().start() + pages);
        Some(Self { ram, used: Cell::new(0) })
    }
    /// Returns the pages that were set aside.
    pub(super) fn range(&self) -> PfnRange {
        self.ram.range()
    }
    /// Returns how many of them hold no table yet.
    pub(super) fn left(&self) -> u32 {
        self.range().len() - self.used.get()
    }
    /// The next page for a table.
    pub(super) fn take(&self) -> Option<FreeRam> {
        let (_, left) = self.ram.split_at(self.range().start() + self.used.get());
        if left.range().is_empty() {
            return None;
        }
        self.used.set(self.used.get() + 1);
        Some(left.split_at(left.range().start() + 1).0)
    }
}

/// Memory as the firmware and memblock describe it.
pub(super) struct Ram<'a, P, F> {
    pub(super) limits: ZoneLimits,
    /// All RAM with the node it belongs to, rising.
    pub(super) present: P,
    /// Free memory at boot without that of the tables, rising.
    pub(super) free: F,
    pub(super) tables: &'a Tables,
    pub(super) populate: Populate,
}

/// Free memory of a section in one zone, the lowest pages of which the descriptors take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    pub(super) zone: ZoneId,
    /// Pages for descriptors.
    pub(super) memmap: PfnRange,
    /// Pages for the free lists.
    pub(super) left: PfnRange,
}

impl<P, F> Ram<'_, P, F>
where
    P: Iterator<Item = (NodeId, PfnRange)> + Clone,
    F: Iterator<Item = FreeRam> + Clone,
{
    /// The blocks of `section` that hold RAM, a bit each.
    pub(super) fn blocks(&self, section: Section) -> u32 {
        self.present.clone().fold(0, |bits, (_, range)| bits | section.blocks_of(range))
    }

    /// The free ranges of `section`.
    fn free_in(&self, section: Section) -> impl Iterator<Item = PfnRange> {
        let here = self.free.clone().map(move |ram| ram.range().intersect(section.frames()));
        here.filter(|range| !range.is_empty())
    }

    fn free_pages(&self, section: Section) -> u32 {
        self.free_in(section).map(PfnRange::len).sum()
    }

    fn memmap_pages(&self, section: Section) -> u32 {
        self.blocks(section).count_ones() * MEMMAP_PAGES_PER_BLOCK
    }

    /// Returns whether `section` has more free memory than its descriptors take.
    pub(super) fn gives(&self, section: Section) -> bool {
        self.free_pages(section) > self.memmap_pages(section)
    }

    /// Pages for descriptors of `section` that it does not have itself.
    pub(super) fn lacking(&self, section: Section) -> u32 {
        self.memmap_pages(section).saturating_sub(self.free_pages(section))
    }

    /// The free memory of `section`, rising.
    pub(super) fn parts(&self, section: Section) -> impl Iterator<Item = Part> {
        let zones = |range| zones_of(self.limits, self.present.clone(), range);
        let mut memmap = self.memmap_pages(section);
        self.free_in(section).flat_map(zones).map(move |(zone, range)| {
            let taken = memmap.min(range.len());
            memmap -= taken;
            let middle = range.start() + taken;
            let (memmap, left) =
                (PfnRange::new(range.start(), middle), PfnRange::new(middle, range.end()));
            Part { zone, memmap, left }
        })
    }

    /// Counts the pages of `within` that its sections give to the free lists when they come
    /// up, with the zone they are of. Takes time in proportion to the number of free ranges,
    /// however large these are.
    pub(super) fn count_given(&self, within: PfnRange, mut count: impl FnMut(ZoneId, u32)) {
        let free = self.free.clone().map(|ram| ram.range().intersect(within));
        // Sections below have been counted.
        let mut at = Pfn::new(0);
        for (zone, range) in
            free.flat_map(|range| zones_of(self.limits, self.present.clone(), range))
        {
            at = at.max(range.start());
            while at < range.end() {
                let section = Section::of(at);
                let whole = PfnRange::new(section.start(), Section::of(range.end()).start());
                if at == whole.start() && !whole.is_empty() {
                    // All of these sections is free, and of one zone.
                    let blocks = whole.len() / Order::MAX.pages();
                    count(zone, whole.len() - blocks * MEMMAP_PAGES_PER_BLOCK);
                    at = whole.end();
                } else {
                    for part in self.parts(section) {
                        count(part.zone, part.left.intersect(within).len());
                    }
                    at = section.end();
                }
            }
        }
    }
}
