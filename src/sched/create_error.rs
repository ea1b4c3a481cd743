//! Reasons why a task can't be created (Linux: the errors of copy_process, kernel/fork.c).
#![deny(unsafe_code)]

use core::fmt;

/// Reason why a task could not be created.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CreateError {
    /// All pids below the limit are taken (Linux: EAGAIN).
    NoPid,
    /// The CPU isn't up, or has no interrupts: nothing would wake it from its sleep.
    NoCpu,
    /// There is no memory for the task or its stack.
    NoMemory,
}

impl fmt::Display for CreateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoPid => "all pids up to pid_max are taken",
            Self::NoCpu => "its CPU is not up, or has no interrupts",
            Self::NoMemory => "no memory for the task or its stack",
        })
    }
}

impl core::error::Error for CreateError {}
