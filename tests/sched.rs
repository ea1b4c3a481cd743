//! Kernel threads: on all cores, woken from interrupts and across cores, ended and counted.

#![no_std]
#![no_main]

#[path = "sched/life.rs"]
mod life;
#[path = "sched/placement.rs"]
mod placement;
#[path = "sched/switching.rs"]
mod switching;
#[path = "sched/waits.rs"]
mod waits;

mod harness;

extern crate alloc;

use granule::arch::irq::with_masked;
use granule::arch::{CpuId, cpu};
use granule::mm::kthread::kthread_create_on_cpu;
use granule::sched::KThread;

fn this_cpu() -> CpuId {
    with_masked(cpu::id)
}

/// A thread that is awake.
fn run_on(name: &str, cpu: CpuId, f: impl FnOnce() -> i32 + Send + 'static) -> KThread {
    let thread = kthread_create_on_cpu(name, cpu, f).expect("a thread");
    assert!(thread.wake_up(), "it was awake before it ran");
    thread
}

test_modules! { switching, waits, life, placement }
