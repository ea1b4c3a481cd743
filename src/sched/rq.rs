//! A CPU's run queue: the task that runs, and who is next (Linux: struct rq,
//! kernel/sched/core.c).
//!
//! Policy alone: nothing here switches, waits or locks. The rules:
//!
//! - a task that is `Running`, is not the current one and has not ended is on the list of those
//!   that are ready, first in, first out, or of those whose slice is used up; no other is;
//! - those whose slice is used up run when no other is ready: they get new slices then (`fair`);
//! - a task with users' memory pays for the ticks that find it on the CPU. It is asked to give the
//!   CPU up when its slice is used up and others wait, and when a task is woken that has time left,
//!   which runs first; the other then goes on with the rest of its slice. Tasks without run until
//!   they give the CPU up by themselves;
//! - the idle task is always `Running`, is on no list, and runs when no other can;
//! - a task leaves `Running` by its own doing alone, while it is the current one; others can
//!   only bring it back;
//! - a task that sleeps until a time is on the list `timed`, the earliest first.
//!
//! The queue owns a reference to the task that runs and to those on its lists. Nobody but the
//! table of pids has one to a task that sleeps.
#![deny(unsafe_code)]

#[path = "rq/slices.rs"]
mod slices;

use super::task::{Departure, Life, TASK_NORMAL, Task, TaskState};
use super::task_list::SchedList;
use super::task_ref::TaskRef;
use crate::arch::CpuId;
use crate::arch::cpumask::CpuMask;

/// Tasks that a search for one to take away looks at (Linux: sysctl_sched_nr_migrate).
const NR_MIGRATE: usize = 32;

/// A CPU's tasks.
pub struct RunQueue {
    /// The CPU; `None` while it is not up.
    cpu: Option<CpuId>,
    /// The task that runs, `None` for the idle one.
    current: Option<TaskRef>,
    idle: Option<TaskRef>,
    ready: SchedList,
    /// Tasks that are ready and have used their slices up.
    expired: SchedList,
    timed: SchedList,
    nr_threads: usize,
    /// Switches from one task to another.
    nr_switches: u64,
    time: CpuTime,
}

/// Time of a CPU in nanoseconds, as its ticks have found it (Linux: struct kernel_cpustat).
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct CpuTime {
    /// At EL0, with a nice value of 0 or less.
    pub user: u64,
    /// At EL0, with a higher nice value.
    pub nice: u64,
    /// In the kernel.
    pub system: u64,
    /// Without a task.
    pub idle: u64,
}

/// The tasks of a switch.
pub struct Switch {
    /// The task that the CPU leaves; it is there until the CPU has left it.
    pub prev: core::ptr::NonNull<Task>,
    /// The task that it goes to, which is the queue's current one.
    pub next: core::ptr::NonNull<Task>,
    /// The queue's reference to `prev`, where that is not ready. It is dropped without the lock.
    pub gone: Option<TaskRef>,
}

