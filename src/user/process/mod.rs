//! Processes: their state, the exceptions of their programs, and how they end.
//!
//! | file | what is there (Linux) |
//! | --- | --- |
//! | `exec` | from a path to a program that can run (fs/exec.c) |
//! | `process` | a process and what belongs to it (struct task_struct, struct signal_struct) |
//! | `program` | handlers of a program's exceptions (arch/arm64/kernel/entry-common.c) |
//! | `spawn` | starting processes, and their ends (kernel/fork.c, kernel/exit.c) |
//! | `table` | the processes by their numbers |
//! | [`rlimit`] | limits (kernel/sys.c) |
//! | [`signal`] | signals and wait statuses (kernel/signal.c) |
//! | [`trap`] | signals for exceptions (arch/arm64/kernel/traps.c, arch/arm64/mm/fault.c) |
#![deny(unsafe_code)]

#[cfg(target_os = "none")]
mod exec;
#[cfg(target_os = "none")]
#[expect(clippy::module_inception, reason = "the process itself")]
mod process;
#[cfg(target_os = "none")]
mod program;
pub mod rlimit;
pub mod signal;
#[cfg(target_os = "none")]
mod spawn;
#[cfg(target_os = "none")]
pub mod table;
pub mod trap;

#[cfg(target_os = "none")]
pub use process::{Process, SigAction};
#[cfg(target_os = "none")]
pub use program::run;
pub use rlimit::Resource;
#[cfg(target_os = "none")]
pub use spawn::{Child, Command, spawn};
