//! The current task at EL1: SP_EL0.

use crate::arch::cpumask::CpuMask;
use crate::arch::{CpuId, cpu};
use crate::sched::task::Task;
use crate::sched::task_ref::TaskRef;
use core::ptr::NonNull;

/// The task of the boot (Linux: init_task). It stays on the boot CPU, which alone does some of the
/// boot's work. head.S puts its address into SP_EL0.
#[unsafe(no_mangle)]
static INIT_TASK: Task = Task::new("init", CpuId::BOOT, CpuMask::of(CpuId::BOOT), |_| {}, |_| {});

/// The boot's task.
pub fn init_task() -> TaskRef {
    INIT_TASK.get()
}

#[inline(always)]
pub fn get() -> NonNull<Task> {
    cpu::current_task().cast()
}

/// Makes the running code the task `task`, for good.
pub fn set_current(task: TaskRef) {
    // SAFETY: the reference is kept, so the task stays.
    unsafe { cpu::set_current_task(task.into_raw().cast()) };
}