impl RunQueue {
    /// The queue of a CPU that isn't up.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            cpu: None,
            current: None,
            idle: None,
            ready: SchedList::new(),
            expired: SchedList::new(),
            timed: SchedList::new(),
            nr_threads: 0,
            nr_switches: 0,
            time: CpuTime { user: 0, nice: 0, system: 0, idle: 0 },
        }
    }

    /// Lets `cpu` have tasks from now on; it runs `first`.
    pub fn bring_up(&mut self, cpu: CpuId, first: TaskRef) {
        first.set_life(Life::Live);
        first.set_on_cpu(true);
        (self.cpu, self.current, self.nr_threads) = (Some(cpu), Some(first), 1);
    }
    /// Takes the CPU down again, which has had no task but the first. Returns that.
    pub fn take_down(&mut self) -> Option<TaskRef> {
        (self.cpu, self.nr_threads) = (None, 0);
        let first = self.current.take();
        first.inspect(|first| first.set_life(Life::New))
    }
    /// Returns whether it may have tasks.
    #[must_use]
    #[inline]
    pub fn is_up(&self) -> bool {
        self.cpu.is_some()
    }
    /// Returns whether the idle task runs.
    #[must_use]
    #[inline]
    pub fn is_idle(&self) -> bool {
        self.current.is_none() && self.idle.is_some()
    }
    /// Returns the task that runs.
    #[must_use]
    pub fn current(&self) -> Option<&Task> {
        self.current.as_deref().or(self.idle.as_deref())
    }
    /// Returns whether a task waits for the CPU.
    #[must_use]
    #[inline]
    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty() || !self.expired.is_empty()
    }
    /// Returns the number of tasks that wait for the CPU.
    #[must_use]
    pub fn nr_ready(&self) -> usize {
        self.ready.len() + self.expired.len()
    }
    /// Iterates over the tasks that wait for the CPU, the next first.
    pub fn ready(&self) -> impl Iterator<Item = &Task> {
        self.ready.iter().chain(self.expired.iter())
    }
    /// Returns the number of tasks that are on this CPU, asleep or not, the idle one included.
    #[must_use]
    pub fn nr_threads(&self) -> usize {
        self.nr_threads
    }

    /// Returns the number of tasks that run or wait for the CPU (Linux: nr_running).
    #[must_use]
    pub fn nr_running(&self) -> usize {
        usize::from(self.current.is_some()) + self.nr_ready()
    }
    /// Returns the number of switches from one task to another.
    #[must_use]
    pub fn nr_switches(&self) -> u64 {
        self.nr_switches
    }
    /// Returns how the CPU's time was spent.
    #[must_use]
    pub fn time(&self) -> CpuTime {
        self.time
    }

    fn is_current(&self, task: &Task) -> bool {
        self.current.as_deref().is_some_and(|current| core::ptr::eq(current, task))
    }

    /// Takes in a new task, which sleeps (`Uninterruptible`) until it is woken for the first time.
    pub fn add_new(&mut self, task: &Task) {
        task.set_life(Life::Live);
        task.set_state(TaskState::Uninterruptible);
        self.nr_threads += 1;
    }

    /// Makes a task, which is the current one or has never run, the idle one.
    ///
    /// # Panics
    /// It has ended.
    pub fn make_idle(&mut self, task: TaskRef) {
        assert!(task.life() == Life::Live, "{task:?} has ended");
        task.set_state(TaskState::Running);
        if self.is_current(&task) {
            self.current = None;
        }
        self.idle = Some(task);
    }

    /// Wakes a task of this CPU if it sleeps in one of the states whose bits `states` has. It then
    /// has to be [queued](RunQueue::enqueue), here or on another CPU, unless it is the current
    /// one, which goes on.
    #[must_use]
    pub fn wake(&mut self, task: &Task, states: u8) -> Woken {
        if task.life() != Life::Live || task.state().bit() & states == 0 || task.is_running() {
            return Woken::No;
        }
        task.set_state(TaskState::Running);
        let timed = self.timed.remove(task);
        if self.is_current(task) {
            return Woken::GoesOn(timed);
        }
        Woken::Ready(timed.unwrap_or_else(|| task.get()))
    }

    /// Queues a task that is `Running`: behind those that are ready, or at their head where the
    /// current task is asked to let it run. Returns true if that is so: its CPU has to look at its
    /// flags.
    #[inline]
    pub fn enqueue(&mut self, task: TaskRef) -> bool {
        if task.slice() <= 0 {
            self.expired.push_back(task);
            return false;
        }
        let preempts = self.resched_curr();
        if preempts {
            self.ready.push_front(task);
        } else {
            self.ready.push_back(task);
        }
        preempts
    }

    /// Takes a task off that is ready.
    pub fn dequeue(&mut self, task: &Task) -> Option<TaskRef> {
        self.ready.remove(task).or_else(|| self.expired.remove(task))
    }

    fn goes_on(&self, current: &Task) -> bool {
        current.is_running() && current.departure() == Departure::None
    }

    /// Takes a ready task that `cpu` may run instead, if one of the first is such.
    pub fn take_for(&mut self, cpu: CpuId) -> Option<TaskRef> {
        let fits = |task: &&Task| {
            task.may_run_on(cpu) && !task.on_cpu() && task.departure() == Departure::None
        };
        let task = self.ready().take(NR_MIGRATE).find(fits)?.get();
        self.dequeue(&task)
    }

    /// Hands a task that is `Running` and on no list of this queue over to `cpu`.
    pub fn hand_over(&mut self, task: &Task, cpu: CpuId) {
        self.nr_threads -= 1;
        task.set_cpu(cpu);
    }
    /// Takes in a task that another CPU has [handed over](RunQueue::hand_over).
    pub fn take_in(&mut self) {
        self.nr_threads += 1;
    }

    /// Sets the state of the current task. Returns a reference to be dropped without the lock.
    ///
    /// # Panics
    /// The idle task may not sleep.
    pub fn set_current_state(&mut self, state: TaskState) -> Option<TaskRef> {
        let Some(current) = self.current.as_deref() else {
            let sleeps = state != TaskState::Running && self.is_idle();
            assert!(!sleeps, "the idle thread may not sleep");
            return None;
        };
        current.set_state(state);
        // A time was for the sleep before.
        self.timed.remove(current)
    }

    /// Ends the sleep of the current task at the latest when [`RunQueue::expire`] is told that
    /// time. Nothing happens if it was woken already.
    pub fn wake_current_at(&mut self, time: u64) {
        if let Some(current) = &self.current
            && !current.is_running()
        {
            current.set_wake_at(time);
            self.timed.insert_sorted(current.clone(), Task::wake_at);
        }
    }

    /// Wakes a task whose time has come. It has to be queued, as after [`RunQueue::wake`].
    #[must_use]
    pub fn expire(&mut self, now: u64) -> Woken {
        let due = self.timed.iter().next().filter(|task| task.wake_at() <= now).map(Task::get);
        let Some(task) = due else { return Woken::No };
        self.wake(&task, TASK_NORMAL)
    }

    /// Chooses the task that runs next and makes it the current one; `None` where the current one
    /// goes on. One that could go on waits its turn behind the others.
    ///
    /// # Panics
    /// The current task can't go on and there is no idle one.
    #[inline(always)]
    pub fn pick(&mut self) -> Option<Switch> {
        self.cpu?;
        let goes_on = self.current.as_deref().map(|current| self.goes_on(current));
        let next = match goes_on {
            None if !self.fill() => return None,
            None => self.ready.pop_front(),
            Some(true) => {
                let mut current = self.current.take()?;
                let prev = core::ptr::NonNull::from(&*current);
                let next = loop {
                    match self.ready.rotate(current) {
                        Ok(next) => break next,
                        Err(only) if self.expired.is_empty() => {
                            self.current = Some(only);
                            return None;
                        }
                        Err(waits) => {
                            self.refill(i64::MAX);
                            current = waits;
                        }
                    }
                };
                next.set_on_cpu(true);
                self.nr_switches += 1;
                let at = core::ptr::NonNull::from(&*next);
                self.current = Some(next);
                return Some(Switch { prev, next: at, gone: None });
            }
            Some(false) => {
                self.fill();
                let next = self.ready.pop_front();
                assert!(next.is_some() || self.idle.is_some(), "a task sleeps, and none is idle");
                next
            }
        };
        let gone = core::mem::replace(&mut self.current, next);
        let prev = core::ptr::NonNull::from(gone.as_deref().or(self.idle.as_deref())?);
        self.switch(prev, gone)
    }

    #[inline]
    fn switch(&mut self, prev: core::ptr::NonNull<Task>, gone: Option<TaskRef>) -> Option<Switch> {
        self.nr_switches += 1;
        let next = self.current()?;
        next.set_on_cpu(true);
        Some(Switch { prev, next: core::ptr::NonNull::from(next), gone })
    }

    /// Ends the current task, which is still on its stack: the caller then calls
    /// [`RunQueue::pick`], and the next task [`RunQueue::forget`]. Returns a reference to be
    /// dropped without the lock.
    ///
    /// # Panics
    /// The idle task may not end.
    pub fn exit(&mut self, code: i32) -> Option<TaskRef> {
        let current = self.current.as_deref().expect("the idle thread may not end");
        current.set_exit_code(code);
        current.set_life(Life::Exiting);
        current.set_departure(Departure::Ended);
        self.timed.remove(current)
    }

    /// Counts a task that has ended and left this CPU no longer.
    pub fn forget(&mut self) {
        self.nr_threads -= 1;
    }

    /// Has a task of this CPU run on those of `allowed` alone. Returns the task if it was ready
    /// here and may not be any more: it has to be queued elsewhere. The current one moves when it
    /// lets others run next.
    #[must_use]
    pub fn set_cpus_allowed(&mut self, task: &Task, allowed: CpuMask) -> Option<TaskRef> {
        task.set_cpus_mask(allowed);
        let stays = self.cpu.is_some_and(|cpu| allowed.contains(cpu));
        if self.is_current(task) && task.life() == Life::Live {
            task.set_departure(if stays { Departure::None } else { Departure::Moves });
            if !stays {
                self.resched_curr();
            }
        }
        if stays { None } else { self.dequeue(task) }
    }
}

/// Result of [`RunQueue::wake`]. References in it are dropped without the lock.
pub enum Woken {
    /// The task did not sleep so.
    No,
    /// The task was on its way to sleep, and goes on.
    GoesOn(Option<TaskRef>),
    /// The task is to be queued.
    Ready(TaskRef),
}

impl Default for RunQueue {
    fn default() -> Self {
        Self::new()
    }
}
