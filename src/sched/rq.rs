//! A CPU's threads and which of them runs next (Linux: struct rq, kernel/sched/core.c).
//!
//! Policy alone: states and a queue, first in, first out. Nothing here switches, waits or
//! locks. The rules:
//!
//! - a thread that is `Running` and is not the current one is queued, once; no other is;
//! - the idle thread is always `Running`, is never queued, and runs when nothing is;
//! - a thread leaves `Running` by its own doing alone, while it is the current one; others
//!   can only bring it back.
#![deny(unsafe_code)]

use super::task::{NR_THREADS, Slot, TASK_NORMAL, TaskState};
use arrayvec::ArrayString;

/// A thread's name, cut to 15 bytes (Linux: TASK_COMM_LEN).
pub type Comm = ArrayString<15>;

/// `name` as a [`Comm`].
#[must_use]
pub fn comm(name: &str) -> Comm {
    let mut comm = Comm::new();
    for c in name.chars() {
        if comm.try_push(c).is_err() {
            break;
        }
    }
    comm
}

/// Stage of the life of a thread number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Life {
    /// The number is free.
    Free,
    /// A thread's.
    Live,
    /// The thread has ended, and is still on its stack.
    Exiting,
    /// The thread has ended and left its stack; the exit code waits to be collected.
    Dead,
}

#[derive(Clone, Copy, Debug)]
struct Thread {
    life: Life,
    state: TaskState,
    comm: Comm,
    generation: u32,
    /// True if nobody will collect the exit code.
    detached: bool,
    should_stop: bool,
    exit_code: i32,
    /// Time to wake the thread, if its bit in `timed` is set.
    wake_at: u64,
}

impl Thread {
    const FREE: Self = Self {
        life: Life::Free,
        state: TaskState::Running,
        comm: Comm::new_const(),
        generation: 0,
        detached: false,
        should_stop: false,
        exit_code: 0,
        wake_at: 0,
    };
}

/// A CPU's threads.
#[derive(Clone, Debug)]
pub struct RunQueue {
    threads: [Thread; NR_THREADS],
    current: Slot,
    idle: Option<Slot>,
    /// A ring: the `queued` threads from `first` on.
    ring: [Slot; NR_THREADS],
    first: usize,
    queued: usize,
    /// A bit for each thread that sleeps until a time.
    timed: u32,
    up: bool,
}

