//! Request to a CPU to run a function, which other CPUs make and wait for.
//!
//! A requester gets a [`Ticket`]. It is answered once the CPU has run the function, begun after
//! the request. One run serves all requests made before it began, and none made later, since
//! their callers may have changed something that the run did not see.

use crate::sync::atomic::{AtomicU32, Ordering};

#[cfg(test)]
mod tests;

/// Numbers of requests made to one CPU, and answered by it.
pub struct Request {
    asked: AtomicU32,
    done: AtomicU32,
}

/// Number of a request: it is answered once that many requests are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use = "a request that nobody waits for need not be made"]
pub struct Ticket(u32);

impl Request {
    /// Creates a word without a request.
    #[must_use]
    pub const fn new() -> Self {
        Self { asked: AtomicU32::new(0), done: AtomicU32::new(0) }
    }

    /// Makes a request, which the CPU answers at its next [`Request::run_if_requested`]; that run
    /// sees what the caller did before. Any CPU.
    pub fn ask(&self) -> Ticket {
        Ticket(self.asked.fetch_add(1, Ordering::AcqRel).wrapping_add(1))
    }

    /// Returns the ticket of the latest request. Whoever has made one, and waits for this ticket,
    /// waits for its own request too, and need not keep its ticket.
    pub fn last(&self) -> Ticket {
        Ticket(self.asked.load(Ordering::Acquire))
    }

    /// Returns whether a request is answered; if so the caller sees the effects of the run.
    #[must_use]
    pub fn is_answered(&self, ticket: Ticket) -> bool {
        // The numbers wrap: later is what is less than half the circle ahead.
        self.done.load(Ordering::Acquire).wrapping_sub(ticket.0) < 1 << 31
    }

    /// Runs `f` if there are unanswered requests, and answers those made before it began. Called on
    /// the CPU that the requests are to; a call within `f` answers nothing more.
    pub fn run_if_requested(&self, f: impl FnOnce()) {
        let asked = self.asked.load(Ordering::Acquire);
        if asked != self.done.load(Ordering::Relaxed) {
            f();
            self.done.store(asked, Ordering::Release);
        }
    }
}

impl Default for Request {
    fn default() -> Self {
        Self::new()
    }
}
