//! Locks and their order.
//!
//! Every lock has a [`Rank`]. A CPU takes locks in rising rank only; builds with
//! debug assertions check it at every acquisition and name both locks on a breach.
//! The order, outermost first, is the order of [`Rank`]'s variants.

pub mod atomic;
mod once;
pub(crate) mod rank;
mod request;
mod spinlock;
mod static_ref;

pub use once::Once;
pub use rank::{HeldLocks, LockRank, Rank, SleepRank, held_locks};
pub use request::{Request, Ticket};
pub use spinlock::{SpinGuard, SpinLock, WordGuard, init_word, lock_word, lock_word_nested};
pub use static_ref::StaticRef;
