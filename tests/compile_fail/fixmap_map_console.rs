//! `fixmap::map_console`: the console would write to any page.
#![no_std]
#![forbid(unsafe_code)]

use granule::addr::{PhysAddr, PhysRange};
use granule::arch::fixmap;

pub fn console_over_memory() {
    let at = PhysRange::from_size(PhysAddr::new(0x4000_0000), 0x1000);
    let _console = fixmap::map_console(at); //~ E0133 E0603
}
