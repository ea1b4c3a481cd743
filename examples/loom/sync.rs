//! The kernel's locks and requests, on loom's atomics.

pub mod atomic {
    pub use crate::shim::atomic::{AtomicU16, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};
}
#[path = "../../src/sync/rank.rs"]
pub(crate) mod rank;
#[path = "../../src/sync/request/mod.rs"]
mod request;
#[path = "../../src/sync/spinlock/mod.rs"]
mod spinlock;
pub use rank::{HeldLocks, LockRank, Rank, SleepRank, held_locks};
pub use request::{Request, Ticket};
pub use spinlock::{SpinGuard, SpinLock};
