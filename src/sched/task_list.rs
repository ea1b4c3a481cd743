//! Lists of tasks that are linked through themselves (Linux: struct list_head in task_struct).
//!
//! The mechanism: a list owns a reference for each task on it. A list has a number that no
//! other has ever had, and a task knows the number of the list that it is on. So a list reaches
//! only links that are its own, whatever tasks it is asked about.

use super::task::Task;
use super::task_ref::{TaskRef, pointer};
use core::cell::Cell;
use core::marker::PhantomData;
use core::ptr::NonNull;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};

/// Lists by which the scheduler finds a task: of those that are ready, and of those that sleep
/// until a time. A task is on one of them at most.
pub type SchedList = TaskList<0>;
/// Lists by which tasks are found by their pids.
pub type PidList = TaskList<1>;

/// A task's place on a list of one kind.
pub struct Links {
    /// The number of the list, 0 for none.
    list: AtomicU64,
    next: Cell<Option<NonNull<Task>>>,
    prev: Cell<Option<NonNull<Task>>>,
}

// SAFETY: `next` and `prev` are used by the list of number `list` alone: changed under `&mut` of
// it, read under `&` of it.
unsafe impl Sync for Links {}
// SAFETY: as above; a pointer may be used by any CPU.
unsafe impl Send for Links {}

impl Links {
    pub(super) const fn new() -> Self {
        Self { list: AtomicU64::new(0), next: Cell::new(None), prev: Cell::new(None) }
    }
}

/// A list of tasks of kind `KIND`, which owns a reference to each.
pub struct TaskList<const KIND: usize> {
    /// 0 until the first task comes.
    number: u64,
    first: Option<NonNull<Task>>,
    last: Option<NonNull<Task>>,
    len: usize,
}

// SAFETY: it owns references, which may go to any CPU.
unsafe impl<const KIND: usize> Send for TaskList<KIND> {}
// SAFETY: `&` reads links that are changed under `&mut` alone.
unsafe impl<const KIND: usize> Sync for TaskList<KIND> {}

static NUMBERS: AtomicU64 = AtomicU64::new(1);

