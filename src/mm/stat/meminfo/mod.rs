//! /proc/meminfo, and what of it a node has of its own.

use super::{kib, nodes};
use crate::addr::{PAGE_SHIFT, PAGE_SIZE};
use crate::arch::layout;
use crate::mm::mm_struct::{vm_commit_limit, vm_memory_committed};
use crate::mm::mmzone::{NodeId, ZoneType};
use crate::mm::page_alloc::{self, ZoneInfo};
use crate::mm::percpu;
use crate::mm::slab::{SlabPages, slab_pages};
use crate::mm::vmalloc;
use crate::mm::vmstat::{NodeStat, node_page_state};
use core::fmt;

#[cfg(test)]
#[expect(unsafe_code, reason = "tests give pages back by their frames")]
mod tests;

/// Sums over the zones, in pages.
#[derive(Clone, Copy, Default, Debug)]
struct Sums {
    managed: usize,
    free: usize,
    cma: usize,
    free_cma: usize,
    low: usize,
    /// Pages that ordinary allocations leave (Linux: totalreserve_pages).
    reserve: usize,
}

impl Sums {
    fn of(zones: impl Iterator<Item = ZoneInfo>) -> Self {
        let mut sums = Self::default();
        for zone in zones {
            sums.managed += zone.managed as usize;
            sums.free += zone.free() as usize;
            sums.cma += zone.cma as usize;
            sums.free_cma += zone.free_cma as usize;
            sums.low += (zone.watermarks[1] + zone.boost) as usize;
            // The most that any allocation leaves there, and the mark above which all is well.
            let kept = ZoneType::ALL.iter().filter(|&&kind| kind >= zone.id.kind());
            let kept = kept.map(|kind| zone.lowmem_reserve[kind.index()]).max().unwrap_or(0);
            let reserve = kept + zone.watermarks[2] + zone.boost;
            sums.reserve += reserve.min(zone.managed) as usize;
        }
        sums
    }

    /// Estimate of the pages that can be allocated without trouble: free pages above the
    /// reserves, and as much of the reclaimable pages as leaves enough to work with (Linux:
    /// si_mem_available).
    fn available(&self, reclaimable: usize) -> usize {
        let free = self.free as isize - self.reserve as isize;
        let reclaimable = reclaimable - (reclaimable / 2).min(self.low);
        (free + reclaimable as isize).max(0) as usize
    }
}

/// An estimate of the pages that can be allocated before anything has to be given up (Linux:
/// si_mem_available).
#[must_use]
pub fn si_mem_available() -> usize {
    Sums::of(page_alloc::zones()).available(slab_pages(None).reclaimable)
}

/// Pages of the machine, for sysinfo(2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SysinfoPages {
    /// All that the kernel manages.
    pub total: usize,
    /// Free ones.
    pub free: usize,
    /// Those of shared memory and of tmpfs.
    pub shared: usize,
}

/// Counts the pages of the machine (Linux: si_meminfo).
#[must_use]
pub fn si_meminfo() -> SysinfoPages {
    let sums = Sums::of(page_alloc::zones());
    let shared = node_page_state(None, NodeStat::Shmem);
    SysinfoPages { total: sums.managed, free: sums.free, shared }
}

/// A line in the columns of Linux: name, figure and unit.
fn line(f: &mut fmt::Formatter<'_>, name: &str, kib: usize) -> fmt::Result {
    // Of a line whose name takes more than its share the figure takes less.
    let pad = HEAD.saturating_sub(name.len() + 1).max(1);
    let width = (HEAD + FIGURE).saturating_sub(name.len() + 1 + pad);
    writeln!(f, "{name}:{:pad$}{kib:>width$} kB", "")
}

/// Columns of a name with its colon, and of a figure.
const HEAD: usize = 16;
const FIGURE: usize = 8;

/// Pages that could be reclaimed, by their list: there are no such lists, as nothing reclaims them.
const LRU: [(&str, usize); 9] = [
    ("SwapCached", 0),
    ("Active", 0),
    ("Inactive", 0),
    ("Active(anon)", 0),
    ("Inactive(anon)", 0),
    ("Active(file)", 0),
    ("Inactive(file)", 0),
    ("Unevictable", 0),
    ("Mlocked", 0),
];

