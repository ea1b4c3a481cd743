//! Kernel image: boots, reports, causes a fault if it is asked for one, and runs the monitor on
//! the console.

#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
use granule::init::{Boot, fragment, lkdtm, populate_rootfs, report, rtc, snapshot};
#[cfg(target_os = "none")]
use granule::monitor;
#[cfg(target_os = "none")]
use granule::user::init;

#[cfg(target_os = "none")]
granule::kernel_main!(main);

#[cfg(target_os = "none")]
fn main(boot: &Boot) -> u8 {
    /// The exit code for a command line that asks for what there is not.
    const EXIT_USAGE: u8 = 2;

    // Kept for good: the machine ends with it.
    core::mem::forget(fragment::asked_for(&boot.cmdline));
    rtc::hctosys(boot);
    if let Err(errno) = populate_rootfs(boot) {
        log::error!("there is no root file system: {errno:?}");
    }
    report::print(boot);
    if !snapshot::asked_for(&boot.cmdline) {
        return EXIT_USAGE;
    }
    // SAFETY: it is asked for what the command line names and what is typed at the monitor.
    let lkdtm = unsafe { lkdtm::Lkdtm::new() };
    if let Some(fault) = boot.cmdline.granule("fault")
        && !lkdtm.do_action(fault)
    {
        log::error!("granule.fault={fault}: there is no such fault; there are:");
        for (name, what) in lkdtm::faults() {
            log::error!("  {name}: {what}");
        }
        return EXIT_USAGE;
    }
    if let Some(list) = boot.cmdline.granule("run_list") {
        return init::run_list(list.as_bytes());
    }
    if boot.cmdline.granule("exec").is_some() {
        return init::exec();
    }
    if monitor::is_wanted(boot) {
        monitor::run(boot, lkdtm);
    }
    0
}

/// Cargo builds this along with benchmarks for a host.
#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("error: a kernel is no program: scripts/run boots it");
    std::process::exit(2);
}
