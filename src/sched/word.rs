//! A word of each thread that is memory management's (Linux: task_struct.flags, as far as
//! PF_MEMALLOC and its like, and task_struct.mems_allowed).
//!
//! Only its thread reads and writes it. Zero at a thread's start.
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

/// The calling thread's word; on a CPU that has no threads, the CPU's. In an interrupt
/// handler it is that of the thread that was interrupted.
#[must_use]
pub fn mm_word() -> &'static AtomicU32 {
    let (cpu, slot) = match current() {
        Some(thread) => (thread.cpu, thread.slot),
        None => (with_masked(cpu::id), Slot::FIRST),
    };
    &WORDS[cpu.index()][slot.index()]
}
