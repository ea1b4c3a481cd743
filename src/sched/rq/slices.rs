//! Slices of the tasks of a run queue: who pays, who is asked to let others run, and who runs then.

use super::{RunQueue, Switch};
use crate::arch::thread_info::ThreadFlags;
use crate::sched::fair;
use crate::sched::task::Task;

impl RunQueue {
    /// Asks the current task to let others run, if it is one that can be asked. Returns true if it
    /// is (Linux: resched_curr).
    pub(super) fn resched_curr(&self) -> bool {
        let asked = self.current.as_deref().filter(|current| current.has_mm());
        asked
            .inspect(|current| current.thread_info().set_thread_flag(ThreadFlags::NEED_RESCHED))
            .is_some()
    }

    /// Gives the tasks that have used their slices up as many new ones as it takes for one of them
    /// to have time left, but `most` at most. Those that have are ready then.
    #[cold]
    pub(super) fn refill(&mut self, most: i64) {
        let rounds = |task: &Task| fair::rounds(task.slice(), task.nice());
        let rounds = self.expired.iter().map(rounds).min().unwrap_or(0).min(most);
        for _ in 0..self.expired.len() {
            let Some(task) = self.expired.pop_front() else { break };
            task.set_slice(task.slice() + rounds * task.nice().slice());
            let has_time = task.slice() > 0;
            if has_time { &mut self.ready } else { &mut self.expired }.push_back(task);
        }
    }

    /// Has tasks with time left on the list `ready`, if any task waits. Returns true if one does.
    #[inline]
    pub(super) fn fill(&mut self) -> bool {
        if self.ready.is_empty() && !self.expired.is_empty() {
            self.refill(i64::MAX);
        }
        !self.ready.is_empty()
    }

    /// Charges the current task for a tick of `ns` nanoseconds that found it, at EL0 if `at_el0`
    /// (Linux: task_tick, account_process_tick).
    pub fn tick(&mut self, ns: u64, at_el0: bool) {
        let Some(current) = self.current.as_deref() else {
            self.time.idle += ns;
            return;
        };
        current.charge(ns, at_el0);
        let time = match (at_el0, current.nice().get() > 0) {
            (false, _) => &mut self.time.system,
            (true, true) => &mut self.time.nice,
            (true, false) => &mut self.time.user,
        };
        *time += ns;
        if !current.has_mm() {
            // Nobody makes it give the CPU up; the time passes for those who wait.
            return self.refill(1);
        }
        current.set_slice(current.slice() - ns as i64);
        if current.slice() > 0 {
            return;
        }
        if self.has_ready() {
            self.resched_curr();
        } else {
            // Nobody is owed anything.
            current.set_slice(current.nice().slice());
        }
    }

    /// Chooses the task that runs next, as the current one was asked to let others run; `None` where
    /// it goes on. It keeps what is left of its slice.
    #[inline(never)]
    pub fn preempt(&mut self) -> Option<Switch> {
        let current = self.current.as_deref()?;
        if !self.goes_on(current) || !self.has_ready() {
            return self.pick();
        }
        let has_time = current.slice() > 0;
        if has_time {
            let first = self.ready.pop_front()?;
            let prev = self.current.replace(first)?;
            let at = core::ptr::NonNull::from(&*prev);
            self.ready.push_front(prev);
            return self.switch(at, None);
        }
        let prev = self.current.take()?;
        let at = core::ptr::NonNull::from(&*prev);
        self.expired.push_back(prev);
        self.fill();
        let next = self.ready.pop_front();
        let same = next.as_deref().is_some_and(|next| core::ptr::eq(next, at.as_ptr()));
        self.current = next;
        if same { None } else { self.switch(at, None) }
    }
}
