//! Devices: the console's UART and what is typed there, the log, the interrupt controller, the
//! real-time clock, the semihosting host.

#[cfg(target_os = "none")]
pub mod console;
#[cfg(any(target_os = "none", test))]
mod dmesg;
#[cfg(target_os = "none")]
pub(crate) mod irqchip;
#[cfg(target_os = "none")]
mod mmio;
#[cfg(target_os = "none")]
pub mod power;
#[cfg(target_os = "none")]
mod primecell;
#[cfg(any(target_os = "none", test))]
pub mod random;
#[cfg(target_os = "none")]
pub mod rtc;
#[cfg(target_os = "none")]
pub mod semihosting;
#[cfg(any(target_os = "none", test))]
mod typed;
#[cfg(target_os = "none")]
pub mod uart;
