//! Per-CPU table from GFP bits to the PCP list to pop. Cleared to force the slow path while a
//! tool, fault injection or a cpuset must see every allocation.
#![deny(unsafe_code)]

use super::PCP;
use super::closed::Closed;
use crate::arch::CpuId;
use crate::machine_local;
use crate::mm::gfp::Gfp;
use crate::mm::ids::PcpColumn;
use crate::mm::mmzone::{NodeId, Zonelist};
use crate::mm::page_alloc::cpu_to_node;
use crate::percpu::possible_cpus;

machine_local! {
    /// Reasons why the fast path is closed, a bit for each [`FastPath`].
    static CLOSED: Closed = Closed::new();
}

/// Reason why the fast path is closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::mm) enum FastPath {
    /// Fault injection makes allocations fail.
    Failures = 1,
    /// A thread's allocations are confined to some nodes (Linux: mems_allowed).
    MemsAllowed = 2,
    /// A tool has to be called for each page.
    Hooks = 4,
}

/// Clears (`open`) or sets a reason that closes the fast path, on all CPUs.
pub(in crate::mm) fn set_fast_path(why: FastPath, open: bool) {
    CLOSED.set(why as u32, open);
    for cpu in possible_cpus() {
        setup(cpu, cpu_to_node(cpu));
    }
}

/// Makes `node` the one that `cpu` allocates from first, and updates its table.
pub(in crate::mm::page_alloc) fn setup(cpu: CpuId, node: NodeId) {
    CLOSED.update(|is_open| set_preferred(cpu, node, is_open));
}

fn set_preferred(cpu: CpuId, node: NodeId, is_open: bool) {
    let zonelist = Zonelist::of(node);
    for (bits, entry) in (0..).zip(&PCP.of(cpu).preferred) {
        let gfp = Gfp::from_bits_retain(bits);
        let both = Gfp::__GFP_MOVABLE | Gfp::__GFP_RECLAIMABLE;
        // A zone whose sections are all offline stays in the zonelists.
        let mut zones = zonelist.zones(gfp.zone());
        let best = zones.find(|id| id.zone().is_populated());
        let column = best
            .filter(|_| is_open && !gfp.contains(both))
            .and_then(|id| PcpColumn::new(id, gfp.migratetype()));
        entry.set(column);
    }
}
