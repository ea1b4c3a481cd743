//! /sys/devices/system/node: what numactl reads.

use super::tree::{File, Node};
use crate::arch::NR_CPUS;
use crate::arch::cpumask::Hex;
use crate::mm::mmzone::{MAX_NUMNODES, NodeId};
use crate::mm::page_alloc::{cpu_to_node, cpus_online, node_distance};
use crate::mm::stat;
use crate::percpu::nr_cpu_ids;
use core::fmt;

pub(super) const DEVICES: &[Node] = &[Node::Dir(
    "system",
    &[Node::Dir(
        "node",
        &[
            Node::File(File::new("has_memory", |_, out| {
                writeln!(out, "{}", List(|n| stat::nodes().any(|node| node.index() == n)))
            })),
            Node::Each { count: MAX_NUMNODES, name: node_name, files: NODE },
            Node::File(File::new("online", |_, out| {
                writeln!(out, "{}", List(|n| node_name(n).is_some()))
            })),
        ],
    )],
)];

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
    File::new("cpulist", |n, out| writeln!(out, "{}", List(|cpu| is_near(n, cpu)))),
    File::new("cpumap", |n, out| {
        let near = cpus_online().filter(|&cpu| cpu_to_node(cpu).index() == n).collect();
        writeln!(out, "{}", Hex(near, nr_cpu_ids()))
    }),
    File::new("distance", distance),
    File::new("meminfo", |n, out| of_node(n, |node| write!(out, "{}", stat::NodeMemInfo(node)))),
    File::new("vmstat", |n, out| of_node(n, |node| write!(out, "{}", stat::NodeVmStat(node)))),
];

/// Returns whether there is such a CPU, and node `n` is the one that it is near.
fn is_near(n: usize, cpu: usize) -> bool {
    cpus_online().any(|id| id.index() == cpu && cpu_to_node(id).index() == n)
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

/// The numbers that are in a set, runs of them as `0-3` (Linux: %*pbl).
struct List<F>(F);

/// Numbers that can be in a [`List`]: those of CPUs and of nodes.
const NUMBERS: usize = if NR_CPUS > MAX_NUMNODES { NR_CPUS } else { MAX_NUMNODES };

impl<F: Fn(usize) -> bool> fmt::Display for List<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut at, mut comma) = (0, "");
        while let Some(first) = (at..NUMBERS).find(|&n| self.0(n)) {
            at = (first..NUMBERS).find(|&n| !self.0(n)).unwrap_or(NUMBERS);
            write!(f, "{comma}{first}")?;
            if at - 1 > first {
                write!(f, "-{}", at - 1)?;
            }
            comma = ",";
        }
        Ok(())
    }
}
