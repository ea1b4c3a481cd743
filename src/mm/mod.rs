//! Memory management: everything that does not depend on the hardware.
//!
//! # Floors
//! Each module below is a room on one of these floors. Imports go to rooms of the same floor or of
//! a lower one, and no two rooms import each other, directly or through others
//! (`scripts/test house::floors_of_mm`). A room that has to call upwards calls through a table
//! that the upper room fills: [`shrinker`], [`migrate`] and `hooks`.
//!
//! | floor | rooms |
//! | --- | --- |
//! | top: looks at all the others | [`debug`], [`stat`], [`ptdump`], [`validate`](mod@validate) |
//! | 6: users' memory | [`mm_struct`] over [`memory`](mod@memory) over [`vma`] over [`filemap`], [`shmem`] |
//! | 5: objects, kernel mappings, contiguous memory | [`slab`], [`util`], [`alloc`], [`heap`], [`mempool`], [`zsmalloc`], [`percpu`], [`rcu`], `rcu_gp`, [`stackdepot`] · [`init_mm`], [`vmalloc`], [`ioremap`], [`set_memory`], `thread_stack`, `kthread` · [`contig`], [`cma`], [`memory_hotplug`], [`memory_failure`] |
//! | 4: allocation of pages | [`alloc_pages`] |
//! | 3: getting memory back | [`context`], [`shrinker`], [`migrate`], [`compaction`], [`vmscan`] |
//! | 2: the core, which frees and never reclaims | [`page_alloc`], [`memblock`] |
//! | 1: descriptors | [`ids`], [`gfp`], [`page`], [`sparse`], `pcp_list`, [`mmzone`], [`vmstat`], `hooks` |
//!
//! An allocation of pages is read in four files: `alloc_pages/mod.rs`, which takes from the CPU's
//! lists (`page_alloc/pcp.rs`); `alloc_pages/slowpath.rs`, which goes through the zones
//! (`page_alloc/buddy.rs`), then reclaims and compacts.
//!
//! # Lock order
//! [`Rank`](crate::sync::Rank) has the order of all spin locks, outermost first; debug builds
//! check it. Of those of `mm`:
//!
//! 1. memblock's arrays, at boot;
//! 2. pools and caches of objects: `ZsPool`, `Mempool`, `PerCpu`, `MemsAllowed`, `SlabCaches`;
//! 3. `Vmap`, then `MmPageTable`, then `PageTable`: addresses before their tables, and links
//!    between users' tables before the tables;
//! 4. `SlabNode`, `Cma`;
//! 5. `Section`, then one `Zone`: nothing is allocated under these;
//! 6. the tools' own: `DebugObjects`, `Kfence`, `Kmemleak`, `StackDepot`, `Trace`.
//!
//! Mutexes (memory hotplug, CMA, the setup of tracing) are taken before any spin lock, by threads
//! that may sleep. Per-CPU page lists and sheaves have no lock: interrupts are masked.
//!
//! # Where is X of Linux
//!
//! | Linux | here |
//! | --- | --- |
//! | include/linux/gfp_types.h | [`gfp`] |
//! | include/linux/mm_types.h: struct page | [`page`] |
//! | include/linux/mmzone.h: zones, zonelists | [`mmzone`] |
//! | include/linux/mmzone.h: zone_type, migratetype, node ids | [`ids`] |
//! | include/linux/sched/mm.h: memalloc_\*_save, mems_allowed | [`context`] |
//! | include/linux/vmstat.h: node_stat_item | [`vmstat`] |
//! | mm/memblock.c, drivers/of/fdt.c | [`memblock`] |
//! | mm/sparse.c, mm/sparse-vmemmap.c | [`sparse`] |
//! | mm/page_alloc.c: buddy, pcp, frees | [`page_alloc`] |
//! | mm/page_alloc.c: \_\_alloc_pages_slowpath, alloc_pages_bulk, alloc_pages_exact | [`alloc_pages`] |
//! | mm/page_alloc.c: alloc_contig_range | [`contig`] |
//! | mm/page_isolation.c | `page_alloc/isolation.rs` |
//! | mm/fail_page_alloc.c, mm/failslab.c, lib/fault-inject.c | `alloc_pages/fail.rs`, `slab/failslab.rs`, [`crate::fault_inject`] |
//! | mm/migrate.c: movable_operations | [`migrate`] |
//! | mm/compaction.c | [`compaction`] |
//! | mm/vmscan.c, mm/shrinker.c | [`vmscan`], [`shrinker`] |
//! | mm/memory_hotplug.c, drivers/base/memory.c | [`memory_hotplug`] |
//! | mm/memory-failure.c | [`memory_failure`] |
//! | mm/memory.c, mm/mprotect.c, mm/mremap.c, mm/mmu_gather.c: users' tables | [`memory`](mod@memory) |
//! | mm/init-mm.c, arch/arm64/mm/mmu.c | [`init_mm`] |
//! | arch/arm64/mm/pageattr.c | [`set_memory`] |
//! | mm/vmalloc.c | [`vmalloc`] |
//! | mm/vma.c, struct vm_area_struct | [`vma`] |
//! | struct mm_struct, mm/mmap.c, mprotect.c, mremap.c, madvise.c, mlock.c, mseal.c, mincore.c, msync.c, fs/proc/task_mmu.c | [`mm_struct`] |
//! | mm/ioremap.c, kernel/iomem.c, kernel/resource.c | [`ioremap`], [`crate::memremap`], [`crate::resource`] |
//! | mm/slub.c, mm/slab_common.c | [`slab`] |
//! | mm/slab_common.c: kvfree_rcu | [`rcu`], `rcu_gp` |
//! | mm/util.c, kvmalloc | [`util`] |
//! | mm/percpu.c | [`percpu`] |
//! | mm/filemap.c, mm/truncate.c, mm/interval_tree.c, lib/xarray.c | [`filemap`] |
//! | mm/shmem.c | [`shmem`] |
//! | mm/mempool.c, mm/zsmalloc.c | [`mempool`], [`zsmalloc`] |
//! | mm/cma.c | [`cma`] |
//! | kernel/dma/, mm/dmapool.c | [`crate::dma`] |
//! | drivers/of/of_reserved_mem.c | [`crate::reserved_mem`] |
//! | kernel/kthread.c, kernel/fork.c: tasks, thread stacks | `kthread`, `thread_stack` |
//! | mm/page_ext.c, mm/page_owner.c, mm/page_poison.c, mm/kmemleak.c, mm/kfence/, lib/debugobjects.c | [`debug`] |
//! | their calls in the allocators (post_alloc_hook, free_pages_prepare, kfence_alloc) | `hooks` |
//! | lib/stackdepot.c | [`stackdepot`] |
//! | include/trace/events/, kernel/trace/ | `hooks/points.rs`, [`crate::trace`] |
//! | mm/vmstat.c, fs/proc/meminfo.c, mm/show_mem.c | [`stat`] |
//! | mm/ptdump.c | [`ptdump`] |
//! | rust/kernel/alloc/, rust/kernel/alloc/allocator.rs | [`alloc`], [`heap`] |

pub mod alloc;
pub mod alloc_pages;
pub mod cma;
pub mod compaction;
pub mod context;
pub mod contig;
pub mod debug;
pub mod filemap;
pub mod gfp;
pub mod heap;
pub(crate) mod hooks;
pub mod ids;
pub mod init_mm;
pub mod ioremap;
#[cfg(target_os = "none")]
pub mod kthread;
pub mod memblock;
pub mod memory;
pub mod memory_failure;
pub mod memory_hotplug;
pub mod mempool;
pub mod migrate;
pub mod mm_struct;
pub mod mmzone;
pub mod page;
pub mod page_alloc;
mod pcp_list;
pub mod percpu;
pub mod ptdump;
pub mod rcu;
mod rcu_gp;
pub mod set_memory;
pub mod shmem;
pub mod shrinker;
pub mod slab;
pub mod sparse;
pub mod stackdepot;
pub mod stat;
#[cfg(target_os = "none")]
pub mod thread_stack;
pub mod util;
pub mod validate;
pub mod vma;
pub mod vmalloc;
pub mod vmscan;
pub mod vmstat;
pub mod zsmalloc;

#[cfg(test)]
pub(crate) mod tests;
