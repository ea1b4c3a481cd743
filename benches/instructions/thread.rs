//! Threads.

use crate::harness::Bench;
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use granule::arch::CpuId;
use granule::mm::kthread::kthread_create_on_cpu;
use granule::sched::schedule;

/// Switches from one thread to another; every other operation is the way back, which is counted
/// with it.
pub fn run(bench: &Bench) {
    static STOP: AtomicBool = AtomicBool::new(false);
    let other = kthread_create_on_cpu("other", CpuId::BOOT, || {
        while !STOP.load(Relaxed) {
            schedule();
        }
        0
    });
    let Ok(other) = other else { return };
    other.wake_up();
    let mut turn = false;
    bench.pair("thread_switch", || {
        turn = !turn;
        if turn {
            schedule();
        }
    });
    STOP.store(true, Relaxed);
    other.join();
}
