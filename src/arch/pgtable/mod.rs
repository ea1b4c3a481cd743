//! Page tables: VMSAv8-64 with the 4 KiB granule, 48-bit addresses and four levels, called
//! PGD, PUD, PMD and PTE as in Linux. The translation regime is a type ([`Regime`]): the
//! kernel's, a user's, or a guest's.
//!
//! Both machines share this room. [`descriptor`] is the format, [`mair`] the memory
//! types, [`tcr`] the control register: these three are plain constant integer code,
//! fit to run before the MMU is on. [`Mapper`] is the one place that edits tables;
//! [`FlushOwed`] is the TLB invalidation that an edit leaves to do.

mod cached;
pub mod descriptor;
pub mod explain;
mod flush;
mod gather;
pub mod mair;
mod map;
mod mapper;
mod protect;
mod recent;
mod regime;
mod sets;
mod split;
mod table;
pub mod tcr;
pub mod tlbi;
mod unmap;
mod walk;
mod zap;

#[cfg(test)]
mod tests;

pub use cached::{is_page_mapped, map_cached, unmap_cached};
pub use descriptor::{Descriptor, KernelAttrs, Kind, Level, Permission, TableLimits};
pub use flush::FlushOwed;
pub use gather::{Gathered, MmuGather};
pub use mair::{MAIR_EL1, MemoryType};
pub use mapper::{MapError, MapFlags, Mapper, Translation};
pub use recent::RecentTables;
pub use regime::{
    Attributes, El2, Geometry, Kernel, MigrationPte, Prot, PteMarker, PteWord, Regime, Stage2,
    Stage2Attrs, Stage2Memory, Stage2Prot, Stage2Root, SwapPte, User, UserAttrs, UserPte, Vm, Vmid,
    flush_spurious,
};
pub use table::{Entry, Leaf, Table, TableAccess, TableAddr};
#[cfg(any(target_os = "none", test))]
pub use tcr::{IdMmfr, tcr_el1};
pub use walk::{BadTree, TreeStats};
