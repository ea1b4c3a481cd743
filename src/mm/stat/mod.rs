//! Memory's figures in words, as /proc and /sys have them (Linux: fs/proc/meminfo.c,
//! mm/vmstat.c, mm/slab_common.c, mm/cma_debug.c): each a value that is printed when it is
//! displayed. `fs` gives them their paths.
//!
//! | file | what it prints |
//! | --- | --- |
//! | `meminfo` | `/proc/meminfo`, and a node's part of it |
//! | `vmstat` | `/proc/vmstat`, and the figures that are counted for it |
//! | `zoneinfo` | `/proc/zoneinfo`, `/proc/buddyinfo` |
//! | `pagetypeinfo` | `/proc/pagetypeinfo`, `extfrag/` |
//! | `slabinfo` | `/proc/slabinfo` |
//! | `overview` | the same for people, on part of a screen |
//! | `boot_report` | the same for people, in full |
//!
//! A zone's figures are read under its lock, all at once; nothing is printed under a lock, and
//! nothing is allocated.
#![deny(unsafe_code)]

mod boot_report;
mod cma;
pub(crate) mod meminfo;
mod overview;
mod pagetypeinfo;
mod slabinfo;
pub(crate) mod vmstat;
mod zoneinfo;

pub use boot_report::{CmaAreas, FreeBlocks, MemSummary, Slabs, Zones};
pub use cma::CmaBitmap;
pub use meminfo::{MemInfo, NodeMemInfo, SysinfoPages, si_mem_available, si_meminfo};
pub use overview::{Line, Overview};
pub use pagetypeinfo::{ExtfragIndex, PageTypeInfo, UnusableIndex, pageblocks};
pub use slabinfo::SlabInfoFile;
pub use vmstat::{NodeVmStat, VmStat};
pub use zoneinfo::{BuddyInfo, ZoneInfoFile};

use crate::addr::PAGE_SIZE;
use crate::mm::memory_hotplug;
use crate::mm::mmzone::{NodeId, ZoneId};
use crate::mm::page_alloc;
use crate::mm::vmalloc;
use core::fmt;

/// Pages in kB.
const fn kib(pages: usize) -> usize {
    pages * (PAGE_SIZE >> 10)
}

/// The nodes that hold RAM (Linux: node_online_map).
pub fn nodes() -> impl Iterator<Item = NodeId> {
    NodeId::all().filter(|&node| page_alloc::node_has_memory(node))
}

/// The start of a zone's line.
struct Head(ZoneId);

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Node {}, zone {:>8} ", self.0.node().index(), self.0.kind())
    }
}

/// The sections and their states, as in /sys/devices/system/memory/memoryN/state.
pub struct MemoryBlocks;

impl fmt::Display for MemoryBlocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (section, state) in memory_hotplug::sections() {
            let span = section.frames().phys();
            writeln!(
                f,
                "memory{:<6} [mem {:#013x}-{:#013x}] {state}",
                section.number(),
                span.start().get(),
                span.end().get() - 1,
            )?;
        }
        Ok(())
    }
}

/// /proc/vmallocinfo.
pub struct VmallocInfo;

impl fmt::Display for VmallocInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        vmalloc::vmallocinfo().try_for_each(|area| writeln!(f, "{area}"))
    }
}
