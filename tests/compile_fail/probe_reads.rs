//! Reads of any address, which another thread may be writing, are for reports of the kernel alone.
#![no_std]
#![forbid(unsafe_code)]

use granule::addr::VirtAddr;
use granule::arch::irq::with_masked;

pub fn peek(at: VirtAddr) {
    with_masked(|irq| {
        let _mapped = granule::arch::is_mapped(at, irq);
        let _word = granule::arch::probe::read_u64(at, irq); //~ E0603
    });
}
