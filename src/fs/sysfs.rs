//! /sys/devices/system: CPUs, and the nodes that numactl reads.

use super::tree::{File, Node};
use crate::arch::cpumask::{CpuMask, Hex};
use crate::arch::{CpuId, NR_CPUS};
use crate::mm::mmzone::{MAX_NUMNODES, NodeId};
use crate::mm::page_alloc::{cpu_to_node, cpus_online, node_distance};
use crate::mm::stat;
use crate::percpu::nr_cpu_ids;
use core::fmt;

pub(super) const DEVICES: &[Node] = &[Node::Dir(
    "system",
    &[
        Node::Dir("cpu", CPU),
        Node::Dir(
            "node",
            &[
                Node::File(File::new("has_memory", |_, out| {
                    let has_memory = |&n: &usize| stat::nodes().any(|node| node.index() == n);
                    writeln!(out, "{}", List((0..MAX_NUMNODES).filter(has_memory)))
                })),
                Node::Each { count: || MAX_NUMNODES, name: node_name, files: NODE },
                Node::File(File::new("online", |_, out| {
                    writeln!(out, "{}", List((0..MAX_NUMNODES).filter(|&n| node_name(n).is_some())))
                })),
            ],
        ),
    ],
)];

/// CPUs by number: those that run, those that the device tree has, and those that there is room for
/// (Linux: drivers/base/cpu.c).
const CPU: &[Node] = &[
    Node::File(File::new("kernel_max", |_, out| writeln!(out, "{}", NR_CPUS - 1))),
    Node::File(File::new("online", |_, out| {
        writeln!(out, "{}", List(cpus_online().collect::<CpuMask>().iter().map(CpuId::index)))
    })),
    Node::File(File::new("possible", |_, out| writeln!(out, "{}", List(0..nr_cpu_ids())))),
    Node::File(File::new("present", |_, out| writeln!(out, "{}", List(0..nr_cpu_ids())))),
];

/// The nodes that have memory or CPUs.
fn node_name(n: usize) -> Option<&'static str> {
    let is_online = stat::nodes().any(|node| node.index() == n)
        || cpus_online().any(|cpu| cpu_to_node(cpu).index() == n);
    const NAMES: [&str; MAX_NUMNODES] = [
        "node0", "node1", "node2", "node3", "node4", "node5", "node6", "node7", "node8", "node9",
        "node10", "node11", "node12", "node13", "node14", "node15",
    ];
    NAMES.get(n).copied().filter(|_| is_online)
}

const NODE: &[File] = &[
    File::new("cpulist", |n, out| writeln!(out, "{}", List(near(n).iter().map(CpuId::index)))),
    File::new("cpumap", |n, out| writeln!(out, "{}", Hex(near(n), nr_cpu_ids()))),
    File::new("distance", distance),
    File::new("meminfo", |n, out| of_node(n, |node| write!(out, "{}", stat::NodeMemInfo(node)))),
    File::new("vmstat", |n, out| of_node(n, |node| write!(out, "{}", stat::NodeVmStat(node)))),
];

/// The CPUs that node `n` is the nearest of.
fn near(n: usize) -> CpuMask {
    cpus_online().filter(|&cpu| cpu_to_node(cpu).index() == n).collect()
}

fn of_node(n: usize, show: impl FnOnce(NodeId) -> fmt::Result) -> fmt::Result {
    NodeId::new(n).map_or(Ok(()), show)
}

/// The distances of all nodes from this one.
fn distance(n: usize, out: &mut dyn fmt::Write) -> fmt::Result {
    let Some(from) = NodeId::new(n) else { return Ok(()) };
    let online = NodeId::all().filter(|to| node_name(to.index()).is_some());
    for (i, to) in online.enumerate() {
        write!(out, "{}{}", if i == 0 { "" } else { " " }, node_distance(from, to))?;
    }
    writeln!(out)
}

/// Rising numbers, runs of them as `0-3` (Linux: %*pbl).
struct List<I>(I);

impl<I: Iterator<Item = usize> + Clone> fmt::Display for List<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut numbers, mut comma) = (self.0.clone().peekable(), "");
        while let Some(first) = numbers.next() {
            let mut last = first;
            while numbers.next_if_eq(&(last + 1)).is_some() {
                last += 1;
            }
            write!(f, "{comma}{first}")?;
            if last > first {
                write!(f, "-{last}")?;
            }
            comma = ",";
        }
        Ok(())
    }
}
