//! Memory management: everything that does not depend on the hardware.

pub mod alloc;
pub mod alloc_pages;
pub mod cma;
pub mod compaction;
pub mod context;
pub mod contig;
pub mod debug;
pub mod dma;
pub mod fault_inject;
pub mod gfp;
pub mod heap;
pub(crate) mod hooks;
pub mod ids;
pub mod init_mm;
pub mod ioremap;
#[cfg(target_os = "none")]
pub mod kthread;
pub mod memblock;
pub mod memory_failure;
pub mod memory_hotplug;
pub mod mempool;
pub mod memremap;
pub mod migrate;
pub mod mmzone;
pub mod page;
pub mod page_alloc;
mod pcp_list;
pub mod percpu;
pub mod ptdump;
pub mod rcu;
mod rcu_gp;
pub mod reserved_mem;
pub mod resource;
pub mod set_memory;
pub mod shrinker;
pub mod slab;
pub mod sparse;
pub mod stackdepot;
pub mod stat;
pub mod trace;
pub mod util;
pub mod validate;
pub mod vmalloc;
pub mod vmscan;
pub mod vmstat;
pub mod workload;
pub mod zsmalloc;

#[cfg(test)]
mod fault_tests;
#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod storm_tests;
#[cfg(test)]
mod tests;
