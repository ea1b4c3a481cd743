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
    /// Returns the zonelist of `node`.
    #[must_use]
    pub fn of(node: NodeId) -> &'static Self {
        // That of a node that this machine does not have is the first one's.
        let index = if node.index() < super::nr_node_ids() { node.index() } else { 0 };
        &ZONELISTS[index]
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
        let key = |other: NodeId| (other != node, distance(node, other), other);
        // A sort of the core library would be larger than the rest of the module.
        let mut last = None;
        let order = core::iter::from_fn(|| {
            let keys = NodeId::all().map(key).filter(|&key| last.is_none_or(|last| key > last));
            last = Some(keys.min()?);
            last.map(|(_, _, node)| node)
        });
        let zones =
            order.flat_map(|n| ZoneType::ALL.iter().rev().map(move |&kind| ZoneId::new(n, kind)));
        let mut entries = ZONELISTS[node.index()].own.iter();
        for id in zones.filter(|id| id.zone().present() != 0) {
            if let Some(entry) = entries.next() {
                entry.store(id.bits(), Relaxed);
            }
        }
        entries.for_each(|entry| entry.store(NONE, Relaxed));
    }
}
