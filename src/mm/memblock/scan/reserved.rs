//! Reservations: what is in use already, and what is promised to others.

use super::memory::outer_pages;
use super::{BootInfo, Scan, ScanError, Size};
use crate::addr::{PAGE_SIZE, PhysRange, align_up};
use crate::firmware::fdt::{ReservedRegion, Text};
use crate::mm::memblock::MemblockError;
use crate::mm::memblock::find::ANYWHERE;
use crate::mm::memblock::scan::cma::CMA_MIN_ALIGNMENT;
use crate::mm::mmzone::{MAX_NUMNODES, NodeId, ZoneId, ZoneType};
use arrayvec::ArrayVec;

/// The most regions that are remembered by name (Linux: MAX_RESERVED_REGIONS).
pub const MAX_RESERVED_REGIONS: usize = 64;

/// The most `alloc-ranges` of a region that are tried.
const MAX_ALLOC_RANGES: usize = 32;

/// Purpose of a region that is reserved for devices.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReservedKind {
    /// Purpose that only the region's driver knows.
    Other,
    /// Contiguous memory, lent to movable pages in between: one of [`BootInfo::cma`].
    Cma,
    /// DMA memory that is the device's alone, `shared-dma-pool` and not `reusable` (Linux:
    /// rmem_dma_setup).
    Coherent,
    /// A `shared-dma-pool` that is none, for a reason that was told.
    Refused,
}

/// A region of `/reserved-memory` that is reserved (Linux: struct reserved_mem).
#[derive(Clone, Copy, Debug)]
pub struct ReservedMem<'a> {
    /// Name of the node in the tree.
    pub name: Text<'a>,
    /// The number by which devices refer to it.
    pub phandle: Option<u32>,
    /// Range of the region.
    pub range: PhysRange,
    /// True if it is to be kept out of the linear map.
    pub no_map: bool,
    /// True if it was the kernel that found a place for it.
    pub is_dynamic: bool,
    /// Purpose of the region.
    pub kind: ReservedKind,
    /// True if the region serves devices that name no region (`linux,dma-default`), as a
    /// [`ReservedKind::Coherent`].
    pub is_dma_default: bool,
}

impl<'a> Scan<'_, '_, 'a> {
    /// The initrd as far as the tree alone tells: not empty, end above start.
    pub(super) fn plausible_initrd(&mut self) -> Option<PhysRange> {
        let chosen = self.chosen?;
        let Some(initrd) = chosen.initrd() else {
            if chosen.node.has("linux,initrd-start") || chosen.node.has("linux,initrd-end") {
                self.warn(format_args!(
                    "initrd ignored: its start or end is missing or unreadable"
                ));
            }
            return None;
        };
        let (start, end) = (initrd.start, initrd.end);
        if end <= start {
            if end != start {
                self.warn(format_args!(
                    "initrd ignored: it ends at {end}, below its start {start}"
                ));
            }
            return None;
        }
        Some(PhysRange::new(start, end))
    }

    /// Forgets an initrd that is not wholly in RAM, or that lies over the image.
    pub(super) fn check_initrd(&mut self) {
        let Some(initrd) = self.initrd else { return };
        let defect = if !self.memblock.is_region_memory(initrd) {
            "is not in RAM"
        } else if initrd.overlaps(self.handover.image) {
            "overlaps the kernel image"
        } else {
            return;
        };
        self.warn(format_args!("initrd ignored: {initrd:?} {defect}"));
        self.initrd = None;
    }

    /// Returns true if nothing else lies in the initrd's memory. A boot loader may have it in the
    /// reservation map too; what comes later is put elsewhere.
    pub(super) fn initrd_is_alone(&self) -> bool {
        let Some(initrd) = self.initrd else { return true };
        let memmap = self.handover.command_line.memmap().flatten();
        let regions = self.reserved_memory.into_iter().flat_map(|reserved| {
            let regions = reserved.regions().filter(ReservedRegion::is_available);
            regions.flat_map(|region| region.regs().into_iter().flatten()).map(|reg| reg.range())
        });
        let mut others = [self.handover.dtb].into_iter().chain(self.memblock.arrays());
        !others.any(|other| other.overlaps(initrd))
            && !memmap.chain(regions).any(|other| other.overlaps(initrd))
    }

