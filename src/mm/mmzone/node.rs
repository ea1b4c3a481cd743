//! The state of each node (Linux: pg_data_t, node_data).
//!
//! A node's zones, counters and the requests to its threads lie in a [`NodeData`]. The first
//! node's is part of the image; one of another node is allocated at boot if the node has memory,
//! so that a machine with one node does not pay for sixteen. A node without memory has none; its
//! zones are all one and the same, which stays empty.

use super::{
    Kcompactd, Kswapd, MAX_NR_ZONES, MAX_NUMNODES, NodeId, NodeStats, Zone, ZoneId, ZoneType,
};
use crate::machine_local;
use crate::mm::ids::node_set_possible;
use crate::sync::{Once, StaticRef};

/// State of a node that has memory (Linux: pg_data_t).
pub(in crate::mm) struct NodeData {
    node_zones: [Zone; MAX_NR_ZONES],
    /// Counters (Linux: vm_stat).
    pub stats: NodeStats,
    /// Requests to the thread that reclaims.
    pub kswapd: Kswapd,
    /// Requests to the thread that compacts.
    pub kcompactd: Kcompactd,
}

impl NodeData {
    /// State of `node` before it has memory.
    pub(in crate::mm) const fn new(node: NodeId) -> Self {
        let [dma, dma32, normal, movable] = ZoneType::ALL;
        Self {
            node_zones: [
                Zone::new(ZoneId::new(node, dma)),
                Zone::new(ZoneId::new(node, dma32)),
                Zone::new(ZoneId::new(node, normal)),
                Zone::new(ZoneId::new(node, movable)),
            ],
            stats: NodeStats::new(),
            kswapd: Kswapd::new(),
            kcompactd: Kcompactd::new(),
        }
    }

    /// Returns the state of `node`, if it has memory (Linux: NODE_DATA).
    pub(in crate::mm) fn of(node: NodeId) -> Option<&'static Self> {
        if node == NodeId::FIRST {
            return Some(FIRST_NODE.value());
        }
        OTHER_NODES[node.index()].get().copied()
    }

    /// Returns the state of each node that has memory (Linux: for_each_online_pgdat).
    pub(in crate::mm) fn all() -> impl Iterator<Item = &'static Self> {
        NodeId::all().filter_map(Self::of)
    }
}

machine_local! {
    /// State of the first node.
    static FIRST_NODE: NodeData = NodeData::new(NodeId::FIRST);
    /// State of the other nodes that have memory.
    static OTHER_NODES: [Once<&'static NodeData>; MAX_NUMNODES] =
        [const { Once::new() }; MAX_NUMNODES];
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

/// Gives `node` its state, before it has memory.
///
/// # Panics
/// If `data` is another node's, or the node has some.
///
/// # Safety
/// At boot: other CPUs are started later.
pub(in crate::mm) unsafe fn set_node_data(node: NodeId, data: &'static NodeData) {
    let is_own = data.node_zones.iter().all(|zone| zone.id().node() == node);
    assert!(is_own && NodeData::of(node).is_none(), "zones of {node:?}");
    for (kind, zone) in ZoneType::ALL.into_iter().zip(&data.node_zones) {
        // SAFETY: other CPUs are started later, as the caller says.
        unsafe { ZONES[ZoneId::new(node, kind).index()].set(zone) };
    }
    OTHER_NODES[node.index()].call_once(|| data);
    node_set_possible(node);
}
