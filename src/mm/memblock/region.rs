//! A region, and the sorted array of regions (Linux: struct memblock_type).

use super::MemblockError;
use crate::addr::{PhysAddr, PhysRange};
use crate::mm::mmzone::NodeId;

/// The regions that an array holds before it grows.
pub const INIT_MEMBLOCK_REGIONS: usize = 128;
bitflags::bitflags! {
    /// Attributes of a region (Linux: enum memblock_flags, with its values).
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct RegionFlags: u8 {
        /// The region may be taken out while the system runs.
        const HOTPLUG = 0x1;
        /// The region must stay out of the linear map.
        const NOMAP = 0x4;
    }
}

/// A range of memory with what is known of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Region {
    /// Range of the region.
    pub range: PhysRange,
    /// Attributes of the region.
    pub flags: RegionFlags,
    /// The NUMA node it belongs to, where known.
    pub nid: Option<NodeId>,
}

impl Region {
    /// Contents of an array's unused slots.
    pub const EMPTY: Self =
        Self::new(PhysRange::new(PhysAddr::new(0), PhysAddr::new(0)), None, RegionFlags::empty());

    /// A region.
    #[must_use]
    pub const fn new(range: PhysRange, nid: Option<NodeId>, flags: RegionFlags) -> Self {
        Self { range, flags, nid }
    }

    /// Returns whether it must stay out of the linear map.
    #[must_use]
    pub const fn is_nomap(&self) -> bool {
        self.flags.contains(RegionFlags::NOMAP)
    }

    /// Returns whether it may be taken out while the system runs.
    #[must_use]
    pub const fn is_hotpluggable(&self) -> bool {
        self.flags.contains(RegionFlags::HOTPLUG)
    }

    /// Returns whether the two would be one region if they touched.
    fn is_like(&self, other: &Self) -> bool {
        self.nid == other.nid && self.flags == other.flags
    }

    /// Returns whether the two touch and should be one region.
    pub(super) fn joins(&self, above: &Self) -> bool {
        self.range.end() == above.range.start() && self.is_like(above)
    }
}

/// Sorted, disjoint, non-empty regions; neighbours that are alike are joined.
pub(super) struct RegionArray {
    first: [Region; INIT_MEMBLOCK_REGIONS],
    /// The array after growth, and the range it lies in.
    grown: Option<(&'static mut [Region], PhysRange)>,
    len: usize,
    /// Slots of `first` in use: all, but for tests.
    pub(super) first_slots: usize,
}

impl RegionArray {
    pub(super) const fn new() -> Self {
        Self {
            first: [Region::EMPTY; INIT_MEMBLOCK_REGIONS],
            grown: None,
            len: 0,
            first_slots: INIT_MEMBLOCK_REGIONS,
        }
    }

    fn slots(&self) -> &[Region] {
        match &self.grown {
            Some((slots, _)) => slots,
            None => &self.first[..self.first_slots],
        }
    }

    fn slots_mut(&mut self) -> &mut [Region] {
        match &mut self.grown {
            Some((slots, _)) => slots,
            None => &mut self.first[..self.first_slots],
        }
    }

    pub(super) fn regions(&self) -> &[Region] {
        &self.slots()[..self.len]
    }

    fn regions_mut(&mut self) -> &mut [Region] {
        let len = self.len;
        &mut self.slots_mut()[..len]
    }

    pub(super) fn capacity(&self) -> usize {
        self.slots().len()
    }

    pub(super) fn room(&self) -> usize {
        self.capacity() - self.len
    }

    /// Returns the place of the array after growth.
    pub(super) fn grown_at(&self) -> Option<PhysRange> {
        self.grown.as_ref().map(|(_, at)| *at)
    }

    /// Moves into larger slots at `at`, and says where it lay before; `Err` where
    /// they are not larger.
    pub(super) fn move_to(
        &mut self,
        slots: &'static mut [Region],
        at: PhysRange,
    ) -> Result<Option<PhysRange>, MemblockError> {
        if slots.len() <= self.capacity() {
            return Err(MemblockError::Full);
        }
        slots[..self.len].copy_from_slice(self.regions());
        Ok(self.grown.replace((slots, at)).map(|(_, before)| before))
    }

    #[cfg(test)]
    pub(super) fn set_for_test(&mut self, index: usize, region: Region) {
        self.regions_mut()[index] = region;
    }

    /// Empties the array and says where it lay, if it had grown.
    pub(super) fn discard(&mut self) -> Option<PhysRange> {
        self.len = 0;
        self.grown.take().map(|(_, at)| at)
    }

    pub(super) fn total(&self) -> u64 {
        self.regions().iter().map(|region| region.range.len()).sum()
    }

    /// The index of the first region that ends above `at`.
    fn first_above(&self, at: PhysAddr) -> usize {
        self.regions().partition_point(|region| region.range.end() <= at)
    }

    /// The region that holds this byte.
    pub(super) fn find(&self, at: PhysAddr) -> Option<&Region> {
        let region = self.regions().get(self.first_above(at))?;
        region.range.contains(at).then_some(region)
    }

    /// The regions that share a byte with `range`.
    pub(super) fn overlapping(&self, range: PhysRange) -> core::slice::Iter<'_, Region> {
        let (first, last) = self.overlap(range);
        self.regions()[first..last].iter()
    }

    /// The indices of the regions that share a byte with `range`: first, and one past
    /// the last.
    fn overlap(&self, range: PhysRange) -> (usize, usize) {
        let first = self.first_above(range.start());
        if range.is_empty() {
            return (first, first);
        }
        let regions = &self.regions()[first..];
        (first, first + regions.partition_point(|region| region.range.start() < range.end()))
    }

