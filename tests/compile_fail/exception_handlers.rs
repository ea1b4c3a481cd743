//! `exception::set_irq_handler`, `set_fault_handler` and `set_fatal_handler`: a handler that does nothing hangs the machine.
#![no_std]
#![forbid(unsafe_code)]

use granule::arch::exception;

pub fn replace() {
    exception::set_irq_handler(|| {}); //~ E0133 E0603
    exception::set_fault_handler(|_| true); //~ E0133 E0603
    exception::set_fatal_handler(|_, _| loop {}); //~ E0133 E0603
}
