//! The end of the machine: off, or from the start again.

use super::screen::Screen;
use crate::addr::PhysRange;
use crate::arch::smccc::{self, Conduit};
use crate::drivers::power::{BYTES, Bcm2835Pm};
use crate::drivers::{console, semihosting};
use crate::firmware::fdt::{PsciMethod, Tree};
use crate::init::trace_file;
use crate::mm::ioremap::ioremap;
use core::fmt::{self, Write};
use core::hint::spin_loop;

/// PSCI's functions (Arm DEN 0022, 5.1.10 and 5.1.12), since version 0.2.
const SYSTEM_OFF: u32 = 0x8400_0008;
const SYSTEM_RESET: u32 = 0x8400_0009;

/// Reads of a counter that a machine has time for to go.
const PATIENCE: u32 = 1 << 26;

/// Asks the firmware; returns where there is none, or it does not do it.
fn psci(tree: &Tree<'_>, function: u32) {
    let Some(psci) = tree.psci().filter(|psci| psci.has_standard_functions()) else { return };
    let conduit = match psci.method() {
        Some(PsciMethod::Hvc) => Conduit::Hvc,
        Some(PsciMethod::Smc) => Conduit::Smc,
        None => return,
    };
    // SAFETY: it ends the machine, or does nothing.
    let _ = unsafe { smccc::call(conduit, function, [0; 3]) };
}

/// The Raspberry Pi's power management.
fn bcm2835_pm(tree: &Tree<'_>) -> Option<Bcm2835Pm> {
    let registers = PhysRange::from_size(tree.bcm2835_pm()?.start(), BYTES);
    let registers = ioremap(registers.start(), registers.len()).ok()?;
    let base = registers.virt();
    core::mem::forget(registers);
    // SAFETY: the device tree says that they are there; mapped for good, for this driver alone.
    unsafe { Bcm2835Pm::new(base) }
}

/// Gives a machine that is to go the time for it.
fn wait() {
    (0..PATIENCE).for_each(|_| spin_loop());
}

/// Writes the trace file and flushes the console before the machine powers off.
fn end() {
    trace_file::write();
    console::flush();
}

/// Resets the machine; returns where it can't be reset, and says so.
pub(super) fn reboot(tree: &Tree<'_>, out: &mut Screen) -> fmt::Result {
    writeln!(out, "reboot: restarting")?;
    end();
    psci(tree, SYSTEM_RESET);
    if let Some(pm) = bcm2835_pm(tree) {
        pm.reset();
        wait();
    }
    writeln!(out, "reboot: the device tree names neither a PSCI nor a watchdog that can do it")
}

/// Switches the machine off; returns where that can't be done, and says so.
pub(super) fn poweroff(tree: &Tree<'_>, out: &mut Screen) -> fmt::Result {
    writeln!(out, "poweroff: good bye")?;
    end();
    psci(tree, SYSTEM_OFF);
    semihosting::exit(0);
    if let Some(pm) = bcm2835_pm(tree) {
        pm.halt();
        wait();
    }
    writeln!(out, "poweroff: the device tree names neither a PSCI nor a watchdog that can do it")
}
