//! The current task of a hosted CPU: each thread of the host is one.

use crate::arch::CpuId;
use crate::arch::cpumask::CpuMask;
use crate::sched::task::Task;
use crate::sched::task_ref::{TaskMemory, TaskRef, pointer};
use core::cell::Cell;
use core::ptr::NonNull;
use std::boxed::Box;

/// Memory of the host for a task.
pub(in crate::sched) fn memory() -> TaskMemory {
    let at = Box::leak(Box::<Task>::new_uninit());
    let release = |task: NonNull<Task>| {
        // SAFETY: from the box above, and without a task in it.
        drop(unsafe { Box::from_raw(task.cast::<core::mem::MaybeUninit<Task>>().as_ptr()) });
    };
    // SAFETY: the box is nobody else's.
    unsafe { TaskMemory::new(NonNull::from(at).cast(), release) }
}

struct Own(TaskRef);

impl Drop for Own {
    fn drop(&mut self) {
        CURRENT.set(None);
    }
}

std::thread_local! {
    static CURRENT: Cell<Option<NonNull<Task>>> = const { Cell::new(None) };
    static OWN: Own = Own(init_task());
}

/// A task for a thread of the host.
pub fn init_task() -> TaskRef {
    memory().write(Task::new("host", CpuId::BOOT, CpuMask::ALL, |_| {}))
}

pub fn get() -> NonNull<Task> {
    if let Some(task) = CURRENT.get() {
        return task;
    }
    // At the thread's very end its own is gone: what runs then has one that stays.
    let task = OWN.try_with(|own| pointer(&own.0));
    let task = task.unwrap_or_else(|_| init_task().into_raw());
    CURRENT.set(Some(task));
    task
}
