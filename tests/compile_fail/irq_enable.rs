//! `irq::enable`: within `with_masked` it would break the proof that interrupts are masked, and tear a `PerCpu<Cell>`.
#![no_std]
#![forbid(unsafe_code)]

use core::cell::Cell;
use granule::arch::irq::{enable, with_masked};
use granule::percpu::PerCpu;

pub fn unmask_inside(count: &PerCpu<Cell<[u64; 8]>>) {
    with_masked(|irq| {
        let own = count.get(irq);
        enable(); //~ E0133
        own.set([1; 8]);
    });
}
