//! Output of commands, and waiting for what is typed.
#![deny(unsafe_code)]

use crate::arch::cpu;
use crate::arch::irq::is_masked;
use crate::drivers::console;
use crate::kprint;
use crate::sched::{self, HZ, WaitQueue};
use core::fmt::{self, Write};

/// Waiters for console input.
pub(super) static TYPED: WaitQueue = WaitQueue::new();

/// Waits until something was typed, for up to `jiffies`. Returns true if it was. Other threads
/// run meanwhile. A CPU without interrupts has no threads, and polls.
pub(super) fn wait(jiffies: Option<u64>) -> bool {
    let ready = console::receive;
    if !sched::has_threads() {
        let until = jiffies.map(|jiffies| sched::jiffies() + jiffies);
        while !ready() && until.is_none_or(|until| sched::jiffies() < until) {
            cpu::relax();
        }
        return ready();
    }
    match jiffies {
        Some(jiffies) => TYPED.wait_event_timeout(ready, jiffies).is_some(),
        None => {
            TYPED.wait_event(ready);
            true
        }
    }
}

/// Sleeps for `seconds`, or until a key is typed. Returns true if one was; it is discarded.
pub(super) fn key_within(seconds: u32) -> bool {
    let pressed = wait(Some(u64::from(seconds) * HZ));
    while console::read().is_some() {}
    pressed
}

/// Output of a command. After Ctrl-C every write fails.
pub(super) struct Screen {
    interrupted: bool,
}

impl Screen {
    /// Creates the output of a command that begins now.
    pub const fn new() -> Self {
        Self { interrupted: false }
    }

    /// Returns true if Ctrl-C was typed since the command began.
    pub fn is_interrupted(&mut self) -> bool {
        self.interrupted = self.interrupted || console::interrupted();
        self.interrupted
    }

    /// Lets other threads of this CPU run; an error at Ctrl-C.
    pub fn pause(&mut self) -> fmt::Result {
        if !is_masked() && sched::has_threads() {
            sched::cond_resched();
        }
        if self.is_interrupted() { Err(fmt::Error) } else { Ok(()) }
    }

    /// Clears the terminal.
    pub fn clear(&mut self) -> fmt::Result {
        self.write_str("\x1b[H\x1b[2J")
    }
}

impl Write for Screen {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        if self.interrupted {
            return Err(fmt::Error);
        }
        kprint!("{s}");
        if s.contains('\n') { self.pause() } else { Ok(()) }
    }
}
