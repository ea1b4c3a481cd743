//! Limits of zones by kind and by node, and RAM cut at them.

use super::{MAX_NUMNODES, NodeId, ZoneId, ZoneType};
use crate::addr::{Order, Pfn, PfnRange};

/// Ends of the zones.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ZoneLimits {
    /// The first frame that the device with the narrowest limit can't reach.
    pub dma: Pfn,
    /// The first frame above 4 GiB, or `dma` where that is as high.
    pub dma32: Pfn,
    /// First frame of each node that is kept for movable allocations; [`Pfn::LIMIT`] for none
    /// (Linux: zone_movable_pfn).
    pub movable: [Pfn; MAX_NUMNODES],
}

impl Default for ZoneLimits {
    /// All that is below 4 GiB is DMA, as Linux has it on arm64 where no device has a
    /// narrower limit. Nothing is kept for movable allocations.
    fn default() -> Self {
        let four_gib = Pfn::new(1 << 20);
        Self { dma: four_gib, dma32: four_gib, movable: [Pfn::LIMIT; MAX_NUMNODES] }
    }
}

impl ZoneLimits {
    /// Rounds the limits to blocks of the largest order, to the safe side.
    #[must_use]
    pub fn rounded(self) -> Self {
        let dma = self.dma.align_down(Order::MAX);
        Self {
            dma,
            dma32: self.dma32.align_down(Order::MAX).max(dma),
            movable: self.movable.map(|start| start.align_up(Order::MAX)),
        }
    }

    /// The kind of zone of `node` that the block at `block` lies in, and up to where
    /// that holds.
    fn classify(&self, node: NodeId, block: Pfn) -> (ZoneType, Pfn) {
        let movable = self.movable[node.index()];
        if block >= movable {
            return (ZoneType::Movable, Pfn::LIMIT);
        }
        let (kind, end) = if block < self.dma {
            (ZoneType::Dma, self.dma)
        } else if block < self.dma32 {
            (ZoneType::Dma32, self.dma32)
        } else {
            (ZoneType::Normal, Pfn::LIMIT)
        };
        (kind, end.min(movable))
    }
}

/// The zone of the block at `block`, and up to where that holds. `present` is all RAM,
/// rising, with the node it belongs to.
pub(in crate::mm) fn zone_of(
    limits: &ZoneLimits,
    mut present: impl Iterator<Item = (NodeId, PfnRange)>,
    block: Pfn,
) -> (ZoneId, Pfn) {
    // A block in which two nodes meet belongs to the lower one.
    let (node, until) = match present.find(|(_, range)| range.end() > block) {
        Some((node, range)) => (node, range.end().align_up(Order::MAX)),
        None => (NodeId::FIRST, Pfn::LIMIT),
    };
    let (kind, end) = limits.classify(node, block);
    (ZoneId::new(node, kind), end.min(until))
}

/// Cuts a range of RAM into the parts of zones, rising. Neighbours may be of one zone.
pub(in crate::mm) fn zones_of(
    limits: ZoneLimits,
    present: impl Iterator<Item = (NodeId, PfnRange)> + Clone,
    range: PfnRange,
) -> impl Iterator<Item = (ZoneId, PfnRange)> {
    let mut at = range.start();
    core::iter::from_fn(move || {
        if at >= range.end() {
            return None;
        }
        let (zone, until) = zone_of(&limits, present.clone(), at.align_down(Order::MAX));
        let part = PfnRange::new(at, until.min(range.end()));
        at = part.end();
        Some((zone, part))
    })
}

/// Returns the span of each zone, from its first to its last frame of RAM, by [`ZoneId::index`];
/// empty where it has none. `present` is all RAM, rising, with the node it belongs to.
#[must_use]
pub fn zone_spans(
    limits: ZoneLimits,
    present: impl Iterator<Item = (NodeId, PfnRange)> + Clone,
) -> [PfnRange; ZoneId::COUNT] {
    let limits = limits.rounded();
    let mut spans = [PfnRange::new(Pfn::new(0), Pfn::new(0)); ZoneId::COUNT];
    for (_, range) in present.clone() {
        for (id, part) in zones_of(limits, present.clone(), range) {
            let span = &mut spans[id.index()];
            let start = if span.is_empty() { part.start() } else { span.start() };
            *span = PfnRange::new(start, part.end());
        }
    }
    spans
}