/// Pages in slabs.
fn in_slabs(slab: &SlabPages) -> [(&'static str, usize); 4] {
    [
        ("KReclaimable", slab.reclaimable),
        ("Slab", slab.reclaimable + slab.unreclaimable),
        ("SReclaimable", slab.reclaimable),
        ("SUnreclaim", slab.unreclaimable),
    ]
}

/// /proc/meminfo. What there is none of is 0: swap, writeback, lists of pages to reclaim.
/// `MemFree` has the pages on CPUs' lists too.
pub struct MemInfo;

impl fmt::Display for MemInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for_each(&mut |name, kib| line(f, name, kib))
    }
}

/// Calls `of` for each line: name, and value in kB.
pub(crate) fn for_each(of: &mut dyn FnMut(&str, usize) -> fmt::Result) -> fmt::Result {
    let sums = Sums::of(page_alloc::zones());
    let slab = slab_pages(None);
    let vm = vmalloc::vmalloc_stat();
    let all = [
        ("MemTotal", sums.managed),
        ("MemFree", sums.free),
        ("MemAvailable", sums.available(slab.reclaimable)),
        ("Buffers", 0),
        ("Cached", node_page_state(None, NodeStat::FilePages)),
    ];
    let others = [
        ("SwapTotal", 0),
        ("SwapFree", 0),
        ("Dirty", 0),
        ("Writeback", 0),
        ("AnonPages", node_page_state(None, NodeStat::AnonMapped)),
        ("Mapped", node_page_state(None, NodeStat::FileMapped)),
        ("Shmem", node_page_state(None, NodeStat::Shmem)),
    ];
    for (name, pages) in all.into_iter().chain(LRU).chain(others).chain(in_slabs(&slab)) {
        of(name, kib(pages))?;
    }
    of("KernelStack", node_page_state(None, NodeStat::KernelStackKb))?;
    for (name, pages) in [
        ("PageTables", node_page_state(None, NodeStat::PageTable)),
        ("SecPageTables", 0),
        ("NFS_Unstable", 0),
        ("Bounce", 0),
        ("WritebackTmp", 0),
        ("CommitLimit", vm_commit_limit() as usize),
        ("Committed_AS", vm_memory_committed() as usize),
        ("VmallocTotal", layout::VMALLOC.len() >> PAGE_SHIFT),
        ("VmallocUsed", vm.allocated),
        ("VmallocChunk", 0),
        ("Percpu", percpu::pcpu_nr_pages()),
        ("HardwareCorrupted", page_alloc::num_poisoned_pages() as usize),
        ("CmaTotal", sums.cma),
        ("CmaFree", sums.free_cma),
    ] {
        of(name, kib(pages))?;
    }
    Ok(())
}

/// /sys/devices/system/node/nodeN/meminfo, which numactl reads.
pub struct NodeMemInfo(pub NodeId);

impl fmt::Display for NodeMemInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !nodes().any(|node| node == self.0) {
            return Ok(());
        }
        let (node, sums) = (self.0.index(), Sums::of(page_alloc::zones_on(self.0)));
        let slab = slab_pages(Some(self.0));
        let state = |item| node_page_state(Some(self.0), item);
        let all = [
            ("MemTotal", sums.managed),
            ("MemFree", sums.free),
            ("MemUsed", sums.managed.saturating_sub(sums.free)),
        ];
        let others = [
            ("Dirty", 0),
            ("Writeback", 0),
            ("FilePages", state(NodeStat::FilePages)),
            ("Mapped", state(NodeStat::FileMapped)),
            ("AnonPages", state(NodeStat::AnonMapped)),
            ("Shmem", state(NodeStat::Shmem)),
            ("KernelStack", state(NodeStat::KernelStackKb) / (PAGE_SIZE >> 10)),
            ("PageTables", state(NodeStat::PageTable)),
            ("SecPageTables", 0),
            ("NFS_Unstable", 0),
            ("Bounce", 0),
            ("WritebackTmp", 0),
        ];
        for (name, pages) in all.into_iter().chain(LRU).chain(others).chain(in_slabs(&slab)) {
            write!(f, "Node {node} ")?;
            line(f, name, kib(pages))?;
        }
        Ok(())
    }
}
