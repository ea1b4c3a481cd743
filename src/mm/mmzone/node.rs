//! Where the zones of each node are (Linux: pg_data_t, node_data).
//!
//! A node's zones lie in a [`NodeData`]. The first node's is part of the image; one of another
//! node is allocated at boot if the node has memory, so that a machine with one node
//! does not pay for sixteen. All zones of nodes without memory are one and the same, which
//! stays empty.

use super::{MAX_NR_ZONES, NodeId, Zone, ZoneId, ZoneType};
use crate::machine_local;
use crate::mm::ids::node_set_possible;
use crate::sync::StaticRef;

/// The zones of a node (Linux: pg_data_t).
pub(in crate::mm) struct NodeData {
    node_zones: [Zone; MAX_NR_ZONES],
}

impl NodeData {
    /// Empty zones of `node`.
    pub(in crate::mm) const fn new(node: NodeId) -> Self {
        let [dma, dma32, normal, movable] = ZoneType::ALL;
        Self {
            node_zones: [
                Zone::new(ZoneId::new(node, dma)),
                Zone::new(ZoneId::new(node, dma32)),
                Zone::new(ZoneId::new(node, normal)),
                Zone::new(ZoneId::new(node, movable)),
            ],
        }
    }
}

machine_local! {
    /// The first node's zones.
    static FIRST_NODE: NodeData = NodeData::new(NodeId::FIRST);
    /// Zone of the nodes that have no memory. It is of no node, in truth.
    static NO_ZONE: Zone = Zone::new(ZoneId::new(NodeId::FIRST, ZoneType::Movable));
    static ZONES: [StaticRef<Zone>; ZoneId::COUNT] = table(FIRST_NODE.value(), NO_ZONE.value());
}

const fn table(first: &'static NodeData, none: &'static Zone) -> [StaticRef<Zone>; ZoneId::COUNT] {
    let mut zones = StaticRef::array(none);
    let mut n = 0;
    while n < MAX_NR_ZONES {
        zones[n] = StaticRef::new(&first.node_zones[n]);
        n += 1;
    }
    zones
}

#[inline(always)]
pub(super) fn zone(id: ZoneId) -> &'static Zone {
    ZONES[id.index()].get()
}

/// Returns true if the zones of `node` are there.
pub(in crate::mm) fn has_node_data(node: NodeId) -> bool {
    let zone = |node| zone(ZoneId::new(node, ZoneType::Normal));
    node == NodeId::FIRST || zone(node).id().node() == node
}

/// Gives `node` its zones. Before it has memory.
///
/// # Panics
/// Where the zones are another node's, or the node has some.
///
/// # Safety
/// At boot: other CPUs are started later.
pub(in crate::mm) unsafe fn set_node_data(node: NodeId, data: &'static NodeData) {
    let is_own = data.node_zones.iter().all(|zone| zone.id().node() == node);
    assert!(is_own && !has_node_data(node), "zones of {node:?}");
    for (kind, zone) in ZoneType::ALL.into_iter().zip(&data.node_zones) {
        // SAFETY: other CPUs are started later, as the caller says.
        unsafe { ZONES[ZoneId::new(node, kind).index()].set(zone) };
    }
    node_set_possible(node);
}
