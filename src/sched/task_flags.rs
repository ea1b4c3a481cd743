//! Flags of each thread for memory management (Linux: the PF_MEMALLOC* of task_struct.flags, and
//! task_struct.mems_allowed).
//!
//! Only the thread itself reads and writes its word. It is 0 when the thread starts.
#![deny(unsafe_code)]

use super::current;
use super::task::{NR_THREADS, Slot};
use crate::arch::irq::with_masked;
use crate::arch::{NR_CPUS, cpu};
use crate::machine_local;
use core::sync::atomic::AtomicU32;

machine_local! {
    static WORDS: [[AtomicU32; NR_THREADS]; NR_CPUS] =
        [const { [const { AtomicU32::new(0) }; NR_THREADS] }; NR_CPUS];
}

/// The calling thread's flags; on a CPU that has no threads, the CPU's. In an interrupt handler
/// they are those of the thread that was interrupted.
#[must_use]
pub fn task_flags() -> &'static AtomicU32 {
    let (cpu, slot) = match current() {
        Some(thread) => (thread.cpu, thread.slot),
        None => (with_masked(cpu::id), Slot::FIRST),
    };
    &WORDS[cpu.index()][slot.index()]
}
