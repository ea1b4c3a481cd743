//! The monitor: a prompt on the console of a kernel that has booted, to look around in its
//! memory and to use it. docs/monitor.md tells of its commands.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `line`, `history` | policy: editing a line, and the lines before it |
//! | `command` | policy: the commands, from text to values |
//! | `complete` | policy: what a word that was begun could be |
//! | `tty` | what was typed and what is shown; the loop around the rest |
//! | `files` | `cat`, `ls`, `echo`, `dmesg` |
//! | `look` | `pt`, `page`, `maps`, `ps`, `slab`, `top`, `date` |
//! | `held` | what was allocated from the prompt, and `free` |
//! | `work` | `fragment`, `compact`, `stress` |
//! | `bench` | operations that are measured |
//! | `power` | `reboot`, `poweroff` |
//!
//! It is the kernel's first thread, on the boot CPU, and sleeps while nothing is typed; others
//! run whenever it waits or prints. What it prints stops at Ctrl-C. Nothing that is typed ends
//! the kernel but `fault`, `reboot` and `poweroff`: text is parsed into values, and what the
//! values name is looked up before it is touched.

#[cfg(target_os = "none")]
mod bench;
#[cfg(any(target_os = "none", test))]
mod command;
#[cfg(any(target_os = "none", test))]
mod complete;
#[cfg(target_os = "none")]
mod files;
#[cfg(target_os = "none")]
mod held;
#[cfg(any(target_os = "none", test))]
mod history;
#[cfg(any(target_os = "none", test))]
mod line;
#[cfg(target_os = "none")]
mod look;
#[cfg(target_os = "none")]
mod power;
#[cfg(target_os = "none")]
mod screen;
#[cfg(test)]
mod tests;
#[cfg(target_os = "none")]
mod tty;
#[cfg(target_os = "none")]
mod work;

#[cfg(target_os = "none")]
pub use tty::{is_wanted, run};
