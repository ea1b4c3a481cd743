//! The registers of EL0 that a switch of tasks saves and loads, and no exception does (Linux:
//! __switch_to, arch/arm64/kernel/process.c).
//!
//! For tasks with users' memory alone: the others never reach EL0, and leave all of that as it is.

use super::{cpu, fpsimd};
use crate::arch::IrqMasked;
use crate::arch::thread_info::ThreadInfo;

/// Returns what `arch` has of the current task (Linux: current_thread_info).
#[inline(always)]
pub(super) fn current_thread_info<'a>() -> &'a ThreadInfo {
    // SAFETY: a task begins with it (`sched::Task`), and is there while it runs, for all of its own
    // code.
    unsafe { cpu::current_task().cast().as_ref() }
}

/// Saves the registers of EL0 of the current task, before it leaves this CPU.
pub(crate) fn switch_out(irq: &IrqMasked) {
    fpsimd::save(irq);
    current_thread_info().tls.save(irq);
}

/// Gives EL0 the registers of the current task, after it has come to this CPU.
pub(crate) fn switch_in(irq: &IrqMasked) {
    fpsimd::switched_in(irq);
    current_thread_info().tls.load(irq);
}

/// Clears the registers of EL0 of the current task, for a program that begins (Linux:
/// flush_thread).
pub(crate) fn flush(irq: &IrqMasked) {
    fpsimd::flush(irq);
    current_thread_info().tls.flush(irq);
}

/// Gives TPIDR_EL0 and TPIDRRO_EL0 of the current task values.
pub(super) fn set_tls((tpidr, tpidrro): (u64, u64), irq: &IrqMasked) {
    current_thread_info().tls.set(tpidr, tpidrro, irq);
}
