//! State of an [`RwSemaphore`](super::RwSemaphore), in one word: policy.
//!
//! | bits | contents |
//! | --- | --- |
//! | 0 to 61 | number of readers that hold it, or have just tried to |
//! | 62 | a writer holds it |
//! | 63 | threads wait |
//!
//! While threads wait, whoever comes waits behind them, and the first of them is handed the
//! semaphore by whoever makes room for it.

/// Unit of the count of readers.
pub(super) const READER: u64 = 1;
/// Bit of a writer.
pub(super) const WRITER: u64 = 1 << 62;
/// Bit that is set while threads wait.
pub(super) const WAITERS: u64 = 1 << 63;

/// Access that a thread asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Want {
    /// Reading, beside other readers.
    Read,
    /// Writing, alone.
    Write,
}

/// Number of readers that hold it.
pub(super) const fn readers(word: u64) -> u64 {
    word & (WRITER - 1)
}

/// Returns true if threads wait.
pub(super) const fn has_waiters(word: u64) -> bool {
    word & WAITERS != 0
}

/// The word after a thread that comes now got what it wants; `None` if it has to wait.
pub(super) const fn enter(word: u64, want: Want) -> Option<u64> {
    if has_waiters(word) { None } else { grant(word, want) }
}

/// The word after the first of those who wait got what it wants; `None` while others hold the
/// semaphore.
pub(super) const fn grant(word: u64, want: Want) -> Option<u64> {
    match want {
        Want::Read if word & WRITER == 0 => Some(word + READER),
        Want::Write if word & WRITER == 0 && readers(word) == 0 => Some(word + WRITER),
        _ => None,
    }
}
