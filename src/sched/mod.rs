//! Kernel threads (Linux: kernel/sched/, kernel/kthread.c): enough of them for work in the
//! background, and no more.
//!
//! ```text
//! kthread    creating, ending and joining threads
//! wait       wait queues
//!   wait_list  entries on the stacks of those who wait
//! mutex      sleeping locks for one holder
//! rwsem      sleeping locks for readers or a writer
//! completion waiting until something is done
//! held       ranks of the sleeping locks that a task holds
//! hrtimeout  sleeping until a time
//! signal     SIGKILL, which ends killable waits
//! might_sleep  check that nobody sleeps who may not
//! sync_core  having all CPUs see changed instructions
//! rcu        readers that nobody waits for, and freeing when they are done
//! current    the task that runs here
//! schedule   the way from one task to the next, sleep, the idle task
//!   placement  wake-ups, affinity, and taking tasks from other CPUs
//!   rq         policy: a CPU's tasks, and which runs next; rq/slices: and for how long
//!   select     policy: the CPU for a task that was woken
//!   fair       policy: slices and nice values of tasks that run at EL0
//!   loadavg    policy: how many tasks want to run, over minutes
//!   stat       figures of all run queues
//! mm         users' memory of tasks; mm/switch: the tables that CPUs walk for them
//! pids       all tasks by their pids
//!   pid        policy: numbers, and the tasks by their numbers
//! task       the object of a task
//!   create_error  why there is none
//!   task_ref   counted references
//!   task_line  a task as a line
//!   task_list  lists of tasks, linked through themselves
//! ```
//!
//! # What it does and doesn't
//! Each CPU has a queue of its own, first in, first out. A task runs until it sleeps, ends or
//! calls [`schedule()`] or [`cond_resched`]: nothing preempts it at EL1 but interrupt handlers, and
//! those come back to it. So a task that never yields keeps its CPU from the others on it. A task
//! that runs code at EL0 is preempted on its way back there, when its slice is used up or another
//! task is woken; slices follow [nice values](Nice).
//!
//! A task that is woken goes to the CPU that it ran on last, or to an idle one near that where
//! that is busy; an idle CPU takes a task that waits for the busiest. Both keep to the task's
//! affinity. So a task may be on another CPU when [`schedule()`] returns, unless it was bound to
//! one (`kthread_create` with one CPU; `init` is bound to the boot CPU).
//!
//! Memory for tasks and stacks comes from whoever creates a thread; this room needs none of its own
//! (`mm::kthread` has a cache for tasks, and gets stacks from vmalloc). A stack goes back when its
//! task has ended and its CPU has left it, the task when nobody has a reference any more.
//!
//! # Who owns a task
//! A [`TaskRef`] is a counted reference. The table of pids has one until the task has ended; a run
//! queue has one for the task that runs and for each that is ready or sleeps until a time; a
//! `KThread` has one. A list owns a reference for each task on it: putting a task on a list moves
//! the reference there, taking it off moves it back.
//!
//! # Who may change what
//! A task is on one CPU's queue at a time, [`Task::cpu`]. The lock of that queue protects the
//! task's state, its place on the lists and that number itself: a task is handed over under the
//! lock of the queue that it leaves. Meanwhile it is `Running` and on no list, and nobody takes it
//! for asleep. A task whose stack a CPU is still on (`on_cpu`) is not handed over.
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
//! Steps 1, 3 and b hold the lock of the sleeper's queue. If b comes before 1, it finds the
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
//! Lock order: `Rank::Pids`, `Rank::WaitQueue` and `Rank::RunQueue` are near the innermost, so
//! that who holds a zone's lock may wake a task. A wait queue's lock is held while those who wait
//! are woken; no two run queues are locked at once. The last reference to a task is dropped under
//! none of them, since it frees memory.
//!
//! # On the hosted machine
//! There threads are the host's. Each is a task, for what mm notes in it, and nothing switches
//! between them: what waits asks its condition again and again.
#![deny(unsafe_code)]

