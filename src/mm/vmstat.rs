//! Counters of what memory is used for (Linux: include/linux/vmstat.h). `stat` prints
//! them.
#![deny(unsafe_code)]

use crate::mm::mmzone::{NodeData, NodeId};
use crate::mm::page::Frame;

pub use crate::mm::mmzone::NodeStat;

/// Adds to a figure of the node that `frame` lies on. Any context.
pub(in crate::mm) fn mod_node_page_state(frame: Frame, item: NodeStat, by: isize) {
    if let Some(node) = NodeData::of(frame.zone().node()) {
        node.stats.add(item, by);
    }
}

/// Returns a figure of one node, or of all.
#[must_use]
pub fn node_page_state(node: Option<NodeId>, item: NodeStat) -> usize {
    let sum: isize = match node {
        Some(node) => NodeData::of(node).map_or(0, |node| node.stats.get(item)),
        None => NodeData::all().map(|node| node.stats.get(item)).sum(),
    };
    // One CPU counts what another has counted; between the two a node's may be negative.
    sum.try_into().unwrap_or(0)
}
