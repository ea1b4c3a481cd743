//! Signs of life from steps of the boot that take noticeable time on large machines.

use crate::arch::cpu;
use log::info;

/// Progress of a step of the boot. Reports after half a second, and again whenever twice that
/// time or another five seconds have gone by: a step that is quick says nothing.
pub(super) struct Progress {
    what: &'static str,
    total: u64,
    /// The timer's count at which to speak next, and how long that was to wait for.
    next: u64,
    pause: u64,
}

impl Progress {
    /// A step begins that has `total` bytes to work through.
    pub(super) fn start(what: &'static str, total: u64) -> Self {
        let pause = cpu::tick_frequency() / 2;
        // Nobody knows how long a second is where the firmware forgot to say.
        let next = if pause == 0 { u64::MAX } else { cpu::ticks() + pause };
        Self { what, total, next, pause }
    }

    /// The step has worked through `done` bytes.
    pub(super) fn at(&mut self, done: u64) {
        let now = cpu::ticks();
        if now >= self.next {
            info!("{}: {} of {} MiB", self.what, done >> 20, self.total >> 20);
            self.pause = (self.pause * 2).min(5 * cpu::tick_frequency());
            self.next = now + self.pause;
        }
    }
}