mod completion;
mod create_error;
#[expect(unsafe_code, reason = "the mechanism: it reads the register that has the task's address")]
mod current;
#[cfg_attr(not(target_os = "none"), allow(dead_code, reason = "all of it serves bare metal alone"))]
mod fair;
mod held;
mod hrtimeout;
#[cfg(target_os = "none")]
#[expect(unsafe_code, reason = "a thread's closure lies on its stack")]
mod kthread;
#[cfg_attr(not(target_os = "none"), allow(dead_code, reason = "all of it serves bare metal alone"))]
mod loadavg;
mod might_sleep;
#[expect(unsafe_code, reason = "the mechanism: it installs tables and counts references to them")]
mod mm;
mod mutex;
#[cfg_attr(not(target_os = "none"), allow(dead_code, reason = "all of it serves bare metal alone"))]
mod pid;
#[cfg_attr(
    not(target_os = "none"),
    allow(dead_code, reason = "most of it serves bare metal alone")
)]
mod pids;
#[cfg(target_os = "none")]
mod placement;
#[expect(unsafe_code, reason = "what waits for a grace period is linked through itself")]
pub mod rcu;
#[cfg_attr(not(target_os = "none"), allow(dead_code, reason = "all of it serves bare metal alone"))]
mod rq;
mod rwsem;
#[cfg(target_os = "none")]
#[expect(unsafe_code, reason = "the mechanism: it leaves stacks and enters them")]
mod schedule;
#[cfg(not(target_os = "none"))]
#[path = "hosted.rs"]
mod schedule;
#[cfg_attr(not(target_os = "none"), allow(dead_code, reason = "all of it serves bare metal alone"))]
mod select;
mod signal;
#[cfg(target_os = "none")]
mod stat;
mod sync_core;
#[cfg_attr(not(target_os = "none"), allow(dead_code, reason = "all of it serves bare metal alone"))]
mod task;
#[cfg(target_os = "none")]
mod task_line;
#[expect(unsafe_code, reason = "the mechanism: it reaches tasks through links in them")]
#[cfg_attr(not(target_os = "none"), allow(dead_code, reason = "all of it serves bare metal alone"))]
mod task_list;
#[expect(unsafe_code, reason = "the mechanism: it counts references and frees tasks")]
#[cfg_attr(not(target_os = "none"), allow(dead_code, reason = "all of it serves bare metal alone"))]
mod task_ref;
mod wait;
#[expect(unsafe_code, reason = "the mechanism: it reaches entries on the stacks of tasks")]
mod wait_list;

#[cfg(test)]
#[expect(unsafe_code, reason = "tests make memory for tasks")]
mod tests;

pub use completion::Completion;
pub use create_error::CreateError;
#[cfg(target_os = "none")]
pub(crate) use current::set_current;
pub use current::{CurrentTask, current, current_comm};
pub use fair::Nice;
pub use hrtimeout::{schedule_hrtimeout, sleep_until, usleep};
#[cfg(target_os = "none")]
pub(crate) use kthread::fork_idle;
#[cfg(target_os = "none")]
pub use kthread::{KThread, ReleaseStack, Stack, kthread_create, least_loaded_cpu};
pub use might_sleep::{check_sleep, might_sleep, might_sleep_as};
pub use mm::{Mm, MmRef, ReleaseMm};
#[cfg(target_os = "none")]
pub use mm::{current_mm, kthread_unuse_mm, kthread_use_mm};
pub use mutex::{Mutex, MutexGuard};
pub use pid::{BadPidMax, TaskCounts};
#[cfg(target_os = "none")]
pub use pids::{find_task_by_pid, tasks};
pub use pids::{pid_max, set_pid_max, task_counts};
#[cfg(target_os = "none")]
use placement::wake_up_state;
#[cfg(target_os = "none")]
pub use placement::{NoCpuAllowed, set_cpus_allowed, wake_up_process};
#[cfg(target_os = "none")]
pub use rq::CpuTime;
pub use rwsem::{RwReadGuard, RwSemaphore, RwWriteGuard};
#[cfg(target_os = "none")]
pub use schedule::threads;
#[cfg(all(test, not(target_os = "none")))]
pub(crate) use schedule::with_other_thread;
pub use schedule::{
    cond_resched, has_threads, jiffies, kick, may_sleep, sched_yield, schedule, schedule_timeout,
    set_current_state, should_stop,
};
#[cfg(target_os = "none")]
pub(crate) use schedule::{do_idle, init_cpu, make_idle, set_kick, tick, withdraw_cpu};
pub use signal::{allow_sigkill, fatal_signal_pending, send_sigkill};
#[cfg(target_os = "none")]
pub use stat::{SchedStat, cpu_time, loadavg, sched_stat};
pub use sync_core::kick_all_cpus_sync;
#[cfg(target_os = "none")]
pub(crate) use sync_core::sync_core_if_requested;
pub use task::{Comm, Life, TASK_NORMAL, Task, TaskState};
#[cfg(target_os = "none")]
pub use task_line::{TASK_LINE_TITLE, TaskLine};
pub use task_ref::{ReleaseTask, TaskMemory, TaskRef};
pub use wait::{Interrupted, WaitQueue};

#[cfg(not(target_os = "none"))]
use schedule::wake_up_state;

/// Ticks of a CPU in a second, and jiffies too (Linux: CONFIG_HZ).
pub const HZ: u64 = 100;

/// Sleeps for at least so many milliseconds. Process context.
#[track_caller]
pub fn msleep(ms: u64) {
    might_sleep();
    // One more: the first jiffy has begun already.
    let mut left = (ms * HZ).div_ceil(1000) + 1;
    while left > 0 {
        set_current_state(TaskState::Uninterruptible);
        left = schedule_timeout(left);
    }
}
