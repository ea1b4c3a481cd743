//! Page tables of the EL1 kernel regime: VMSAv8-64 with the 4 KiB granule, 48-bit
//! addresses and four levels, called PGD, PUD, PMD and PTE as in Linux.
//!
//! Both machines share this room: [`descriptor`] is the format, [`mair`] the memory
//! types, [`tcr`] the control register. These three are plain constant integer code,
//! fit to run before the MMU is on.

pub mod descriptor;
pub mod mair;
pub mod tcr;

pub use descriptor::{Descriptor, KernelAttrs, Kind, Level, Permission};
pub use mair::{MAIR_EL1, MemoryType};
pub use tcr::{IdMmfr, tcr_el1};
