//! `start_kernel`: from the first instruction in the high half to a running kernel.

use super::panic;
use crate::addr::PhysAddr;
use crate::arch::aarch64::{self as arch, exception, features};
use crate::drivers::console;
use log::info;

/// What the boot hands to the kernel's main function.
pub struct Boot {
    /// The exception level that the boot loader entered at.
    pub entry_level: u8,
}

unsafe extern "Rust" {
    /// The image's main function, defined by `kernel_main!`.
    safe fn granule_main(boot: &Boot) -> u8;
}

/// head.S comes here with the MMU on, on the boot stack, with .bss cleared.
///
/// # Safety
/// For head.S alone, once.
#[unsafe(no_mangle)]
unsafe extern "C" fn start_kernel(dtb: u64, image: u64, entry_level: u64) -> ! {
    arch::init(PhysAddr::new(image));
    exception::set_fatal_handler(panic::fatal_exception);
    console::init();
    console::attach_semihosting();
    info!(
        "Granule on {}, entered at EL{entry_level}, dtb {dtb:#x}",
        features::cpu_name()
    );
    info!("features {:?}", features::features());
    let boot = Boot {
        entry_level: entry_level as u8,
    };
    panic::end(granule_main(&boot))
}
