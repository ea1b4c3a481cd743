//! The nodes that this machine has (Linux: node_possible_map, nr_node_ids).

use super::{MAX_NUMNODES, NodeId};
use crate::machine_local;
use core::sync::atomic::{AtomicU8, Ordering::Relaxed};

machine_local! {
    /// One more than the highest number of a node that has memory or CPUs.
    static NR_NODE_IDS: AtomicU8 = AtomicU8::new(1);
}

/// One more than the highest number of a node that has memory or CPUs; at least 1 (Linux:
/// nr_node_ids).
#[inline]
#[must_use]
pub fn nr_node_ids() -> usize {
    usize::from(NR_NODE_IDS.load(Relaxed))
}

/// Counts `node` among the nodes that this machine has; returns whether it was beyond the last
/// (Linux: node_set of node_possible_map).
pub(in crate::mm) fn node_set_possible(node: NodeId) -> bool {
    const { assert!(MAX_NUMNODES <= u8::MAX as usize) }
    let ids = node.index() as u8 + 1;
    NR_NODE_IDS.load(Relaxed) < ids && NR_NODE_IDS.fetch_max(ids, Relaxed) < ids
}
