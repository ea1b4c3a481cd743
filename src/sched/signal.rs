//! The one signal that there is so far: SIGKILL, for killable waits (Linux: kernel/signal.c).
#![deny(unsafe_code)]

use super::current::current;
use super::task::{TASK_WAKEKILL, Task, TaskState};
use super::wake_up_state;
use crate::arch::irq::with_masked;

/// Has SIGKILL end the killable waits of the calling task. Kernel threads ignore it unless they call
/// this (Linux: allow_kernel_signal).
pub fn allow_sigkill() {
    current().allow_sigkill();
}

/// Sends SIGKILL to a task: it is woken where it sleeps killably or interruptibly, and waits so no
/// more. Returns false, and does nothing, if the task ignores it, as kernel threads do. Any context,
/// under any lock of lower rank (Linux: send_sig, signal_wake_up).
pub fn send_sigkill(task: &Task) -> bool {
    let sent = task.set_sigkill();
    if sent {
        let states = TASK_WAKEKILL | TaskState::Interruptible.bit();
        with_masked(|irq| wake_up_state(task, states, irq));
    }
    sent
}

/// Returns true if the calling task has got SIGKILL (Linux: fatal_signal_pending).
#[must_use]
pub fn fatal_signal_pending() -> bool {
    current().fatal_signal_pending()
}