    /// Reserves all that has its place already.
    pub(super) fn reserve_static(&mut self) -> Result<(), ScanError> {
        for own in self.own() {
            self.memblock.reserve(own)?;
        }
        if let Some(initrd) = self.initrd {
            self.info(format_args!("initrd: {initrd:?}, {}", Size(initrd.len())));
        }
        for reg in self.handover.tree.reservations() {
            self.memblock.reserve(reg.range())?;
        }
        for range in self.handover.command_line.memmap() {
            match range {
                Ok(range) => self.memblock.reserve(range)?,
                Err(error) => self.warn(format_args!("{error}")),
            }
        }
        let Some(reserved) = self.reserved_memory else { return Ok(()) };
        if !reserved.is_supported() {
            // Linux leaves such a node out. What it protects is better left alone.
            self.warn(format_args!(
                "/reserved-memory: no ranges, or cells unlike the root's; taken by its own cells"
            ));
        }
        for region in reserved.regions().filter(ReservedRegion::is_available) {
            if self.is_overridden(&region) {
                continue;
            }
            let name = region.name();
            for reg in region.regs().into_iter().flatten().filter(|reg| reg.size > 0) {
                if reg.base.checked_add(reg.size).is_none() {
                    self.warn(format_args!("{name}: cut at the top of the address space"));
                }
                self.memblock.reserve(reg.range())?;
                if region.no_map() {
                    self.unmap(name, reg.range())?;
                }
            }
        }
        Ok(())
    }

    /// Returns whether the region is the tree's default CMA area while `cma=` names another.
    pub(super) fn is_overridden(&self, region: &ReservedRegion<'_>) -> bool {
        let by_parameter = matches!(self.handover.command_line.cma(), Ok(Some(_)));
        by_parameter && region.is_cma() && region.is_cma_default()
    }

    /// Keeps whole pages of a no-map region out of the linear map, unless the kernel
    /// itself lives on them. A page that is a no-map region's in part is so as a whole:
    /// the map knows nothing smaller.
    fn unmap(&mut self, name: Text<'_>, range: PhysRange) -> Result<(), ScanError> {
        let page = PAGE_SIZE as u64;
        let outer = outer_pages(range)
            .unwrap_or(PhysRange::new(range.start().align_down(page), range.end()));
        if let Some(own) = self.own().find(|own| own.overlaps(outer)) {
            self.warn(format_args!("{name}: stays mapped: it overlaps {own:?}, which is in use"));
            return Ok(());
        }
        self.memblock.mark_nomap(outer)?;
        Ok(())
    }

    /// Remembers the static regions for the devices that refer to them; after the areas
    /// among them were taken up.
    pub(super) fn static_regions(&mut self, info: &mut BootInfo<'a>) {
        let Some(reserved) = self.reserved_memory else { return };
        for region in reserved.regions().filter(ReservedRegion::is_available) {
            if self.is_overridden(&region) {
                continue;
            }
            for reg in region.regs().into_iter().flatten().filter(|reg| reg.size > 0) {
                self.remember(info, &region, reg.range());
            }
        }
    }

    /// Remembers a region that is reserved at `range`.
    fn remember(&mut self, info: &mut BootInfo<'a>, region: &ReservedRegion<'a>, range: PhysRange) {
        let (name, no_map) = (region.name(), region.no_map());
        let kind = if !region.is_shared_dma_pool() {
            ReservedKind::Other
        } else if !region.reusable() {
            ReservedKind::Coherent
        } else if no_map {
            self.warn(format_args!(
                "{name}: reserved, but no pool: it is both no-map and reusable"
            ));
            ReservedKind::Refused
        } else if info.cma.iter().any(|area| area.range == range) {
            ReservedKind::Cma
        } else {
            ReservedKind::Refused
        };
        let phandle = region.node.phandle();
        let is_dynamic = region.regs().is_none();
        let is_dma_default = region.is_dma_default() && kind == ReservedKind::Coherent;
        let entry = ReservedMem { name, phandle, range, no_map, is_dynamic, kind, is_dma_default };
        if info.reserved.try_push(entry).is_err() {
            self.warn(format_args!("{name}: reserved, but its name is forgotten"));
        }
    }

