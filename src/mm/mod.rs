//! Memory management: everything that does not depend on the hardware.

pub mod gfp;
pub mod mmzone;
pub mod page;
pub mod page_alloc;
pub mod shrinker;
pub mod sparse;
