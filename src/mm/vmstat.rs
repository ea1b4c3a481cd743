//! Counters of what memory is used for (Linux: include/linux/vmstat.h). `stat` prints
//! them.
#![deny(unsafe_code)]

use crate::machine_local;
use crate::mm::mmzone::{MAX_NUMNODES, NodeId};
use crate::mm::page::Frame;
use core::sync::atomic::{AtomicIsize, Ordering::Relaxed};

/// Counters of each node (Linux: enum node_stat_item).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NodeStat {
    /// Stacks of threads, in KiB.
    KernelStackKb,
    /// Pages that hold page tables, those of the boot left out.
    PageTable,
}

/// Number of counters.
const ITEMS: usize = 2;

machine_local! {
    static NODE_STAT: [[AtomicIsize; ITEMS]; MAX_NUMNODES] =
        [const { [const { AtomicIsize::new(0) }; ITEMS] }; MAX_NUMNODES];
}

/// Adds to a figure of the node that `frame` lies on. Any context.
pub(in crate::mm) fn mod_node_page_state(frame: Frame, item: NodeStat, by: isize) {
    let node = frame.zone().node();
    NODE_STAT[node.index()][item as usize].fetch_add(by, Relaxed);
}

/// A figure of one node, or of all.
#[must_use]
pub fn node_page_state(node: Option<NodeId>, item: NodeStat) -> usize {
    let of = |id: NodeId| NODE_STAT[id.index()][item as usize].load(Relaxed);
    let chosen = NodeId::all().filter(|&id| node.is_none_or(|node| node == id));
    // One CPU counts what another has counted; between the two a node's may be negative.
    chosen.map(of).sum::<isize>().try_into().unwrap_or(0)
}
