//! `IrqMasked`: the proof that interrupts are masked can't be made, nor taken out of its closure.
#![no_std]
#![forbid(unsafe_code)]

use granule::arch::IrqMasked;
use granule::arch::irq::with_masked;

pub fn forge() {
    let _masked = with_masked(|irq: &IrqMasked| core::ptr::from_ref(irq));
    let _forged = IrqMasked::assume(); //~ E0624
}
