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

/// Saves what EL0 has in registers. The task is the current one, about to leave this CPU.
pub(crate) fn switch_out(thread: &ThreadInfo, irq: &IrqMasked) {
    fpsimd::save(thread, irq);
    thread.tls.save(irq);
}

/// Gives EL0 its registers back. The task is the current one, and has come to this CPU.
pub(crate) fn switch_in(thread: &ThreadInfo, irq: &IrqMasked) {
    fpsimd::switched_in(thread, irq);
    thread.tls.load(irq);
}

/// Clears what EL0 has in registers. The task is the current one, and a program begins (Linux:
/// flush_thread).
pub(crate) fn flush(thread: &ThreadInfo, irq: &IrqMasked) {
    fpsimd::flush(thread, irq);
    thread.tls.flush(irq);
}

/// Gives TPIDR_EL0 and TPIDRRO_EL0 of the current task values.
pub(super) fn set_tls((tpidr, tpidrro): (u64, u64), irq: &IrqMasked) {
    current_thread_info().tls.set(tpidr, tpidrro, irq);
}
