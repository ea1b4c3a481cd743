//! Lists of those who wait, linked through entries on their own stacks (Linux: struct
//! wait_queue_entry).
//!
//! The mechanism: an entry is on a list for as long as a closure runs, whose caller takes it
//! off again.

use super::current::current;
use super::task::Task;
use crate::arch::irq::with_masked;
use crate::sync::SpinLock;
use core::cell::Cell;
use core::ptr::NonNull;

/// A list of entries, the first to come first.
pub struct WaitList {
    first: Option<NonNull<WaitEntry>>,
    last: Option<NonNull<WaitEntry>>,
}

// SAFETY: entries are used under the lock of their list alone, by any CPU.
unsafe impl Send for WaitList {}

/// The place of a task on a list.
pub struct WaitEntry {
    task: NonNull<Task>,
    linked: Cell<bool>,
    next: Cell<Option<NonNull<WaitEntry>>>,
    prev: Cell<Option<NonNull<WaitEntry>>>,
}

impl WaitList {
    /// An empty list.
    pub const fn new() -> Self {
        Self { first: None, last: None }
    }

    /// Returns true if nobody waits.
    pub fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// Iterates over the tasks that wait.
    pub fn tasks(&self) -> impl Iterator<Item = &Task> {
        let mut next = self.first;
        core::iter::from_fn(move || {
            // SAFETY: an entry stays where it is until it is taken off, and the list is borrowed.
            let entry = unsafe { next?.as_ref() };
            next = entry.next.get();
            // SAFETY: a task that has an entry on its stack has not ended.
            Some(unsafe { entry.task.as_ref() })
        })
    }

    fn link(&mut self, entry: NonNull<WaitEntry>) {
        // SAFETY: `wait_on` keeps the entry until it is taken off.
        let at = unsafe { entry.as_ref() };
        if at.linked.replace(true) {
            return;
        }
        at.prev.set(self.last);
        at.next.set(None);
        match self.last {
            // SAFETY: as above, of an entry on the list.
            Some(last) => unsafe { last.as_ref() }.next.set(Some(entry)),
            None => self.first = Some(entry),
        }
        self.last = Some(entry);
    }

    fn unlink(&mut self, entry: NonNull<WaitEntry>) {
        // SAFETY: `wait_on` keeps the entry until it is taken off.
        let at = unsafe { entry.as_ref() };
        if !at.linked.replace(false) {
            return;
        }
        let (prev, next) = (at.prev.get(), at.next.get());
        match prev {
            // SAFETY: as above, of an entry on the list.
            Some(prev) => unsafe { prev.as_ref() }.next.set(next),
            None => self.first = next,
        }
        match next {
            // SAFETY: as above, of an entry on the list.
            Some(next) => unsafe { next.as_ref() }.prev.set(prev),
            None => self.last = prev,
        }
    }
}

/// Runs `f` with a function that puts the current task on `list`, where it is not there already.
/// Afterwards it is on it no longer, whichever way `f` ends.
pub fn wait_on<R>(list: &SpinLock<WaitList>, f: impl FnOnce(&dyn Fn()) -> R) -> R {
    struct Unlink<'a>(&'a SpinLock<WaitList>, NonNull<WaitEntry>);
    impl Drop for Unlink<'_> {
        fn drop(&mut self) {
            with_masked(|irq| self.0.lock(irq).unlink(self.1));
        }
    }
    let task = current();
    let entry = WaitEntry {
        task: NonNull::from(&*task),
        linked: Cell::new(false),
        next: Cell::new(None),
        prev: Cell::new(None),
    };
    let unlink = Unlink(list, NonNull::from(&entry));
    f(&|| with_masked(|irq| list.lock(irq).link(unlink.1)))
}