impl<const KIND: usize> TaskList<KIND> {
    /// An empty list.
    #[must_use]
    pub const fn new() -> Self {
        Self { number: 0, first: None, last: None, len: 0 }
    }
    /// Returns the number of tasks on it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }
    /// Returns true if no task is on it.
    #[must_use]
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.first.is_none()
    }
    /// Returns true if `task` is on this list.
    #[must_use]
    pub fn contains(&self, task: &Task) -> bool {
        self.number != 0 && task.links[KIND].list.load(Relaxed) == self.number
    }

    /// Links of a task that is on this list.
    fn links(&self, task: NonNull<Task>) -> &Links {
        // SAFETY: the list owns a reference to it while it is linked.
        unsafe { &task.as_ref().links[KIND] }
    }

    /// Takes the links of a task for this list.
    #[inline]
    #[track_caller]
    fn claim(&mut self, task: &Task) {
        if self.number == 0 {
            self.number = NUMBERS.fetch_add(1, Relaxed);
        }
        let claimed = task.links[KIND].list.compare_exchange(0, self.number, Acquire, Relaxed);
        assert!(claimed.is_ok(), "{task:?} is on a list already");
    }

    /// Puts a task at the end.
    ///
    /// # Panics
    /// It is on a list of this kind already.
    #[inline]
    #[track_caller]
    pub fn push_back(&mut self, task: TaskRef) {
        self.append(task);
        self.len += 1;
    }

    /// Takes the first task off, and puts another at the end.
    ///
    /// # Errors
    /// The list is empty, and stays so; the other task.
    ///
    /// # Panics
    /// The other is on a list of this kind already.
    #[inline]
    #[track_caller]
    pub fn rotate(&mut self, last: TaskRef) -> Result<TaskRef, TaskRef> {
        let Some(first) = self.first else { return Err(last) };
        let first = self.unlink(first);
        self.append(last);
        Ok(first)
    }

    /// Links a task at the end, which is not counted yet.
    #[inline]
    #[track_caller]
    fn append(&mut self, task: TaskRef) {
        self.claim(&task);
        let (links, prev) = (&task.links[KIND], self.last);
        links.prev.set(prev);
        links.next.set(None);
        let task = task.into_raw();
        match prev {
            Some(prev) => self.links(prev).next.set(Some(task)),
            None => self.first = Some(task),
        }
        self.last = Some(task);
    }

    /// Puts a task at the beginning.
    ///
    /// # Panics
    /// It is on a list of this kind already.
    #[track_caller]
    pub fn push_front(&mut self, task: TaskRef) {
        let Some(next) = self.first else { return self.push_back(task) };
        self.claim(&task);
        task.links[KIND].prev.set(None);
        task.links[KIND].next.set(Some(next));
        let task = task.into_raw();
        self.links(next).prev.set(Some(task));
        self.first = Some(task);
        self.len += 1;
    }

    /// Puts a task behind the last of those whose key is not above its own. The list stays sorted
    /// if it was. Takes as long as there are tasks with a higher key.
    ///
    /// # Panics
    /// It is on a list of this kind already.
    #[track_caller]
    pub fn insert_sorted(&mut self, task: TaskRef, key: impl Fn(&Task) -> u64) {
        let own = key(&task);
        let mut after = self.last;
        // SAFETY: the list owns a reference to each task on it.
        while let Some(at) = after.filter(|at| key(unsafe { at.as_ref() }) > own) {
            after = self.links(at).prev.get();
        }
        let before = match after {
            Some(after) => self.links(after).next.get(),
            None => self.first,
        };
        let Some(before) = before else { return self.push_back(task) };
        self.claim(&task);
        task.links[KIND].prev.set(after);
        task.links[KIND].next.set(Some(before));
        let task = task.into_raw();
        self.links(before).prev.set(Some(task));
        match after {
            Some(after) => self.links(after).next.set(Some(task)),
            None => self.first = Some(task),
        }
        self.len += 1;
    }

    /// Takes the first task off.
    #[inline]
    pub fn pop_front(&mut self) -> Option<TaskRef> {
        let first = self.first?;
        self.len -= 1;
        Some(self.unlink(first))
    }

    /// Takes `task` off, if it is on this list.
    pub fn remove(&mut self, task: &Task) -> Option<TaskRef> {
        self.contains(task).then(|| {
            self.len -= 1;
            self.unlink(pointer(task))
        })
    }

    /// Unlinks a task that is on this list, and counted no longer.
    #[inline]
    fn unlink(&mut self, task: NonNull<Task>) -> TaskRef {
        let links = self.links(task);
        let (prev, next) = (links.prev.get(), links.next.get());
        // Whoever claims the links next has seen these reads.
        links.list.store(0, Release);
        match prev {
            Some(prev) => self.links(prev).next.set(next),
            None => self.first = next,
        }
        match next {
            Some(next) => self.links(next).prev.set(prev),
            None => self.last = prev,
        }
        // SAFETY: what put it on the list has kept the reference, and it was on the list.
        unsafe { TaskRef::from_raw(task) }
    }

    /// Iterates over the tasks, from the first.
    pub fn iter(&self) -> Iter<'_, KIND> {
        Iter { next: self.first, list: PhantomData }
    }
}

impl<const KIND: usize> Default for TaskList<KIND> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const KIND: usize> Drop for TaskList<KIND> {
    fn drop(&mut self) {
        while self.pop_front().is_some() {}
    }
}

/// Iterator over a list.
pub struct Iter<'a, const KIND: usize> {
    next: Option<NonNull<Task>>,
    list: PhantomData<&'a TaskList<KIND>>,
}

impl<'a, const KIND: usize> Iterator for Iter<'a, KIND> {
    type Item = &'a Task;
    fn next(&mut self) -> Option<&'a Task> {
        // SAFETY: it is on the list, which is borrowed and owns a reference to it.
        let task = unsafe { self.next?.as_ref() };
        self.next = task.links[KIND].next.get();
        Some(task)
    }
}
