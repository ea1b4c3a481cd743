//! Granule: the memory subsystem of an AArch64 kernel.
//!
//! The rooms, from the top down; imports point down this list and never up:
//! [`monitor`] is the prompt on the console, [`init`] boots, [`fs`] shows what `mm` says of itself as the files that Linux has, [`mm`] is
//! everything hardware-independent, [`firmware`] reads untrusted bytes, [`sched`] runs kernel threads, [`drivers`] speak to devices, [`sync`]
//! and [`percpu`] are locks and per-CPU data, [`arch`] is what the CPU does, [`addr`] are
//! the address types.

#![no_std]

#[cfg(not(target_os = "none"))]
extern crate std;

extern crate alloc;

pub mod addr;
pub mod arch;
pub mod drivers;
pub mod firmware;
pub mod fs;
pub mod init;
pub mod mm;
pub mod monitor;
pub mod percpu;
pub mod sched;
pub mod sync;

/// Declares statics that exist once per machine: plain statics on bare metal, one
/// instance per emulated machine on a host. The initialiser is a constant expression.
#[macro_export]
macro_rules! machine_local {
    ($($(#[$meta:meta])* $vis:vis static $name:ident: $ty:ty = $init:expr;)*) => {$(
        $(#[$meta])*
        #[cfg(target_os = "none")]
        $vis static $name: $crate::arch::MachineLocal<$ty> =
            $crate::arch::MachineLocal::new($init);
        $(#[$meta])*
        #[cfg(not(target_os = "none"))]
        $vis static $name: $crate::arch::MachineLocal<$ty> = {
            fn init() -> $ty {
                $init
            }
            $crate::arch::MachineLocal::new(init)
        };
    )*};
}

/// Defines the main function of a kernel image: `fn(&Boot) -> u8`, which runs when
/// the boot is done and gives the exit code.
#[macro_export]
macro_rules! kernel_main {
    ($main:path) => {
        #[unsafe(no_mangle)]
        fn granule_main(boot: &$crate::init::Boot) -> u8 {
            let main: fn(&$crate::init::Boot) -> u8 = $main;
            main(boot)
        }
    };
}
