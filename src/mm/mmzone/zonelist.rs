//! Zonelists: which zones an allocation may come from, best first
//! (Linux: struct zonelist, build_all_zonelists).

use super::{NodeId, ZoneId, ZoneType};
use crate::machine_local;
use core::sync::atomic::{AtomicU8, Ordering::Relaxed};

/// A zone's number, or none.
const NONE: u8 = u8::MAX;

/// The populated zones in the order in which a node's allocations try them: its own from
/// the widest to the narrowest, then those of the other nodes, nearest first.
pub struct Zonelist {
    own: [AtomicU8; ZoneId::COUNT],
}

machine_local! {
    static ZONELISTS: [Zonelist; super::MAX_NUMNODES] =
        [const { Zonelist { own: [const { AtomicU8::new(NONE) }; ZoneId::COUNT] } };
            super::MAX_NUMNODES];
}

impl Zonelist {
    /// The zonelist of `node`.
    #[must_use]
    pub fn of(node: NodeId) -> &'static Self {
        &ZONELISTS[node.index()]
    }

    /// The zones that are no wider than `highest`, best first.
    pub fn zones(&self, highest: ZoneType) -> impl Iterator<Item = ZoneId> {
        self.own
            .iter()
            .map(|entry| entry.load(Relaxed))
            .take_while(|&id| id != NONE)
            .map(ZoneId::from_bits)
            .filter(move |id| id.kind() <= highest)
    }
}

/// Fills in the zonelists with the zones that have RAM, which may all be reserved until later.
/// `distance` is that of a node from another; nearer nodes come first, and of nodes as near the
/// lower numbered.
pub(in crate::mm) fn build_zonelists(distance: impl Fn(NodeId, NodeId) -> u32) {
    for node in NodeId::all() {
        let mut order = [NodeId::FIRST; super::MAX_NUMNODES];
        for (slot, other) in order.iter_mut().zip(NodeId::all()) {
            *slot = other;
        }
        order.sort_unstable_by_key(|&other| (other != node, distance(node, other), other));
        let zones = order
            .iter()
            .flat_map(|&n| ZoneType::ALL.iter().rev().map(move |&kind| ZoneId::new(n, kind)));
        let mut entries = ZONELISTS[node.index()].own.iter();
        for id in zones.filter(|id| id.zone().present() != 0) {
            if let Some(entry) = entries.next() {
                entry.store(id.bits(), Relaxed);
            }
        }
        entries.for_each(|entry| entry.store(NONE, Relaxed));
    }
}
