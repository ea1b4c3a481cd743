//! Lists of those who wait, linked through entries on their own stacks (Linux: struct
//! wait_queue_entry).
//!
//! The mechanism: an entry is on a list for as long as a closure runs, whose caller takes it
//! off again.

use super::current::current;
use super::task::Task;
use crate::arch::irq::with_masked;
use crate::sync::atomic::{AtomicU32, Ordering};
use crate::sync::{SpinGuard, SpinLock};
use core::cell::Cell;
use core::ptr::NonNull;

/// A list of entries, the first to come first.
pub struct WaitList {
    first: Option<NonNull<WaitEntry>>,
    last: Option<NonNull<WaitEntry>>,
}

// SAFETY: entries are used under the lock of their list alone, by any CPU.
unsafe impl Send for WaitList {}

/// The place of a task on a list. It is changed by the holder of the list's lock.
pub struct WaitEntry {
    task: NonNull<Task>,
    linked: Cell<bool>,
    /// True for one of several waiters of which a wake-up is for one (Linux: WQ_FLAG_EXCLUSIVE).
    exclusive: Cell<bool>,
    /// A wake-up for one waiter was for this one.
    woken: Cell<bool>,
    /// Not 0 once the task was handed what it waits for, and is on the list no more.
    granted: AtomicU32,
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

    /// Iterates over the entries, from the first.
    pub fn entries(&self) -> impl Iterator<Item = &WaitEntry> {
        let mut next = self.first;
        core::iter::from_fn(move || {
            // SAFETY: an entry stays where it is until it is taken off, and the list is borrowed.
            let entry = unsafe { next?.as_ref() };
            next = entry.next.get();
            Some(entry)
        })
    }

    /// Hands the first of those who wait what it waits for, and takes it off; its task is passed
    /// to `wake`.
    pub fn grant_first(&mut self, wake: impl FnOnce(&Task)) {
        let Some(first) = self.first else { return };
        self.unlink(first);
        // SAFETY: its task leaves `wait_on` under the lock of the list alone, which the caller has
        // borrowed for longer than this.
        let entry = unsafe { first.as_ref() };
        entry.granted.store(1, Ordering::Release);
        wake(entry.task());
    }

    fn link(&mut self, entry: NonNull<WaitEntry>, place: Place) {
        // SAFETY: `wait_on` keeps the entry until it is taken off.
        let at = unsafe { entry.as_ref() };
        if at.linked.replace(true) {
            return;
        }
        let (prev, next) = match place {
            Place::First => (None, self.first),
            Place::Last => (self.last, None),
        };
        at.prev.set(prev);
        at.next.set(next);
        match prev {
            // SAFETY: as above, of an entry on the list.
            Some(prev) => unsafe { prev.as_ref() }.next.set(Some(entry)),
            None => self.first = Some(entry),
        }
        match next {
            // SAFETY: as above, of an entry on the list.
            Some(next) => unsafe { next.as_ref() }.prev.set(Some(entry)),
            None => self.last = Some(entry),
        }
    }

    /// Takes an entry off. Returns true if it was on the list.
    fn unlink(&mut self, entry: NonNull<WaitEntry>) -> bool {
        // SAFETY: `wait_on` keeps the entry until it is taken off.
        let at = unsafe { entry.as_ref() };
        if !at.linked.replace(false) {
            return false;
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
        true
    }
}

/// End of a list at which an entry is put.
enum Place {
    First,
    Last,
}

impl WaitEntry {
    /// Returns the task that waits.
    pub fn task(&self) -> &Task {
        // SAFETY: a task that has an entry on its stack has not ended.
        unsafe { self.task.as_ref() }
    }

    /// Returns true if one wake-up is for one such waiter.
    pub fn is_exclusive(&self) -> bool {
        self.exclusive.get()
    }

    /// Notes that a wake-up for one waiter was for this one.
    pub fn note_woken(&self) {
        self.woken.set(true);
    }
}

/// The current task as one that waits, by an entry on its stack.
pub struct Waiter<'a> {
    list: &'a SpinLock<WaitList>,
    entry: NonNull<WaitEntry>,
}

impl Waiter<'_> {
    fn entry(&self) -> &WaitEntry {
        // SAFETY: `wait_on` keeps it while there is a waiter.
        unsafe { self.entry.as_ref() }
    }

    /// Puts the task on the list, where it is not there already: before all others, or behind all
    /// others if it is `exclusive`. So a wake-up for one finds those first that it wakes in any
    /// case (Linux: prepare_to_wait, prepare_to_wait_exclusive).
    pub fn prepare(&self, exclusive: bool) {
        let place = if exclusive { Place::Last } else { Place::First };
        with_masked(|irq| {
            let mut list = self.list.lock(irq);
            self.entry().exclusive.set(exclusive);
            self.entry().woken.set(false);
            list.link(self.entry, place);
        });
    }

    /// Puts the task behind all others on the list, which the caller has locked.
    pub fn enqueue(&self, list: &mut SpinGuard<'_, WaitList>, exclusive: bool) {
        self.assert_on(list);
        self.entry().granted.store(0, Ordering::Relaxed);
        self.entry().exclusive.set(exclusive);
        list.link(self.entry, Place::Last);
    }

    /// Takes the task off the list, which the caller has locked. Returns true if it was there.
    pub fn dequeue(&self, list: &mut SpinGuard<'_, WaitList>) -> bool {
        self.assert_on(list);
        list.unlink(self.entry)
    }

    /// Takes the task off the list. Returns true if a wake-up for one was for it since it was put
    /// there (Linux: finish_wait).
    pub fn finish(&self) -> bool {
        with_masked(|irq| {
            self.list.lock(irq).unlink(self.entry);
            self.entry().woken.replace(false)
        })
    }

    /// Returns true once the task was handed what it waits for. The caller sees what was done
    /// before.
    pub fn is_granted(&self) -> bool {
        self.entry().granted.load(Ordering::Acquire) != 0
    }

    fn assert_on(&self, list: &SpinGuard<'_, WaitList>) {
        assert!(list.is_of(self.list), "a waiter of another list");
    }
}

/// Runs `f` with the current task as a waiter, which is not on `list` yet. Afterwards it is on it
/// no longer, whichever way `f` ends.
pub fn wait_on<R>(list: &SpinLock<WaitList>, f: impl FnOnce(&Waiter<'_>) -> R) -> R {
    struct Unlink<'a, 'b>(&'a Waiter<'b>);
    impl Drop for Unlink<'_, '_> {
        fn drop(&mut self) {
            self.0.finish();
        }
    }
    let task = current();
    let entry = WaitEntry {
        task: NonNull::from(&*task),
        linked: Cell::new(false),
        exclusive: Cell::new(false),
        woken: Cell::new(false),
        granted: AtomicU32::new(0),
        next: Cell::new(None),
        prev: Cell::new(None),
    };
    let waiter = Waiter { list, entry: NonNull::from(&entry) };
    let _unlink = Unlink(&waiter);
    f(&waiter)
}
