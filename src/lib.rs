//! Granule: the memory subsystem of an AArch64 kernel.
//!
//! The rooms, from the top down; imports point down this list and never up:
//!
//! | room | what it is |
//! | --- | --- |
//! | [`monitor`] | the prompt on the console |
//! | [`init`] | the boot |
//! | [`user`] | programs at EL0 |
//! | [`fs`] | the files of `/proc` and `/sys`, under Linux's names |
//! | [`workload`] | an ageing trace, for benchmarks and tests |
//! | [`trace`], [`dma`], [`reserved_mem`], [`resource`], [`memremap`] | what Linux keeps beside mm: kernel/trace, kernel/dma, drivers/of/of_reserved_mem.c, kernel/resource.c, kernel/iomem.c |
//! | [`mm`] | memory management, on floors of its own |
//! | `collections`, [`fault_inject`] | what Linux has in lib/: trees, slots, bitmaps; failures on purpose |
//! | [`firmware`] | device tree and command line: untrusted bytes in, plain values out |
//! | [`sched`] | kernel threads |
//! | [`time`] | the clocks |
//! | [`drivers`] | devices |
//! | [`sync`], [`percpu`] | locks and per-CPU data |
//! | [`arch`] | what the CPU does |
//! | [`addr`], [`errno`], [`prandom`], [`utsname`] | the address types; error numbers; numbers that repeat; the name of the system |

#![no_std]

#[cfg(not(target_os = "none"))]
extern crate std;

extern crate alloc;

pub mod addr;
pub mod arch;
pub(crate) mod collections;
pub mod dma;
pub mod drivers;
pub mod errno;
pub mod fault_inject;
pub mod firmware;
pub mod fs;
pub mod init;
pub mod memremap;
pub mod mm;
pub mod monitor;
pub mod percpu;
pub mod prandom;
pub mod reserved_mem;
pub mod resource;
pub mod sched;
pub mod sync;
pub mod time;
pub mod trace;
pub mod user;
pub mod utsname;
pub mod workload;

#[cfg(test)]
mod tests;

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

/// Declares statics of which each CPU has one (Linux: DEFINE_PER_CPU): [`percpu::PerCpu`]. The
/// initialiser is a constant expression.
#[macro_export]
macro_rules! per_cpu {
    ($($(#[$meta:meta])* $vis:vis static $name:ident: $ty:ty = $init:expr;)*) => {$(
        $(#[$meta])*
        #[cfg(target_os = "none")]
        #[allow(unsafe_code, reason = "the section is what PerCpu asks for")]
        #[unsafe(link_section = ".percpu")]
        $vis static $name: $crate::percpu::PerCpu<$ty> = {
            let value: $ty = $init;
            // SAFETY: a static of that section.
            unsafe { $crate::percpu::PerCpu::new(value) }
        };
        $(#[$meta])*
        #[cfg(not(target_os = "none"))]
        $vis static $name: $crate::arch::MachineLocal<$crate::percpu::PerCpu<$ty>> = {
            fn init() -> $crate::percpu::PerCpu<$ty> {
                $crate::percpu::PerCpu::new([const { $init }; $crate::arch::NR_CPUS])
            }
            $crate::arch::MachineLocal::new(init)
        };
    )*};
}

/// Turns an owner of a `T` into an owner of a type that `T` coerces to:
/// `unsize!(KArc, arc => dyn Trait)` and `unsize!(KBox, owner => dyn Trait)`.
#[macro_export]
macro_rules! unsize {
    (KArc, $from:expr => $to:ty) => {{
        let at = $crate::mm::alloc::KArc::into_raw($from);
        // The compiler checks this coercion as that of any pointer.
        let at: ::core::ptr::NonNull<$crate::mm::alloc::KArcInner<$to>> = at;
        // SAFETY: it has just been given up, and is taken back once.
        #[allow(unsafe_code, reason = "sound for any arguments: the pointer is the macro's own")]
        let owner = unsafe { $crate::mm::alloc::KArc::from_raw(at) };
        owner
    }};
    (KBox, $from:expr => $to:ty) => {{
        let at = $crate::mm::alloc::KBox::into_raw($from);
        let at: ::core::ptr::NonNull<$to> = at;
        // SAFETY: as above.
        #[allow(unsafe_code, reason = "sound for any arguments: the pointer is the macro's own")]
        let owner: $crate::mm::alloc::KBox<$to> = unsafe { $crate::mm::alloc::KBox::from_raw(at) };
        owner
    }};
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