    /// Places the dynamic regions. One that cannot be placed fails alone.
    pub(super) fn allocate_dynamic(&mut self, info: &mut BootInfo<'a>) {
        let Some(reserved) = self.reserved_memory else { return };
        let regions = reserved.regions().filter(ReservedRegion::is_available);
        for region in regions.filter(|region| region.regs().is_none()) {
            let name = region.name();
            if self.is_overridden(&region) {
                self.info(format_args!("{name}: replaced by cma="));
                continue;
            }
            match self.place(&region, info) {
                Ok(range) => {
                    let kind = match (region.no_map(), region.reusable()) {
                        (true, _) => "no-map",
                        (_, true) => "reusable",
                        _ => "reserved",
                    };
                    self.info(format_args!("{name}: {range:?}, {}, {kind}", Size(range.len())));
                    if region.is_cma() {
                        self.add_cma(info, name, range, region.is_cma_default());
                    }
                    self.remember(info, &region, range);
                }
                Err(defect) => self.warn(format_args!("{name}: not reserved: {defect}")),
            }
        }
    }

    /// Finds room for a dynamic region and takes it.
    fn place(
        &mut self,
        region: &ReservedRegion<'_>,
        info: &BootInfo<'_>,
    ) -> Result<PhysRange, &'static str> {
        let page = PAGE_SIZE as u64;
        let least = if region.is_cma() { CMA_MIN_ALIGNMENT } else { page };
        let size = region.size().ok_or("neither reg nor a readable size")?;
        let align = match region.alignment() {
            None if region.node.has("alignment") => return Err("an unreadable alignment"),
            None | Some(0) => least,
            Some(align) if align.is_power_of_two() => align.max(least),
            Some(_) => return Err("an alignment that is no power of two"),
        };
        let size = align_up(size, least).filter(|size| *size > 0).ok_or("an impossible size")?;
        let regs = region.alloc_ranges();
        let anywhere = regs.is_none().then_some(ANYWHERE);
        let ranges = regs.into_iter().flatten().map(|reg| reg.range()).take(MAX_ALLOC_RANGES);
        for range in ranges.chain(anywhere) {
            let placed = if region.is_cma() {
                self.place_in_a_zone(size, align, range, info)
            } else {
                self.memblock.phys_alloc_range(size, align, range)
            };
            match placed {
                Ok(placed) => {
                    if region.no_map() && self.memblock.mark_nomap(placed).is_err() {
                        // As before: nothing has been split, so nothing can fail here.
                        let _ = self.memblock.free(placed);
                        return Err("no room to note that it is no-map");
                    }
                    return Ok(placed);
                }
                Err(MemblockError::NoMemory) => {}
                Err(_) => return Err("no room to note it"),
            }
        }
        Err("no free range of its size where it may lie")
    }

    /// Allocates inside one zone of one node, as a CMA area must not span zones: from
    /// the narrowest kind of zone, and there from the highest node.
    pub(super) fn place_in_a_zone(
        &mut self,
        size: u64,
        align: u64,
        within: PhysRange,
        info: &BootInfo<'_>,
    ) -> Result<PhysRange, MemblockError> {
        let spans = self.spans;
        for kind in ZoneType::ALL {
            let mut left: ArrayVec<PhysRange, MAX_NUMNODES> = NodeId::numbers()
                .map(|node| spans[ZoneId::new(node, kind).index()].phys())
                .collect();
            left.sort_unstable_by_key(|span| span.end());
            for span in left.iter().rev() {
                match self.memblock.phys_alloc_range(size, align, span.intersect(within)) {
                    Err(MemblockError::NoMemory) => {}
                    // Where nodes lie across one another, the span holds more than its zone.
                    Ok(place) if !info.zones.in_one_zone(self.memblock, place) => {
                        self.memblock.free(place)?;
                    }
                    other => return other,
                }
            }
        }
        Err(MemblockError::NoMemory)
    }
}
