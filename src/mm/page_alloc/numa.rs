//! Nodes of CPUs, and distances between nodes (Linux: numa_node_id,
//! drivers/base/arch_numa.c).
#![deny(unsafe_code)]

use super::pcp;
use crate::arch::CpuId;
use crate::arch::cpumask::{AtomicCpuMask, CpuMask};
use crate::arch::irq::with_masked;
use crate::machine_local;
use crate::mm::ids::node_set_possible;
use crate::mm::mmzone::{self, MAX_NUMNODES, NodeId};
use crate::per_cpu;
use crate::percpu::possible_cpus;
use core::sync::atomic::{AtomicU8, AtomicU32, Ordering::Relaxed};

machine_local! {
    /// Distances that were set; 0 for unset.
    static DISTANCE: [[AtomicU32; MAX_NUMNODES]; MAX_NUMNODES] =
        [const { [const { AtomicU32::new(0) }; MAX_NUMNODES] }; MAX_NUMNODES];
    /// The CPUs that allocate. A hosted machine's are there from the start.
    static ONLINE: AtomicCpuMask = AtomicCpuMask::new(if cfg!(target_os = "none") {
        CpuMask::of(CpuId::BOOT)
    } else {
        CpuMask::ALL
    });
}

per_cpu! {
    /// Node that the CPU is near.
    static CPU_NODE: AtomicU8 = AtomicU8::new(0);
}

/// Counts `cpu` among those that allocate: its node's memory is shared out anew among the
/// lists of the CPUs near it (Linux: page_alloc_cpu_online). Any thread.
pub fn cpu_online(cpu: CpuId) {
    ONLINE.set(cpu, Relaxed);
    with_masked(|_| super::setup_watermarks());
}

/// Takes back [`cpu_online`] for a CPU that did not come, or came and allocated nothing (Linux:
/// page_alloc_cpu_dead).
pub fn cpu_dead(cpu: CpuId) {
    ONLINE.clear(cpu, Relaxed);
    with_masked(|_| super::setup_watermarks());
}

/// The CPUs that allocate, rising.
pub fn cpus_online() -> impl DoubleEndedIterator<Item = CpuId> {
    ONLINE.load(Relaxed).iter()
}

/// Number of online CPUs of `node`; all online CPUs if it has none, since any of them may fall
/// back to it.
pub(super) fn cpus_near(node: NodeId) -> u32 {
    match cpus_online().filter(|&id| cpu_to_node(id) == node).count() {
        0 => cpus_online().count() as u32,
        near => near as u32,
    }
}

/// The node that `cpu` is near: its allocations come from there first.
#[must_use]
pub fn cpu_to_node(cpu: CpuId) -> NodeId {
    CPU_NODE.try_of(cpu).map_or(NodeId::FIRST, node_of)
}

/// The node that this CPU is near. Any context; it may be another CPU afterwards.
#[must_use]
pub fn numa_node_id() -> NodeId {
    with_masked(|irq| node_of(CPU_NODE.get(irq)))
}

fn node_of(number: &AtomicU8) -> NodeId {
    NodeId::new(number.load(Relaxed).into()).unwrap_or(NodeId::FIRST)
}

/// Says which node `cpu` is near. An allocation on `cpu` that is under way may still be of memory
/// near the node from before, and one that asks for a node that nobody named before may find nothing
/// until this returns. Any thread.
pub fn set_cpu_numa_node(cpu: CpuId, node: NodeId) {
    if node_set_possible(node) {
        // It has no memory: the zonelists of the others stay as they are.
        with_masked(|_| mmzone::build_zonelists(node_distance));
    }
    // One that has no per-CPU data will not come up, and has no lists.
    if let Some(number) = CPU_NODE.try_of(cpu) {
        number.store(node.index() as u8, Relaxed);
        with_masked(|_| pcp::setup(cpu, node));
    }
}

/// Distance from node `from` to node `to`; 10 is a node's distance from itself (Linux:
/// node_distance).
#[must_use]
pub fn node_distance(from: NodeId, to: NodeId) -> u32 {
    match DISTANCE[from.index()][to.index()].load(Relaxed) {
        0 if from == to => 10,
        0 => 20,
        distance => distance,
    }
}

/// Says how far nodes are from each other: allocations that find nothing near go to the
/// nearest first. An allocation on another CPU that is under way may find fewer zones than there
/// are. Any thread.
pub fn set_node_distances(distance: impl Fn(NodeId, NodeId) -> u32) {
    for from in NodeId::numbers() {
        for to in NodeId::numbers() {
            DISTANCE[from.index()][to.index()].store(distance(from, to), Relaxed);
        }
    }
    with_masked(|_| {
        mmzone::build_zonelists(distance);
        for cpu in possible_cpus() {
            pcp::setup(cpu, cpu_to_node(cpu));
        }
    });
}
