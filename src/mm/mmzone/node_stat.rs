//! Counters of a node (Linux: enum node_stat_item and vm_stat of pg_data_t).

use core::sync::atomic::{AtomicIsize, Ordering::Relaxed};

/// Counters of each node (Linux: enum node_stat_item).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NodeStat {
    /// Stacks of threads, in KiB.
    KernelStackKb,
    /// Pages that hold page tables, those of the boot left out.
    PageTable,
    /// Anonymous pages that are mapped (NR_ANON_MAPPED).
    AnonMapped,
    /// Pages of files that are mapped, each once (NR_FILE_MAPPED).
    FileMapped,
    /// Pages in the page cache, those of shared memory too (NR_FILE_PAGES).
    FilePages,
    /// Pages of shared memory in the page cache (NR_SHMEM).
    Shmem,
}

/// Number of counters.
const NR_VM_NODE_STAT_ITEMS: usize = 6;

/// The counters of one node.
pub(in crate::mm) struct NodeStats {
    items: [AtomicIsize; NR_VM_NODE_STAT_ITEMS],
}

impl NodeStats {
    pub(super) const fn new() -> Self {
        Self { items: [const { AtomicIsize::new(0) }; NR_VM_NODE_STAT_ITEMS] }
    }

    /// Adds `by` to a counter.
    pub fn add(&self, item: NodeStat, by: isize) {
        self.items[item as usize].fetch_add(by, Relaxed);
    }

    /// Returns a counter, which may be negative while other CPUs count.
    pub fn get(&self, item: NodeStat) -> isize {
        self.items[item as usize].load(Relaxed)
    }
}