    /// Returns the parts of `range` that no region covers.
    pub(super) fn gaps(&self, range: PhysRange) -> impl Iterator<Item = PhysRange> + '_ {
        let mut regions = self.overlapping(range);
        let mut at = range.start();
        core::iter::from_fn(move || {
            while at < range.end() {
                let Some(region) = regions.next() else {
                    let gap = PhysRange::new(at, range.end());
                    at = range.end();
                    return Some(gap);
                };
                let gap = PhysRange::new(at, region.range.start());
                at = region.range.end();
                if !gap.is_empty() {
                    return Some(gap);
                }
            }
            None
        })
    }

    fn insert(&mut self, index: usize, region: Region) {
        let len = self.len;
        let slots = self.slots_mut();
        slots.copy_within(index..len, index + 1);
        slots[index] = region;
        self.len += 1;
    }

    fn delete(&mut self, first: usize, last: usize) {
        let len = self.len;
        self.slots_mut().copy_within(last..len, first);
        self.len -= last - first;
    }

    /// Joins what is alike among the regions `first..last` and their neighbours.
    fn join(&mut self, first: usize, last: usize) {
        let mut index = first.saturating_sub(1);
        let mut pairs = last.min(self.len.saturating_sub(1)).saturating_sub(index);
        while pairs > 0 {
            let (below, above) = (self.regions()[index], self.regions()[index + 1]);
            if below.joins(&above) {
                self.regions_mut()[index].range =
                    PhysRange::new(below.range.start(), above.range.end());
                self.delete(index + 1, index + 2);
            } else {
                index += 1;
            }
            pairs -= 1;
        }
    }

    /// Returns whether a piece at `index` that no region has joins the one below, and the one
    /// above.
    fn neighbours(&self, index: usize, piece: &Region) -> (bool, bool) {
        let below = index.checked_sub(1).and_then(|below| self.regions().get(below));
        let above = self.regions().get(index);
        (below.is_some_and(|r| r.joins(piece)), above.is_some_and(|r| piece.joins(r)))
    }

    /// Adds what `region` has that no region has.
    pub(super) fn add(&mut self, region: Region) -> Result<(), MemblockError> {
        let pieces = self.gaps(region.range).map(|range| Region { range, ..region });
        let alone = |piece: &Region| {
            self.neighbours(self.first_above(piece.range.start()), piece) == (false, false)
        };
        if pieces.filter(alone).count() > self.room() {
            return Err(MemblockError::Full);
        }
        let mut rest = region.range;
        while let Some(gap) = { self.gaps(rest).next() } {
            let index = self.first_above(gap.start());
            let piece = Region { range: gap, ..region };
            let joins = self.neighbours(index, &piece);
            let regions = self.regions_mut();
            match joins {
                (false, false) => self.insert(index, piece),
                (true, false) => {
                    let start = regions[index - 1].range.start();
                    regions[index - 1].range = PhysRange::new(start, gap.end());
                }
                (false, true) => {
                    regions[index].range = PhysRange::new(gap.start(), regions[index].range.end());
                }
                (true, true) => {
                    let (start, end) =
                        (regions[index - 1].range.start(), regions[index].range.end());
                    regions[index - 1].range = PhysRange::new(start, end);
                    self.delete(index, index + 1);
                }
            }
            rest = PhysRange::new(gap.end(), rest.end());
        }
        Ok(())
    }

    /// Takes `range` out of every region.
    pub(super) fn remove(&mut self, range: PhysRange) -> Result<(), MemblockError> {
        let (mut first, mut last) = self.overlap(range);
        if first == last {
            return Ok(());
        }
        let (lowest, highest) = (self.regions()[first], self.regions()[last - 1]);
        let below = PhysRange::new(lowest.range.start(), range.start());
        let above = PhysRange::new(range.end(), highest.range.end());
        let (keeps_below, keeps_above) =
            (lowest.range.start() < range.start(), range.end() < highest.range.end());
        if keeps_below && keeps_above && last - first == 1 {
            if self.room() == 0 {
                return Err(MemblockError::Full);
            }
            self.insert(first, lowest);
            last += 1;
        }
        if keeps_below {
            self.regions_mut()[first].range = below;
            first += 1;
        }
        if keeps_above {
            last -= 1;
            self.regions_mut()[last].range = above;
        }
        self.delete(first, last);
        Ok(())
    }

    /// Splits the region that has bytes on both sides of `at`.
    fn split(&mut self, at: PhysAddr) {
        let index = self.first_above(at);
        let Some(&region) = self.regions().get(index).filter(|r| r.range.start() < at) else {
            return;
        };
        self.insert(index, Region { range: PhysRange::new(region.range.start(), at), ..region });
        self.regions_mut()[index + 1].range = PhysRange::new(at, region.range.end());
    }

    /// Changes flags or node of what `range` has of the regions.
    pub(super) fn change(
        &mut self,
        range: PhysRange,
        mut change: impl FnMut(&mut Region),
    ) -> Result<(), MemblockError> {
        let splits = |at: PhysAddr| self.find(at).is_some_and(|r| r.range.start() < at);
        let needed = usize::from(splits(range.start())) + usize::from(splits(range.end()));
        if range.is_empty() {
            return Ok(());
        }
        if needed > self.room() {
            return Err(MemblockError::Full);
        }
        self.split(range.start());
        self.split(range.end());
        let (first, last) = self.overlap(range);
        for region in &mut self.regions_mut()[first..last] {
            let at = region.range;
            change(region);
            debug_assert!(region.range == at, "a change of flags or node only");
        }
        self.join(first, last);
        Ok(())
    }
}
