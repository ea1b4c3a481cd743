//! The kernel image: boots, reports, and provokes a fault if it is asked for one.

#![no_std]
#![no_main]

use granule::init::{Boot, provoke, report};

granule::kernel_main!(main);

/// The exit code for a command line that asks for what there is not.
const EXIT_USAGE: u8 = 2;

fn main(boot: &Boot) -> u8 {
    report::print(&boot.steps);
    if let Some(fault) = boot.cmdline.granule("fault")
        && !provoke::provoke(fault)
    {
        log::error!("granule.fault={fault}: there is no such fault; there are:");
        for (name, what, _) in provoke::FAULTS {
            log::error!("  {name}: {what}");
        }
        return EXIT_USAGE;
    }
    0
}
