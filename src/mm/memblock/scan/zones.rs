//! Ends of the zones (Linux: arch/arm64/mm/init.c, zone_sizes_init).

use crate::addr::{Order, Pfn, PfnRange, PhysAddr, PhysRange};
use crate::mm::memblock::Memblock;
use crate::mm::mmzone::{MAX_NUMNODES, NodeId, ZoneId, ZoneLimits, zone_spans, zones_of};

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
    /// First frame of each node's ZONE_MOVABLE, whatever zone it would be in otherwise;
    /// [`Pfn::LIMIT`] without one (Linux: zone_movable_pfn).
    pub movable: [Pfn; MAX_NUMNODES],
}

impl MaxZonePfns {
    /// The limits for this RAM and the highest address that all devices reach
    /// ([`dma_limit`](crate::firmware::fdt::Tree::dma_limit)), without ZONE_MOVABLE.
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
        Self { start, dma, dma32, normal, movable: [Pfn::LIMIT; MAX_NUMNODES] }
    }

    /// The limits as the page allocator wants them, which cuts zones at its largest
    /// blocks. Where a zone ends with RAM, the last block is not cut.
    #[must_use]
    pub fn limits(&self) -> ZoneLimits {
        let end =
            |limit: Pfn| if limit == self.normal { limit.align_up(Order::MAX) } else { limit };
        let (dma, dma32) = (end(self.dma), end(self.dma32));
        ZoneLimits { dma, dma32, movable: self.movable }.rounded()
    }

    /// The first frame of the highest zone that RAM reaches: the one that ZONE_MOVABLE
    /// is taken from (Linux: find_usable_zone_for_movable).
    pub(super) fn highest_zone(&self) -> Pfn {
        let limits = self.limits();
        if limits.dma32 < self.normal {
            limits.dma32
        } else if limits.dma < self.normal {
            limits.dma
        } else {
            self.start
        }
    }

    /// Returns the spans of the zones of all nodes, by [`ZoneId::index`].
    #[must_use]
    pub fn spans(&self, memblock: &Memblock) -> [PfnRange; ZoneId::COUNT] {
        zone_spans(self.limits(), present(memblock))
    }

    /// Returns whether all of `range`, which is RAM, lies in one zone.
    pub(super) fn in_one_zone(&self, memblock: &Memblock, range: PhysRange) -> bool {
        let mut parts = zones_of(self.limits(), present(memblock), range.whole_pages());
        let first = parts.next().map(|(id, _)| id);
        parts.all(|(id, _)| Some(id) == first)
    }
}

/// All RAM with the node it belongs to, as the page allocator wants it.
pub fn present(memblock: &Memblock) -> impl Iterator<Item = (NodeId, PfnRange)> + Clone + '_ {
    memblock.memory().iter().map(|region| {
        // What the firmware gives no node is the first one's.
        (region.nid.unwrap_or(NodeId::FIRST), region.range.whole_pages())
    })
}
