//! CMA areas: what becomes of `shared-dma-pool` regions that are reusable, and `cma=`
//! (Linux: kernel/dma/contiguous.c).

use super::{BootInfo, Scan, Size};
use crate::addr::{Order, PhysAddr, PhysRange, align_up};
use crate::firmware::cmdline::CmaPlace;
use crate::firmware::fdt::{ReservedRegion, Text};

/// Bytes to whose multiples a CMA area starts and ends: a pageblock, because it is
/// pageblocks that have a migratetype (Linux: CMA_MIN_ALIGNMENT_BYTES).
pub const CMA_MIN_ALIGNMENT: u64 = Order::PAGEBLOCK.bytes() as u64;

/// The most areas.
pub const MAX_CMA_AREAS: usize = 8;

/// Regions of a tree that are looked at whether they can be areas.
pub(super) const MAX_CANDIDATES: usize = 4 * MAX_CMA_AREAS;

/// An area for the contiguous memory allocator; reserved in memblock.
#[derive(Clone, Copy, Debug)]
pub struct CmaArea<'a> {
    /// Name of the area: the node's, or `linux,cma` for that of `cma=`.
    pub name: Text<'a>,
    /// Range of the area: whole pageblocks, inside one zone.
    pub range: PhysRange,
    /// True if it serves devices that name none.
    pub is_default: bool,
}

impl<'a> Scan<'_, '_, 'a> {
    /// Takes up the static regions that are CMA areas.
    pub(super) fn static_cma(&mut self, info: &mut BootInfo<'a>) {
        let Some(reserved) = self.reserved_memory else { return };
        let regions = reserved.regions().filter(ReservedRegion::is_available);
        for region in regions.filter(ReservedRegion::is_cma) {
            if self.is_overridden(&region) {
                self.info(format_args!("{}: replaced by cma=", region.name()));
                continue;
            }
            for reg in region.regs().into_iter().flatten().filter(|reg| reg.size > 0) {
                self.add_cma(info, region.name(), reg.range(), region.is_cma_default());
            }
        }
    }

    /// Notes an area that is reserved already, if it can be one.
    pub(super) fn add_cma(
        &mut self,
        info: &mut BootInfo<'a>,
        name: Text<'a>,
        range: PhysRange,
        is_default: bool,
    ) {
        let (start, end) = (range.start(), range.end());
        self.cma_candidates += 1;
        let aligned = start.is_aligned(CMA_MIN_ALIGNMENT) && end.is_aligned(CMA_MIN_ALIGNMENT);
        let mapped = |r: &crate::mm::memblock::Region| !r.is_nomap();
        let defect = if self.cma_candidates > MAX_CANDIDATES || info.cma.is_full() {
            Some("there are too many")
        } else if !aligned {
            Some("it is not made of whole pageblocks of 2 MiB")
        } else if !self.memblock.is_region_memory(range) {
            Some("it is not in RAM")
        } else if !self.memblock.memory.overlapping(range).all(mapped) {
            Some("part of it is not mapped")
        } else if self.obstacles().filter(|other| other.overlaps(range)).nth(1).is_some() {
            // The first is the region itself, or what makes a dynamic one impossible.
            Some("it overlaps another reservation")
        } else if info.cma.iter().any(|area| area.range.overlaps(range)) {
            Some("it overlaps another CMA area")
        } else if !info.zones.in_one_zone(self.memblock, range) {
            Some("it spans zones")
        } else {
            None
        };
        if let Some(defect) = defect {
            self.warn(format_args!("{name}: reserved, but no CMA area: {defect}"));
            return;
        }
        let is_default = is_default && !info.cma.iter().any(|area| area.is_default);
        let _ = info.cma.try_push(CmaArea { name, range, is_default });
        self.info(format_args!("cma: {} at {start}, {name}", Size(range.len())));
    }

    /// Places the area of `cma=`: below the limit of ZONE_DMA, as devices without
    /// knowledge of their own limits will use it (Linux: dma_contiguous_reserve).
    pub(super) fn command_line_cma(&mut self, info: &mut BootInfo<'a>) {
        let param = match self.handover.command_line.cma() {
            Ok(Some(param)) if param.size > 0 => param,
            Ok(_) => return,
            Err(error) => return self.warn(format_args!("{error}")),
        };
        let Some(size) = align_up(param.size, CMA_MIN_ALIGNMENT) else {
            return self.warn(format_args!("cma=: more than there are addresses"));
        };
        let dma = PhysRange::new(PhysAddr::new(0), info.zones.dma.phys());
        let placed = match param.at {
            Some(CmaPlace::Fixed(base)) => {
                let fixed = PhysRange::from_size(base, size);
                let free = fixed.len() == size && !self.memblock.is_region_reserved(fixed);
                match free && base.is_aligned(CMA_MIN_ALIGNMENT) && self.is_mapped(fixed) {
                    true => self.memblock.reserve(fixed).ok().map(|()| fixed),
                    false => None,
                }
            }
            Some(CmaPlace::Within(range)) => {
                self.place_in_a_zone(size, CMA_MIN_ALIGNMENT, range.intersect(dma), info).ok()
            }
            None => self.place_in_a_zone(size, CMA_MIN_ALIGNMENT, dma, info).ok(),
        };
        match placed {
            Some(range) => self.add_cma(info, Text::new(b"linux,cma"), range, true),
            None => self.warn(format_args!("cma=: no {} free where it was asked for", Size(size))),
        }
    }

    /// Returns whether all of the range is RAM in the linear map.
    fn is_mapped(&self, range: PhysRange) -> bool {
        self.memblock.is_region_memory(range)
            && self.memblock.memory.overlapping(range).all(|region| !region.is_nomap())
    }
}
