//! Where the zones end (Linux: arch/arm64/mm/init.c, zone_sizes_init).

use crate::addr::{Pfn, PfnRange, PhysAddr};
use crate::mm::memblock::Memblock;

/// The first address that 32 bits do not reach.
const FOUR_GIB: PhysAddr = PhysAddr::new(1 << 32);

/// The ends of the zones as frame numbers. Each zone starts where the one before it
/// ends, the first with the first frame of RAM.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MaxZonePfns {
    /// The first frame of RAM.
    pub start: Pfn,
    /// The end of ZONE_DMA: what every device can reach.
    pub dma: Pfn,
    /// The end of ZONE_DMA32: what 32 bits reach.
    pub dma32: Pfn,
    /// The end of ZONE_NORMAL: the end of RAM.
    pub normal: Pfn,
}

impl MaxZonePfns {
    /// The limits for this RAM and the highest address that all devices reach
    /// ([`dma_limit`](crate::firmware::fdt::Tree::dma_limit)).
    ///
    /// ZONE_DMA ends behind that address; where RAM starts below 4 GiB, at 4 GiB at
    /// the latest.
    #[must_use]
    pub fn new(memblock: &Memblock, dma_limit: Option<PhysAddr>) -> Self {
        let pfn = |at: PhysAddr| at.pfn().unwrap_or(Pfn::LIMIT);
        let start = memblock.start_of_dram();
        // A limit is of the zone's last byte, and the zone is of whole pages.
        let mut dma = dma_limit.map_or(PhysAddr::new(u64::MAX), |last| last.saturating_add(1));
        if start < FOUR_GIB {
            dma = dma.min(FOUR_GIB);
        }
        let (start, normal) = (pfn(start), pfn(memblock.end_of_dram()));
        let dma = pfn(dma).clamp(start, normal);
        let dma32 = pfn(FOUR_GIB).clamp(dma, normal);
        Self { start, dma, dma32, normal }
    }

    /// The frames of ZONE_DMA, holes included.
    #[must_use]
    pub fn zone_dma(&self) -> PfnRange {
        PfnRange::new(self.start, self.dma)
    }

    /// The frames of ZONE_DMA32, holes included.
    #[must_use]
    pub fn zone_dma32(&self) -> PfnRange {
        PfnRange::new(self.dma, self.dma32)
    }

    /// The frames of ZONE_NORMAL, holes included.
    #[must_use]
    pub fn zone_normal(&self) -> PfnRange {
        PfnRange::new(self.dma32, self.normal)
    }

    /// The ends as addresses, rising.
    pub(super) fn ends(&self) -> [PhysAddr; 3] {
        [self.dma.phys(), self.dma32.phys(), self.normal.phys()]
    }
}
