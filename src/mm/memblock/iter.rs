//! Walking over what is free, and over memory by node.

use super::{Memblock, Region};
use crate::addr::{PfnRange, PhysAddr, PhysRange};
use crate::mm::mmzone::NodeId;

/// A range that is RAM, in the linear map, and not reserved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FreeMemRange {
    /// Range of the region.
    pub range: PhysRange,
    /// The NUMA node it belongs to, where known.
    pub nid: Option<NodeId>,
}

/// Selection of the regions of RAM that count.
#[derive(Clone, Copy)]
struct Filter {
    nid: Option<NodeId>,
    hotplug: bool,
}

impl Filter {
    fn takes(&self, region: &Region) -> bool {
        !region.is_nomap()
            && (self.hotplug || !region.is_hotpluggable())
            && (self.nid.is_none() || self.nid == region.nid)
    }
}

/// The free ranges, rising (Linux: for_each_free_mem_range).
#[derive(Clone)]
pub struct FreeMemRanges<'a> {
    memory: &'a [Region],
    reserved: &'a [Region],
    filter: Filter,
    /// Everything below has been seen.
    at: PhysAddr,
}

impl Iterator for FreeMemRanges<'_> {
    type Item = FreeMemRange;

    fn next(&mut self) -> Option<FreeMemRange> {
        loop {
            let (region, above) = self.memory.split_first()?;
            let start = region.range.start().max(self.at);
            if !self.filter.takes(region) || start >= region.range.end() {
                self.memory = above;
                continue;
            }
            let end = match self.reserved.split_first() {
                Some((reserved, above)) if reserved.range.end() <= start => {
                    self.reserved = above;
                    continue;
                }
                Some((reserved, _)) if reserved.range.start() <= start => {
                    self.at = reserved.range.end();
                    continue;
                }
                Some((reserved, _)) => region.range.end().min(reserved.range.start()),
                None => region.range.end(),
            };
            self.at = end;
            return Some(FreeMemRange { range: PhysRange::new(start, end), nid: region.nid });
        }
    }
}

/// The free ranges, falling (Linux: for_each_free_mem_range_reverse).
#[derive(Clone)]
pub struct FreeMemRangesReverse<'a> {
    memory: &'a [Region],
    reserved: &'a [Region],
    filter: Filter,
    /// Everything above has been seen.
    at: PhysAddr,
}

impl Iterator for FreeMemRangesReverse<'_> {
    type Item = FreeMemRange;

    fn next(&mut self) -> Option<FreeMemRange> {
        loop {
            let (region, below) = self.memory.split_last()?;
            let end = region.range.end().min(self.at);
            if !self.filter.takes(region) || end <= region.range.start() {
                self.memory = below;
                continue;
            }
            let start = match self.reserved.split_last() {
                Some((reserved, below)) if reserved.range.start() >= end => {
                    self.reserved = below;
                    continue;
                }
                Some((reserved, _)) if reserved.range.end() >= end => {
                    self.at = reserved.range.start();
                    continue;
                }
                Some((reserved, _)) => region.range.start().max(reserved.range.end()),
                None => region.range.start(),
            };
            self.at = start;
            return Some(FreeMemRange { range: PhysRange::new(start, end), nid: region.nid });
        }
    }
}

impl Memblock {
    /// The free ranges, rising; of one node, or of all. Two that touch differ in
    /// node or flags.
    #[must_use]
    pub fn free_mem_ranges(&self, nid: Option<NodeId>) -> FreeMemRanges<'_> {
        self.free_ranges(nid, true)
    }

    pub(super) fn free_ranges(&self, nid: Option<NodeId>, hotplug: bool) -> FreeMemRanges<'_> {
        FreeMemRanges {
            memory: self.memory(),
            reserved: self.reserved(),
            filter: Filter { nid, hotplug },
            at: PhysAddr::new(0),
        }
    }

    /// The free ranges, falling; of one node, or of all.
    #[must_use]
    pub fn free_mem_ranges_reverse(&self, nid: Option<NodeId>) -> FreeMemRangesReverse<'_> {
        self.free_ranges_reverse(nid, true)
    }

    pub(super) fn free_ranges_reverse(
        &self,
        nid: Option<NodeId>,
        hotplug: bool,
    ) -> FreeMemRangesReverse<'_> {
        FreeMemRangesReverse {
            memory: self.memory(),
            reserved: self.reserved(),
            filter: Filter { nid, hotplug },
            at: PhysAddr::new(u64::MAX),
        }
    }

    /// The whole frames of each region of RAM, no-map ones included; of one node, or
    /// of all (Linux: for_each_mem_pfn_range).
    pub fn mem_pfn_ranges(
        &self,
        nid: Option<NodeId>,
    ) -> impl DoubleEndedIterator<Item = (PfnRange, Option<NodeId>)> + '_ {
        let regions = self.memory().iter().filter(move |r| nid.is_none() || nid == r.nid);
        let frames = regions.map(|region| (region.range.whole_pages(), region.nid));
        frames.filter(|(frames, _)| !frames.is_empty())
    }
}
