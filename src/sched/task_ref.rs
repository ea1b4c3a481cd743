//! Counted references to tasks (Linux: get_task_struct, put_task_struct).
//!
//! The mechanism: it reaches tasks by their addresses.

use super::task::Task;
use crate::sync::atomic::{Ordering, fence};
use core::fmt;
use core::ops::Deref;
use core::ptr::NonNull;

/// Function that takes the memory of a task back.
pub type ReleaseTask = unsafe fn(NonNull<Task>);

/// Memory for a task, without one. Dropped, it goes back.
pub struct TaskMemory {
    at: NonNull<Task>,
    release: ReleaseTask,
}

// SAFETY: it owns the memory, and `release` may be called by any CPU.
unsafe impl Send for TaskMemory {}

impl TaskMemory {
    /// # Safety
    /// `at` is memory for a task that nobody else uses, until `release` gets it, in any context.
    #[must_use]
    pub unsafe fn new(at: NonNull<Task>, release: ReleaseTask) -> Self {
        Self { at, release }
    }

    /// Moves a task of one reference there.
    pub(super) fn write(self, mut task: Task) -> TaskRef {
        task.release = self.release;
        let at = core::mem::ManuallyDrop::new(self).at;
        // SAFETY: the memory is this value's own (`new`).
        unsafe { at.write(task) };
        // For `pointer`.
        at.as_ptr().expose_provenance();
        TaskRef(at)
    }
}

impl Drop for TaskMemory {
    fn drop(&mut self) {
        // SAFETY: the memory is this value's own, and `write` has not taken it.
        unsafe { (self.release)(self.at) };
    }
}

/// A counted reference to a task: the task's memory stays while there is one.
#[repr(transparent)]
pub struct TaskRef(NonNull<Task>);

// SAFETY: tasks are shared by all CPUs, and the last reference may go on any of them.
unsafe impl Send for TaskRef {}
// SAFETY: as above.
unsafe impl Sync for TaskRef {}

/// References that are one too many: a count that leaks ends the kernel before it wraps.
const MAX: u32 = u32::MAX / 2;

impl TaskRef {
    /// Returns the reference as a pointer, which keeps it.
    pub(super) fn into_raw(self) -> NonNull<Task> {
        core::mem::ManuallyDrop::new(self).0
    }

    /// Takes the reference back that a pointer keeps.
    ///
    /// # Safety
    /// The pointer came from [`TaskRef::into_raw`], and is taken back once.
    pub(super) unsafe fn from_raw(task: NonNull<Task>) -> Self {
        Self(task)
    }
}

/// The pointer to a task by which its memory can be given back, which one from a borrow can't.
pub(super) fn pointer(task: &Task) -> NonNull<Task> {
    let address = core::ptr::from_ref(task).addr();
    NonNull::new(core::ptr::with_exposed_provenance_mut(address)).expect("the address of a borrow")
}

impl Task {
    /// Returns a further reference to the task. Any context (Linux: get_task_struct).
    ///
    /// # Panics
    /// There are as many as can be counted.
    #[must_use]
    pub fn get(&self) -> TaskRef {
        let before = self.usage.fetch_add(1, Ordering::Relaxed);
        assert!(before < MAX && before != 0, "{self:?}: {before} references");
        TaskRef(pointer(self))
    }
}

impl Clone for TaskRef {
    fn clone(&self) -> Self {
        self.get()
    }
}

impl Deref for TaskRef {
    type Target = Task;
    #[inline(always)]
    fn deref(&self) -> &Task {
        // SAFETY: the task is there while it has a reference, which this is.
        unsafe { self.0.as_ref() }
    }
}

impl Drop for TaskRef {
    fn drop(&mut self) {
        if self.usage.fetch_sub(1, Ordering::Release) != 1 {
            return;
        }
        // All that was done by others comes before its end.
        fence(Ordering::Acquire);
        let release = self.release;
        // SAFETY: this was the last reference, and the memory is as `TaskMemory::new` got it.
        unsafe {
            self.0.drop_in_place();
            release(self.0);
        }
    }
}

impl PartialEq for TaskRef {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Eq for TaskRef {}

impl fmt::Debug for TaskRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
