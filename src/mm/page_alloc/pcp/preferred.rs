//! Which of its lists a CPU looks at for which allocation, so that it asks no zone; and when it
//! may not, because somebody wants a say in each allocation.
#![deny(unsafe_code)]

use super::PCP;
use super::closed::Closed;
use crate::arch::{CpuId, NR_CPUS};
use crate::machine_local;
use crate::mm::gfp::Gfp;
use crate::mm::mmzone::{NodeId, Zonelist};
use crate::mm::page_alloc::cpu_to_node;
use crate::mm::pcp_list::PcpColumn;

machine_local! {
    /// Why the way past the zones is closed, a bit for each [`FastPath`].
    static CLOSED: Closed = Closed::new();
}

/// Why the way past the zones is closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::mm) enum FastPath {
    /// Allocations fail on purpose.
    Failures = 1,
    /// Nodes are closed to a thread.
    Walls = 2,
    /// A tool wants to know of each page.
    Hooks = 4,
}

/// Opens the way past the zones, for all CPUs, as far as `why` goes, or closes it.
pub(in crate::mm) fn set_fast_path(why: FastPath, open: bool) {
    CLOSED.set(why as u32, open);
    for cpu in (0..NR_CPUS).filter_map(CpuId::new) {
        setup(cpu, cpu_to_node(cpu));
    }
}

/// Makes `node` the one that `cpu` allocates from first: says on which lists it looks.
pub(in crate::mm::page_alloc) fn setup(cpu: CpuId, node: NodeId) {
    CLOSED.settle(|is_open| set_preferred(cpu, node, is_open));
}

fn set_preferred(cpu: CpuId, node: NodeId, is_open: bool) {
    for (bits, entry) in (0..).zip(&PCP.of(cpu).preferred) {
        let gfp = Gfp::from_bits_retain(bits);
        let both = Gfp::__GFP_MOVABLE | Gfp::__GFP_RECLAIMABLE;
        // A zone whose sections are all offline stays in the zonelists.
        let mut zones = Zonelist::of(node).zones(gfp.zone());
        let best = zones.find(|id| id.zone().is_populated());
        let column = best
            .filter(|_| is_open && !gfp.contains(both))
            .and_then(|id| PcpColumn::new(id, gfp.migratetype()));
        entry.set(column);
    }
}
