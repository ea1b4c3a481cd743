//! `fixmap::map_console`: the console would write to any page.
#![no_std]
#![forbid(unsafe_code)]

use granule::addr::PhysAddr;
use granule::arch::aarch64::fixmap;

pub fn console_over_memory() {
    let at = PhysAddr::new(0x4000_0000);
    let _console = fixmap::map_console(at); //~ E0133 E0603
}
