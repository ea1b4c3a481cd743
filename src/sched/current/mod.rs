//! The task that runs here (Linux: arch/arm64/include/asm/current.h).
//!
//! The mechanism: SP_EL0 holds the address of the task while the CPU is at EL1, from the first
//! instruction of the kernel's own map on (head.S). The switch of tasks changes it with the
//! stack. A CPU that has just come up is in `INIT_TASK` until it is told its own.

use crate::sched::task::{Comm, Life, Task};
use core::marker::PhantomData;
use core::ops::Deref;
use core::ptr::NonNull;

#[cfg(target_os = "none")]
#[path = "el1.rs"]
mod place;
#[cfg(not(target_os = "none"))]
#[path = "hosted.rs"]
mod place;

#[cfg(target_os = "none")]
pub(super) use place::init_task;
#[cfg(all(test, not(target_os = "none")))]
pub(super) use place::memory;
#[cfg(target_os = "none")]
pub(crate) use place::set_current;

/// The task that runs here. It stays with that task: it can't be given to another.
pub struct CurrentTask {
    task: NonNull<Task>,
    of_this_task: PhantomData<*mut ()>,
}

impl Deref for CurrentTask {
    type Target = Task;
    #[inline(always)]
    fn deref(&self) -> &Task {
        // SAFETY: a task is there while it runs, and no other task gets this value.
        unsafe { self.task.as_ref() }
    }
}

/// Returns the task that runs here; in an interrupt handler, the one that was interrupted. Any
/// context.
#[must_use]
#[inline(always)]
pub fn current() -> CurrentTask {
    CurrentTask { task: place::get(), of_this_task: PhantomData }
}

/// Returns the name of the task that runs here; `None` before the CPU has tasks.
#[must_use]
pub fn current_comm() -> Option<Comm> {
    let current = current();
    (current.life() != Life::New).then(|| current.comm())
}
