//! Name of the system as programs see it (Linux: init/version.c, include/linux/utsname.h).
//!
//! Programs ask for Linux, so that is the name; the release is that of the Linux whose behaviour
//! Granule has, and the version says that it is Granule.
#![deny(unsafe_code)]

/// Name of the system (Linux: UTS_SYSNAME).
pub const SYSNAME: &str = "Linux";
/// Linux's release whose behaviour programs find. Programs compare its numbers.
pub const RELEASE: &str = "6.12.0-granule";
/// Version of the build.
pub const VERSION: &str = concat!("#1 SMP Granule ", env!("CARGO_PKG_VERSION"));
/// Kind of the machine (Linux: UTS_MACHINE).
pub const MACHINE: &str = "aarch64";
/// Name of the machine among others, as long as nobody sets one.
pub const NODENAME: &str = "(none)";
/// Domain of the machine, as long as nobody sets one.
pub const DOMAINNAME: &str = "(none)";
