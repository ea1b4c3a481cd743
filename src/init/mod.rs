//! The boot, top to bottom, as in Linux's init/main.c; and what the kernel does when
//! it can't go on.

#[cfg(any(target_os = "none", test))]
mod cores;
#[cfg(target_os = "none")]
mod fault;
#[cfg(target_os = "none")]
pub mod fragment;
#[cfg(target_os = "none")]
mod initrd;
#[cfg(target_os = "none")]
pub mod interrupts;
#[cfg(target_os = "none")]
mod irq;
#[cfg(any(target_os = "none", test))]
mod kallsyms;
#[cfg(target_os = "none")]
pub mod lkdtm;
#[cfg(target_os = "none")]
mod mm;
#[cfg(target_os = "none")]
mod numa;
#[cfg(target_os = "none")]
mod paging;
#[cfg(target_os = "none")]
mod panic;
#[cfg(target_os = "none")]
mod progress;
#[cfg(target_os = "none")]
mod redistributors;
#[cfg(target_os = "none")]
pub mod report;
#[cfg(target_os = "none")]
pub mod rtc;
#[cfg(target_os = "none")]
pub mod secondary;
#[cfg(target_os = "none")]
mod setup;
#[cfg(target_os = "none")]
pub mod snapshot;
#[cfg(target_os = "none")]
mod start;
#[cfg(target_os = "none")]
mod steps;
#[cfg(target_os = "none")]
pub(crate) mod trace_file;

#[cfg(target_os = "none")]
pub use initrd::populate_rootfs;
#[cfg(target_os = "none")]
pub use start::{Boot, Stop};
