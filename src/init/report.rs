//! What the kernel prints at the end of its boot.

use super::steps::Steps;
use crate::arch::aarch64::{errata, features};
use crate::kprint;
use crate::mm::{cma, ptdump, stat};
use core::fmt;

/// Prints memory's state, in the manner of Linux's boot log and /proc.
pub fn print(steps: &Steps) {
    let bits = features::physical_address_bits();
    kprint!("\nCPU features ({bits}-bit physical addresses):\n{}", features::features());
    kprint!("\nCPU errata:\n{}", errata::Report);
    kprint!("\nZones (pages):\n{}", stat::Zones);
    kprint!("\nFree blocks by order:\n{}", stat::FreeBlocks);
    kprint!("\nSlab caches:\n{}", stat::Slabs);
    kprint!("\nvmalloc areas:\n{}", stat::VmallocInfo);
    if cma::areas().next().is_some() {
        kprint!("\nCMA areas:\n{}", stat::CmaAreas);
    }
    kprint!("\nPage tables:\n{}", PageTables);
    kprint!("\n{}", stat::MemSummary);
    kprint!("\nBoot steps (cycles; instructions under -icount shift=0):\n");
    for (name, cycles) in steps.iter() {
        kprint!("  {name:<24}{cycles:>12}\n");
    }
    kprint!("  {:<24}{:>12}\n\n", "all", steps.total());
}

/// The layout of the kernel's half, as the tables have it.
struct PageTables;

impl fmt::Display for PageTables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        ptdump::dump(f)
    }
}
