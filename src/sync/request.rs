//! Something that others ask a CPU to do, and wait for.
//!
//! Who asks gets a [`Ticket`]; it is answered when the CPU has done what was asked for, having
//! begun after the question. So one answer serves all who asked before it was begun, and none
//! who asked later: what they saw may be newer than what was done.

use crate::sync::atomic::{AtomicU32, Ordering};

/// Questions to one CPU, and how many of them it has answered.
pub struct Request {
    asked: AtomicU32,
    done: AtomicU32,
}

/// A question: it is answered when as many are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use = "a question that nobody waits for need not be asked"]
pub struct Ticket(u32);

impl Request {
    /// Creates a word without a request.
    #[must_use]
    pub const fn new() -> Self {
        Self { asked: AtomicU32::new(0), done: AtomicU32::new(0) }
    }

    /// Asks. What the caller did before, the CPU that answers sees, which it does when it next comes to
    /// [`Request::heed`]. Any CPU.
    pub fn ask(&self) -> Ticket {
        Ticket(self.asked.fetch_add(1, Ordering::AcqRel).wrapping_add(1))
    }

    /// Returns whether a question is answered; then the caller sees what was done.
    #[must_use]
    pub fn is_answered(&self, ticket: Ticket) -> bool {
        // The numbers wrap: later is what is less than half the circle ahead.
        self.done.load(Ordering::Acquire).wrapping_sub(ticket.0) < 1 << 31
    }

    /// Runs `f` if there are questions, and answers those that there were before. It is for the CPU
    /// that is asked; a call within `f` answers nothing more.
    pub fn heed(&self, f: impl FnOnce()) {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The one who heeds may have begun before it: it has to be heeded once more.
    #[test]
    fn what_is_asked_meanwhile_is_not_answered_yet() {
        let request = Request::new();
        let first = request.ask();
        let mut second = None;
        request.heed(|| second = Some(request.ask()));
        let second = second.expect("it was heeded");
        assert!(request.is_answered(first) && !request.is_answered(second));
        let mut again = false;
        request.heed(|| again = true);
        assert!(again && request.is_answered(second));
        request.heed(|| panic!("nothing is asked"));
    }
}
