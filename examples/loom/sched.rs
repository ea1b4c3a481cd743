//! The kernel's tasks, run queue and wait queue, on a CPU of `shim`.

#[path = "../../src/sched/fair.rs"]
mod fair;
#[path = "../../src/sched/held.rs"]
pub mod held;
#[path = "../../src/sched/rq.rs"]
pub mod rq;
#[path = "../../src/sched/rwsem/mod.rs"]
pub mod rwsem;
#[path = "../../src/sched/signal.rs"]
pub mod signal;
#[allow(clippy::enum_variant_names, reason = "in the library the enumeration is public")]
#[path = "../../src/sched/task.rs"]
pub mod task;
#[path = "../../src/sched/task_list.rs"]
pub mod task_list;
#[path = "../../src/sched/task_ref.rs"]
pub mod task_ref;
#[path = "../../src/sched/wait.rs"]
pub mod wait;
#[path = "../../src/sched/wait_list.rs"]
pub mod wait_list;
pub use crate::shim::sched::{
    cond_resched, has_threads, may_sleep, might_sleep, schedule, schedule_timeout,
    set_current_state, should_stop, wake_up_state,
};

pub use wait::{Interrupted, WaitQueue};

use crate::arch::CpuId;
use crate::arch::cpumask::CpuMask;
use loom::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::ptr::NonNull;
use task::Task;
use task_ref::{TaskMemory, TaskRef};

pub mod current {
    pub use crate::shim::sched::current;
}

/// A task, and beside it a word that loom watches.
#[repr(C)]
struct Watched {
    task: MaybeUninit<Task>,
    word: UnsafeCell<u32>,
}

/// A task that no CPU has yet.
pub fn task(name: &str) -> TaskRef {
    let at = Box::leak(Box::new(Watched { task: MaybeUninit::uninit(), word: UnsafeCell::new(0) }));
    let release = |task: NonNull<Task>| {
        // SAFETY: from the box, of which the task is the first field.
        let watched = unsafe { Box::from_raw(task.cast::<Watched>().as_ptr()) };
        // SAFETY: loom checks that what others did there comes before.
        watched.word.with_mut(|word| unsafe { *word += 1 });
    };
    // SAFETY: the box is nobody else's.
    let memory = unsafe { TaskMemory::new(NonNull::from(at).cast(), release) };
    let task = memory.write(Task::new(name, CpuId::BOOT, CpuMask::ALL, |_| {}));
    // The word of the count is made here, before there is a second CPU.
    drop(task.get());
    task
}

/// Reads the word beside a task.
pub fn look_beside(task: &TaskRef) {
    let at = NonNull::from(&**task).addr().get();
    let watched = std::ptr::with_exposed_provenance::<Watched>(at);
    // SAFETY: all tasks here are made by `task`, and this one has a reference.
    unsafe { &*watched }.word.with(|word| assert_eq!(unsafe { *word }, 0));
}
