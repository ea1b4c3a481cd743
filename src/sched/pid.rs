//! Numbers of tasks, and the tasks by their numbers (Linux: kernel/pid.c).
#![deny(unsafe_code)]

use super::task::Task;
use super::task_list::PidList;
use super::task_ref::TaskRef;

/// The default limit of pids, and the highest that can be set (Linux: PID_MAX_DEFAULT).
pub const PID_MAX_DEFAULT: u32 = 32_768;
/// Pids below this are given once, to the first tasks (Linux: RESERVED_PIDS).
pub const RESERVED_PIDS: u32 = 300;

/// The lowest limit that can be set (Linux: pid_max_min).
pub const PID_MAX_MIN: u32 = RESERVED_PIDS + 1;

/// A limit of pids is out of range (Linux: -EINVAL).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BadPidMax;

impl core::fmt::Display for BadPidMax {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "pid_max is from {PID_MAX_MIN} to {PID_MAX_DEFAULT}")
    }
}

impl core::error::Error for BadPidMax {}

const WORDS: usize = PID_MAX_DEFAULT as usize / 64;

/// Numbers that are taken, from 1 on. They are given out in turn, so that a number is not used
/// again soon after its task has ended.
pub struct PidMap {
    words: [u64; WORDS],
    /// The number given out last.
    last: u32,
    /// All numbers are below this.
    max: u32,
}

impl PidMap {
    /// A map of which nothing is taken.
    #[must_use]
    pub const fn new() -> Self {
        let mut words = [0; WORDS];
        // 0 is the idle tasks'.
        words[0] = 1;
        Self { words, last: 0, max: PID_MAX_DEFAULT }
    }

    /// Returns the limit: all numbers are below it.
    #[must_use]
    pub fn max(&self) -> u32 {
        self.max
    }
    /// Sets the limit. Numbers above it that are taken stay.
    ///
    /// # Errors
    /// It is out of [`PID_MAX_MIN`] to [`PID_MAX_DEFAULT`].
    pub fn set_max(&mut self, max: u32) -> Result<(), BadPidMax> {
        if !(PID_MAX_MIN..=PID_MAX_DEFAULT).contains(&max) {
            return Err(BadPidMax);
        }
        self.max = max;
        Ok(())
    }

    /// Takes the next free number after the one given out last; from [`RESERVED_PIDS`] on again
    /// when the limit is reached. `None` where none is free.
    pub fn alloc(&mut self) -> Option<u32> {
        let next = self.last + 1;
        let pid = self.free_in(next, self.max).or_else(|| {
            let again = if next > RESERVED_PIDS { RESERVED_PIDS } else { 1 };
            self.free_in(again, self.max)
        })?;
        self.words[pid as usize / 64] |= 1 << (pid % 64);
        self.last = pid;
        Some(pid)
    }

    /// The first free number in `from..to`.
    fn free_in(&self, from: u32, to: u32) -> Option<u32> {
        self.search(from, |word| !word).filter(|&pid| pid < to)
    }
    /// Returns the first number from `from` on that is taken.
    #[must_use]
    pub fn taken_from(&self, from: u32) -> Option<u32> {
        self.search(from.max(1), |word| word)
    }

    fn search(&self, from: u32, f: impl Fn(u64) -> u64) -> Option<u32> {
        let first = from as usize / 64;
        let below = u64::MAX << (from % 64);
        self.words.iter().enumerate().skip(first).find_map(|(n, &word)| {
            let bits = f(word) & if n == first { below } else { u64::MAX };
            (bits != 0).then(|| (n * 64) as u32 + bits.trailing_zeros())
        })
    }

    /// Gives a number back.
    ///
    /// # Panics
    /// It is not taken.
    pub fn free(&mut self, pid: u32) {
        let (word, bit) = (&mut self.words[pid as usize / 64], 1 << (pid % 64));
        assert!(pid != 0 && *word & bit != 0, "pid {pid} is not taken");
        *word &= !bit;
    }
}

impl Default for PidMap {
    fn default() -> Self {
        Self::new()
    }
}

const BUCKETS: usize = 256;

/// All tasks that have a number. The table owns a reference to each.
pub struct PidTable {
    /// The numbers.
    pub map: PidMap,
    tasks: [PidList; BUCKETS],
    len: usize,
    /// Tasks that have got a number, those that have ended too.
    total: u64,
}

/// Counts of tasks without the idle ones.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TaskCounts {
    /// Tasks that are there (Linux: nr_threads).
    pub now: usize,
    /// Tasks that were created since the machine came up (Linux: total_forks).
    pub ever: u64,
    /// The pid that was given out last, 0 for none.
    pub last_pid: u32,
}

impl PidTable {
    /// A table without tasks.
    #[must_use]
    pub const fn new() -> Self {
        Self { map: PidMap::new(), tasks: [const { PidList::new() }; BUCKETS], len: 0, total: 0 }
    }

    /// Gives a task a number. Returns false where none is free.
    pub fn insert(&mut self, task: &Task) -> bool {
        let Some(pid) = self.map.alloc() else { return false };
        task.set_pid(pid);
        self.tasks[pid as usize % BUCKETS].push_back(task.get());
        self.len += 1;
        self.total += 1;
        true
    }

    /// Returns the counts of tasks.
    #[must_use]
    pub fn counts(&self) -> TaskCounts {
        TaskCounts { now: self.len, ever: self.total, last_pid: self.map.last }
    }

    /// Takes a task's number away. Returns the table's reference, to be dropped without the lock.
    pub fn remove(&mut self, task: &Task) -> Option<TaskRef> {
        let pid = task.pid();
        let task = self.tasks[pid as usize % BUCKETS].remove(task)?;
        task.set_pid(0);
        self.map.free(pid);
        self.len -= 1;
        Some(task)
    }

    /// Returns the task of a number.
    #[must_use]
    pub fn find(&self, pid: u32) -> Option<TaskRef> {
        let mut tasks = self.tasks[pid as usize % BUCKETS].iter();
        tasks.find(|task| task.pid() == pid).map(Task::get)
    }

    /// Returns the task of the lowest number from `pid` on (Linux: find_ge_pid).
    #[must_use]
    pub fn find_from(&self, pid: u32) -> Option<TaskRef> {
        self.find(self.map.taken_from(pid)?)
    }

    /// Returns the number of tasks.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.len
    }
}

impl Default for PidTable {
    fn default() -> Self {
        Self::new()
    }
}
