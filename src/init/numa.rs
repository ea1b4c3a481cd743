//! Nodes of CPUs and distances between nodes, from the device tree (Linux: drivers/of/of_numa.c,
//! drivers/base/arch_numa.c).

use crate::arch::CpuId;
use crate::arch::smp;
use crate::firmware::fdt::{Cpu, Tree};
use crate::mm::mmzone::{MAX_NUMNODES, NodeId};
use crate::mm::page_alloc;
use arrayvec::ArrayString;
use core::fmt::Write;
use log::{info, warn};

/// A node's distance from itself, and from another where nothing is said.
const LOCAL_DISTANCE: u32 = 10;
const REMOTE_DISTANCE: u32 = 20;

/// Takes the distances of nodes from the tree, and the boot CPU's node.
pub(super) fn init(tree: &Tree<'_>) {
    if let Some(core) = tree.cpus().and_then(|cpus| {
        let own = smp::mpidr();
        cpus.iter().find(|core| core.mpidr() == Some(own))
    }) {
        set_cpu(CpuId::BOOT, &core);
    }
    let Some(triples) = tree.numa_distances() else { return };
    let mut table = [[None; MAX_NUMNODES]; MAX_NUMNODES];
    for (from, to, distance) in triples {
        let node = |n: u32| NodeId::new(n as usize).map(NodeId::index);
        let sane = if from == to { distance == LOCAL_DISTANCE } else { distance > LOCAL_DISTANCE };
        match (node(from), node(to)) {
            (Some(from), Some(to)) if sane => table[from][to] = Some(distance),
            _ => warn!("NUMA: distance {distance} from node {from} to {to} ignored"),
        }
    }
    let distance = |from: NodeId, to: NodeId| {
        let (from, to) = (from.index(), to.index());
        let default = if from == to { LOCAL_DISTANCE } else { REMOTE_DISTANCE };
        // What is said one way holds both ways.
        table[from][to].or(table[to][from]).unwrap_or(default)
    };
    page_alloc::set_node_distances(distance);
    for from in NodeId::all() {
        let mut line = ArrayString::<{ MAX_NUMNODES * " 4294967295".len() }>::new();
        for to in NodeId::all() {
            // There is room for the largest number, as often as there are nodes.
            let _ = write!(line, " {}", distance(from, to));
        }
        info!("NUMA: distances from node {}:{line}", from.index());
    }
}

/// Notes the node of the CPU that `core` describes, where the tree tells it.
pub(super) fn set_cpu(cpu: CpuId, core: &Cpu<'_>) {
    let Some(node) = core.numa_node() else { return };
    match NodeId::new(node as usize) {
        Some(node) => page_alloc::set_cpu_numa_node(cpu, node),
        None => warn!("CPU {}: node {node} is beyond the last of {MAX_NUMNODES}", cpu.index()),
    }
}
