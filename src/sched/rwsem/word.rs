//! State of an [`RwSemaphore`](super::RwSemaphore), in one word: policy.
//!
//! | bits | contents |
//! | --- | --- |
//! | 0 to 30 | number of readers that hold it |
//! | 31 | a writer holds it |
//! | 32 to 47 | ticket of the waiter whose turn it is |
//! | 48 to 63 | the next ticket |
//!
//! Where the two tickets differ, threads wait, and whoever comes waits behind them. A claim and
//! the end of its turn are one step, so that no thread can come between.

/// One reader.
pub(super) const READER: u64 = 1;
/// The bits of the readers.
const READERS: u64 = WRITER - 1;
/// A writer.
pub(super) const WRITER: u64 = 1 << 31;
const TURN_SHIFT: u32 = 32;
const TURN: u64 = 0xffff << TURN_SHIFT;
const NEXT_SHIFT: u32 = 48;
/// One ticket. The sum leaves the word where it overflows, so tickets are counted modulo 2^16:
/// more than there can be threads.
pub(super) const TICKET: u64 = 1 << NEXT_SHIFT;

/// What a thread wants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Want {
    /// To hold it beside other readers.
    Read,
    /// To hold it alone.
    Write,
}

/// Number of readers that hold it.
pub(super) const fn readers(word: u64) -> u64 {
    word & READERS
}

/// Returns true if threads wait.
pub(super) const fn has_waiters(word: u64) -> bool {
    (word >> NEXT_SHIFT) as u16 != (word >> TURN_SHIFT) as u16
}

/// Returns true if a thread that comes now may be one more reader.
pub(super) const fn may_read(word: u64) -> bool {
    word & WRITER == 0 && !has_waiters(word)
}

/// The next ticket.
pub(super) const fn next_ticket(word: u64) -> u16 {
    (word >> NEXT_SHIFT) as u16
}

/// The word after a thread that waits with `ticket` got what it wants; `None` while it is not its
/// turn, or others hold the semaphore.
pub(super) fn claim(word: u64, want: Want, ticket: u16) -> Option<u64> {
    if (word >> TURN_SHIFT) as u16 != ticket {
        return None;
    }
    let held = match want {
        Want::Read if word & WRITER == 0 => READER,
        Want::Write if word & (WRITER | READERS) == 0 => WRITER,
        _ => return None,
    };
    let turn = u64::from(ticket.wrapping_add(1)) << TURN_SHIFT;
    Some((word & !TURN | turn) + held)
}