impl RunQueue {
    /// A CPU that isn't up.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            threads: [Thread::FREE; NR_THREADS],
            current: Slot::FIRST,
            idle: None,
            ring: [Slot::FIRST; NR_THREADS],
            first: 0,
            queued: 0,
            timed: 0,
            up: false,
        }
    }

    /// The CPU may have threads from now on; what it runs is the first of them.
    pub fn bring_up(&mut self, name: &str) {
        let first = &mut self.threads[Slot::FIRST.index()];
        *first = Thread { life: Life::Live, comm: comm(name), ..Thread::FREE };
        self.up = true;
    }
    /// Takes the CPU down again: only the first thread was created.
    pub fn take_down(&mut self) {
        self.free(Slot::FIRST);
        self.up = false;
    }
    /// Returns whether it may have threads.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.up
    }

    /// The thread that runs.
    #[must_use]
    pub fn current(&self) -> Slot {
        self.current
    }
    /// Returns whether the idle thread runs.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.idle == Some(self.current)
    }
    /// Returns whether a thread waits for the CPU.
    #[must_use]
    pub fn has_ready(&self) -> bool {
        self.queued > 0
    }
    /// Returns the number of threads, ended ones not counted.
    #[must_use]
    pub fn nr_threads(&self) -> usize {
        self.threads.iter().filter(|t| matches!(t.life, Life::Live | Life::Exiting)).count()
    }
    /// A thread's name.
    #[must_use]
    pub fn comm(&self, slot: Slot) -> Comm {
        self.threads[slot.index()].comm
    }
    /// Returns the stage of the thread that has had this number since `generation`; `None` where
    /// that one is gone.
    #[must_use]
    pub fn life(&self, slot: Slot, generation: u32) -> Option<Life> {
        let thread = &self.threads[slot.index()];
        (thread.generation == generation && thread.life != Life::Free).then_some(thread.life)
    }
    /// The generation of the thread that has a number now.
    #[must_use]
    pub fn generation(&self, slot: Slot) -> u32 {
        self.threads[slot.index()].generation
    }
    /// Returns whether the current thread has been asked to end.
    #[must_use]
    pub fn should_stop(&self) -> bool {
        self.threads[self.current.index()].should_stop
    }

    /// A new thread, asleep (`Uninterruptible`) until it is woken for the first time;
    /// `None` where all numbers are taken.
    pub fn create(&mut self, name: &str) -> Option<Slot> {
        let slot = Slot::all().find(|slot| self.threads[slot.index()].life == Life::Free)?;
        let thread = &mut self.threads[slot.index()];
        *thread = Thread {
            life: Life::Live,
            state: TaskState::Uninterruptible,
            comm: comm(name),
            generation: thread.generation,
            ..Thread::FREE
        };
        Some(slot)
    }

    /// Makes a thread, which is the current one or has never run, the idle one.
    ///
    /// # Panics
    /// It has ended.
    pub fn make_idle(&mut self, slot: Slot) {
        let thread = &mut self.threads[slot.index()];
        assert!(thread.life == Life::Live, "{slot:?} has ended");
        thread.state = TaskState::Running;
        self.idle = Some(slot);
    }

    /// Wakes a thread if it sleeps in one of the states whose bits `states` has. Returns true if
    /// it did. A thread of an older generation is not woken.
    pub fn wake(&mut self, slot: Slot, generation: u32, states: u8) -> bool {
        let thread = &mut self.threads[slot.index()];
        if thread.generation != generation
            || thread.life != Life::Live
            || thread.state == TaskState::Running
            || thread.state.bit() & states == 0
        {
            return false;
        }
        thread.state = TaskState::Running;
        self.timed &= !slot.bit();
        if slot != self.current {
            self.enqueue(slot);
        }
        true
    }

    /// The current thread is about to sleep, or has thought better of it.
    ///
    /// # Panics
    /// The idle thread may not sleep.
    pub fn set_current_state(&mut self, state: TaskState) {
        assert!(state == TaskState::Running || !self.is_idle(), "the idle thread may not sleep");
        self.threads[self.current.index()].state = state;
        // A time was for the sleep before.
        self.timed &= !self.current.bit();
    }

    /// The current thread's sleep ends at the latest when [`RunQueue::expire`] is told that
    /// time. Nothing happens if it was woken already.
    pub fn wake_current_at(&mut self, time: u64) {
        let thread = &mut self.threads[self.current.index()];
        if thread.state != TaskState::Running {
            thread.wake_at = time;
            self.timed |= self.current.bit();
        }
    }

    /// Wakes those whose time has come.
    pub fn expire(&mut self, now: u64) {
        if self.timed == 0 {
            return;
        }
        let timed = self.timed;
        for slot in Slot::all().filter(|slot| timed & slot.bit() != 0) {
            let thread = &self.threads[slot.index()];
            if thread.wake_at <= now {
                let generation = thread.generation;
                self.wake(slot, generation, TASK_NORMAL);
            }
        }
    }

    /// Chooses the thread that runs next and makes it the current one: (the one before, the
    /// next), or `None` where the current one goes on. One that could go on waits its turn
    /// behind the others.
    ///
    /// # Panics
    /// The current thread can't go on and there is no idle one.
    pub fn pick(&mut self) -> Option<(Slot, Slot)> {
        if !self.up {
            return None;
        }
        let prev = self.current;
        let thread = &self.threads[prev.index()];
        let goes_on = thread.life == Life::Live && thread.state == TaskState::Running;
        if goes_on && self.queued == 0 {
            return None;
        }
        if goes_on && !self.is_idle() {
            self.enqueue(prev);
        }
        let next = self.dequeue().or(self.idle).expect("an idle thread is there before one sleeps");
        self.current = next;
        (next != prev).then_some((prev, next))
    }

    /// Ends the current thread, which is still on its stack: the caller then calls
    /// [`RunQueue::pick`], and the next thread [`RunQueue::finish_task_switch`].
    ///
    /// # Panics
    /// The idle thread may not end.
    pub fn exit(&mut self, code: i32) -> Slot {
        assert!(!self.is_idle(), "the idle thread may not end");
        let thread = &mut self.threads[self.current.index()];
        thread.exit_code = code;
        thread.life = Life::Exiting;
        self.timed &= !self.current.bit();
        self.current
    }

    /// Marks a thread that ended as dead, once the CPU has left its stack.
    pub fn finish_task_switch(&mut self, slot: Slot) {
        let thread = &mut self.threads[slot.index()];
        assert!(thread.life == Life::Exiting && slot != self.current, "{slot:?} has not ended");
        thread.life = Life::Dead;
        if thread.detached {
            self.free(slot);
        }
    }

    /// Detaches a thread: the number is free as soon as it has ended.
    pub fn detach(&mut self, slot: Slot, generation: u32) {
        match self.life(slot, generation) {
            Some(Life::Dead) => self.free(slot),
            Some(_) => self.threads[slot.index()].detached = true,
            None => {}
        }
    }

    /// Takes the exit code of a dead thread, and its number is free; `None` where it isn't
    /// dead.
    pub fn collect(&mut self, slot: Slot, generation: u32) -> Option<i32> {
        (self.life(slot, generation) == Some(Life::Dead)).then(|| {
            self.free(slot);
            self.threads[slot.index()].exit_code
        })
    }

    /// Asks a thread to end, and wakes it. Returns true if it slept.
    pub fn stop(&mut self, slot: Slot, generation: u32) -> bool {
        if self.life(slot, generation).is_none() {
            return false;
        }
        self.threads[slot.index()].should_stop = true;
        self.wake(slot, generation, TASK_NORMAL)
    }

    fn free(&mut self, slot: Slot) {
        let thread = &mut self.threads[slot.index()];
        thread.life = Life::Free;
        thread.generation = thread.generation.wrapping_add(1);
    }

    fn enqueue(&mut self, slot: Slot) {
        self.ring[(self.first + self.queued) % NR_THREADS] = slot;
        self.queued += 1;
    }

    fn dequeue(&mut self) -> Option<Slot> {
        let left = self.queued.checked_sub(1)?;
        let slot = self.ring[self.first];
        self.first = (self.first + 1) % NR_THREADS;
        self.queued = left;
        Some(slot)
    }
}

impl Default for RunQueue {
    fn default() -> Self {
        Self::new()
    }
}
