//! Steps of the boot that only translate: from the device tree to what the rooms want.

use super::start::Stop;
use crate::addr::{PhysAddr, VirtAddr};
use crate::arch::aarch64::fixmap;
use crate::drivers::console;
use crate::drivers::uart::Uart;
use crate::firmware::cmdline::CommandLine;
use crate::firmware::fdt::{Console, Tree, total_size};
use log::{info, warn};

/// Bytes of the largest header.
const HEADER: usize = 40;

/// Maps the device tree and checks it.
pub(super) fn device_tree(at: PhysAddr) -> Result<Tree<'static>, Stop> {
    let va = fixmap::map_fdt(at).ok_or(Stop::DeviceTreeAddress(at))?;
    let size = total_size(fdt_bytes(va, HEADER))?;
    Ok(Tree::new(fdt_bytes(va, size))?)
}

/// Bytes of the device tree's window.
fn fdt_bytes(va: VirtAddr, len: usize) -> &'static [u8] {
    // The tree is at most 2 MiB long (`MAX_SIZE`), so it ends in the window of 4 MiB.
    let ptr = core::ptr::with_exposed_provenance::<u8>(va.get());
    // SAFETY: mapped read-only by `map_fdt` for good; the boot protocol leaves the
    // tree alone after it was handed over.
    unsafe { core::slice::from_raw_parts(ptr, len) }
}

/// Makes the console of the device tree, or the semihosting host, the kernel's.
pub(super) fn console(tree: &Tree<'_>) {
    match tree.console() {
        Some(device) => match uart(&device) {
            Some(uart) => console::attach_uart(uart),
            None => warn!(
                "console: {} is none that this kernel drives, or is not there",
                device.node.name()
            ),
        },
        None => warn!("console: the device tree names none"),
    }
    console::attach_semihosting();
    if let Some(model) = tree.model() {
        info!("Machine model: {model}");
    }
}

fn uart(device: &Console<'_>) -> Option<Uart> {
    type Driver = unsafe fn(VirtAddr) -> Option<Uart>;
    let drivers: [(&str, Driver); 2] =
        [("arm,pl011", Uart::pl011), ("brcm,bcm2835-aux-uart", Uart::mini)];
    let (_, driver) = drivers.iter().find(|(compatible, _)| device.is(compatible))?;
    let base = fixmap::map_console(device.registers.start());
    // SAFETY: the device tree says that such registers are there; the fixmap keeps
    // them mapped as device memory, and nothing else uses them.
    unsafe { driver(base) }
}

/// The command line, as far as it is text.
pub(super) fn command_line(tree: &Tree<'static>) -> CommandLine<'static> {
    let text = tree.bootargs().map_or("", |bytes| bytes.valid_prefix());
    info!("Kernel command line: {text}");
    CommandLine::new(text)
}
