//! Devices: the console's UART and the semihosting host.

pub mod console;
pub mod irqchip;
mod mmio;
pub mod semihosting;
pub mod uart;
