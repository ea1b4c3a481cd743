//! Kernel threads (Linux: kernel/sched/, kernel/kthread.c): enough of them for work in the
//! background, and no more.
//!
//! ```text
//! kthread    creating, ending and joining threads
//! wait       wait queues
//! mutex      sleeping locks
//! task_flags flags of memory management for each thread
//! sync_core  having all CPUs see changed instructions
//! rcu        readers that nobody waits for, and freeing when they are done
//! schedule   the way from one thread to the next, sleep, the idle thread
//!   rq         policy: a CPU's threads, and which runs next
//!   task       states and numbers
//! ```
//!
//! # What it does and doesn't
//! Each CPU has a queue of its own, first in, first out. A thread stays on the CPU that it
//! was created on. It runs until it sleeps, ends or calls [`schedule()`] or [`cond_resched`]:
//! nothing preempts it but interrupt handlers, and those come back to it. So a thread that
//! never yields keeps its CPU from the others on it. There are no priorities.
//!
//! Stacks come from whoever creates a thread; this room needs no memory of its own
//! (`mm::kthread` gets them from vmalloc). A stack goes back when its thread has ended and
//! its CPU has left it.
//!
//! # Sleeping without missing the wake-up
//! A thread that waits for a condition, and who makes it true:
//!
//! ```text
//! sleeper                                waker
//! 1  set_current_state(Interruptible)    a  make the condition true
//! 2  is the condition true?              b  wake_up_process(sleeper)
//! 3  if not, schedule()
//! 4  set_current_state(Running)
//! ```
//!
//! Steps 1, 3 and b hold the lock of the sleeper's CPU. If b comes before 1, it finds the
//! sleeper `Running` and does nothing; but then 1 takes the lock after b released it, so 2
//! sees what a stored. If b comes between 1 and 3, it makes the state `Running`, and 3
//! queues the thread behind the others instead of leaving it asleep. If b comes after 3, it
//! puts the thread on the queue. A check before step 1 alone would be none: the wake-up
//! could come between it and the sleep. [`WaitQueue::wait_event`] does all that; its queue's
//! lock stands between a and b in the same way.
//!
//! A wake-up may be one too many: the condition has to be asked again.
//!
//! # Context
//! Waking is allowed everywhere: in interrupt handlers, from other CPUs, under locks of lower
//! rank. What may sleep is allowed in threads with interrupts on and without a lock; the idle
//! thread, which is what the other CPUs run when they come up, may not sleep.
//!
//! Lock order: `Rank::WaitQueue` and `Rank::RunQueue` are near the innermost, so that who
//! holds a zone's lock may wake a thread. No two locks of either are held at once.
//!
//! # On the hosted machine
//! There threads are the host's, and this room has none of its own: what waits asks its
//! condition again and again.
#![deny(unsafe_code)]

#[cfg(target_os = "none")]
#[expect(unsafe_code, reason = "a thread's closure lies on its stack")]
mod kthread;
mod mutex;
#[expect(unsafe_code, reason = "what waits for a grace period is linked through itself")]
pub mod rcu;
#[cfg_attr(not(target_os = "none"), expect(dead_code, reason = "for tests alone there"))]
mod rq;
#[cfg(target_os = "none")]
#[expect(unsafe_code, reason = "the mechanism: it leaves stacks and enters them")]
mod schedule;
#[cfg(not(target_os = "none"))]
#[path = "hosted.rs"]
mod schedule;
mod sync_core;
mod task;
mod task_flags;
mod wait;

#[cfg(test)]
mod tests;

#[cfg(target_os = "none")]
pub use kthread::{KThread, Stack, kthread_create_on_cpu, least_loaded_cpu};
pub use mutex::{Mutex, MutexGuard};
pub use rq::Comm;
#[cfg(all(test, not(target_os = "none")))]
pub(crate) use schedule::with_other_thread;
pub use schedule::{
    cond_resched, current, current_comm, jiffies, kick, may_sleep, schedule, schedule_timeout,
    set_current_state, should_stop, try_current,
};
#[cfg(target_os = "none")]
pub(crate) use schedule::{do_idle, init_cpu, make_idle, set_kick, tick, withdraw_cpu};
#[cfg(target_os = "none")]
pub use schedule::{threads, wake_up_process};
pub use sync_core::kick_all_cpus_sync;
#[cfg(target_os = "none")]
pub(crate) use sync_core::sync_core_if_requested;
pub use task::{CreateError, NR_THREADS, TASK_NORMAL, TaskState, ThreadId};
pub use task_flags::task_flags;
pub use wait::{Interrupted, WaitQueue};

use schedule::wake_slot;

/// Ticks of a CPU in a second, and jiffies too (Linux: CONFIG_HZ).
pub const HZ: u64 = 100;

/// Sleeps for at least so many milliseconds. Process context.
pub fn msleep(ms: u64) {
    // One more: the first jiffy has begun already.
    let mut left = (ms * HZ).div_ceil(1000) + 1;
    while left > 0 {
        set_current_state(TaskState::Uninterruptible);
        left = schedule_timeout(left);
    }
}
