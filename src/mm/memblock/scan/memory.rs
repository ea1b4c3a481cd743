//! RAM: what the memory nodes say, less what is cut away again.

use super::presize::Counts;
use super::{MemLimit, Scan, ScanError};
use crate::addr::{PAGE_SIZE, Pfn, PhysAddr, PhysRange};
use crate::firmware::fdt::MemoryEntry;
use crate::mm::memblock::{Region, RegionFlags};
use crate::mm::mmzone::NodeId;
use arrayvec::ArrayVec;

/// The addresses that frame numbers reach.
const REACHABLE: PhysRange = PhysRange::new(PhysAddr::new(0), Pfn::LIMIT.phys());

/// The whole pages of an entry that can be used, if its node counts.
pub(super) fn usable(entry: &MemoryEntry<'_>) -> PhysRange {
    if !entry.node.node.is_available() {
        return PhysRange::new(entry.reg.base, entry.reg.base);
    }
    entry.reg.range().intersect(REACHABLE).whole_pages().phys()
}

impl Scan<'_, '_, '_> {
    /// Adds what the memory nodes say.
    pub(super) fn add_memory(&mut self, counts: Counts) -> Result<(), ScanError> {
        let tree = self.handover.tree;
        for node in tree.memory_nodes().filter(|node| node.node.is_available()) {
            let name = node.node.name();
            if node.entries().is_ragged() {
                self.warn(format_args!("{name}: the end of its {} is cut off", node.property));
            }
            let nid = node.numa_node().and_then(|number| {
                let nid = NodeId::new(number as usize);
                if nid.is_none() {
                    self.warn(format_args!(
                        "{name}: NUMA node {number} is beyond what is supported"
                    ));
                }
                nid
            });
            let flags = match node.is_hotpluggable() {
                true => RegionFlags::HOTPLUG,
                false => RegionFlags::empty(),
            };
            for reg in node.entries().filter(|reg| reg.size > 0) {
                let range = usable(&MemoryEntry { node, reg });
                if !REACHABLE.contains_range(reg.range()) {
                    let what = if range.is_empty() { "ignored" } else { "cut" };
                    let (base, size) = (reg.base, reg.size);
                    self.warn(format_args!(
                        "{name}: {base}+{size:#x} {what}: it goes beyond 16 TiB"
                    ));
                } else if range.is_empty() {
                    self.warn(format_args!("{name}: {:?} ignored: no whole page", reg.range()));
                }
                self.add_entry(Region::new(range, nid, flags), counts)?;
            }
        }
        self.warn_of_left_out();
        if self.memblock.memory().is_empty() { Err(ScanError::NoRam) } else { Ok(()) }
    }

    /// Cuts RAM to what the CPU reaches, to `linux,usable-memory-range` and to `mem=`. What the kernel itself
    /// lives on comes back, where it was RAM.
    pub(super) fn limit_memory(&mut self) -> Result<(), ScanError> {
        let image = self.handover.image;
        if !self.memblock.is_region_memory(image) {
            self.warn(format_args!("the kernel image at {image:?} is not in RAM"));
        }
        let own = self.own().filter_map(outer_pages);
        let own = own.filter(|own| own.end() <= self.handover.reach);
        let own: ArrayVec<PhysRange, 5> =
            own.filter(|own| self.memblock.is_region_memory(*own)).take(5).collect();
        let reach = PhysRange::new(PhysAddr::new(0), self.handover.reach);
        if self.memblock.end_of_dram() > reach.end() {
            self.warn(format_args!("RAM above {} is out of this CPU's reach", reach.end()));
            self.memblock.cap_memory_range(reach)?;
        }
        self.cap_to_usable_range()?;
        match self.handover.command_line.mem() {
            Ok(None) => {}
            Ok(Some(limit)) => {
                let limit = limit & !(PAGE_SIZE as u64 - 1);
                let before = self.memblock.phys_mem_size();
                self.memblock.mem_limit_remove_map(limit)?;
                if limit < before {
                    let limit = MemLimit { bytes: limit, of: before };
                    self.info(format_args!("{limit}"));
                    self.mem_limit = Some(limit);
                }
            }
            Err(error) => self.warn(format_args!("{error}")),
        }
        for own in own {
            self.memblock.add(own)?;
        }
        if self.memblock.memory().is_empty() { Err(ScanError::NoRam) } else { Ok(()) }
    }

    /// Removes what lies in no range of `linux,usable-memory-range`.
    fn cap_to_usable_range(&mut self) -> Result<(), ScanError> {
        let Some(usable) = self.chosen.and_then(|c| c.usable_memory_range()) else {
            return Ok(());
        };
        let usable = usable.map(|reg| reg.range()).filter(|range| !range.is_empty());
        if usable.clone().next().is_none() {
            self.warn(format_args!("an empty linux,usable-memory-range is ignored"));
            return Ok(());
        }
        // RAM stays whole pages.
        let usable = usable.map(|range| range.whole_pages().phys());
        let mut at = PhysAddr::new(0);
        loop {
            let inside = usable.clone().filter(|range| range.contains(at));
            if let Some(end) = inside.map(|range| range.end()).max() {
                at = end;
                continue;
            }
            let next = usable.clone().map(|range| range.start()).filter(|start| *start > at).min();
            let end = next.unwrap_or(PhysAddr::new(u64::MAX));
            self.memblock.remove(PhysRange::new(at, end))?;
            at = end;
            if next.is_none() {
                return Ok(());
            }
        }
    }
}

/// The pages that hold some byte of `range`.
pub(super) fn outer_pages(range: PhysRange) -> Option<PhysRange> {
    let page = PAGE_SIZE as u64;
    let end = range.end().align_up(page)?;
    (!range.is_empty()).then_some(PhysRange::new(range.start().align_down(page), end))
}
