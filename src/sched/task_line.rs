//! A task as a line, of a table for people (Linux: `ps -l`).
#![deny(unsafe_code)]

use super::task::{Life, Task};
use core::fmt;

/// The title of the columns of [`TaskLine`].
pub const TASK_LINE_TITLE: &str = "  PID S CPU  NI KIND       TIME FLAGS NAME";

/// A task as a line: its pid, state, CPU, nice value, whether it has users' memory, the seconds that
/// ticks have charged it, its flags of memory management, and its name. scripts/granule_gdb/tasks.py
/// prints the same.
pub struct TaskLine<'a>(pub &'a Task);

impl fmt::Display for TaskLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let task = self.0;
        let state = if task.life() == Life::Live { task.state().letter() } else { 'X' };
        let kind = if task.has_mm() { "user" } else { "kernel" };
        let hundredths = task.runtime() / 10_000_000;
        write!(
            f,
            "{:>5} {state} {:>3} {:>3} {kind:<6} {:>5}.{:02} {:#05x} {}",
            task.pid(),
            task.cpu().index(),
            task.nice().get(),
            hundredths / 100,
            hundredths % 100,
            task.flags().load(core::sync::atomic::Ordering::Relaxed),
            task.comm()
        )
    }
}
