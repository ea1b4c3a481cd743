//! The kernel's locks and requests, on loom's atomics.

pub mod atomic {
    pub use crate::shim::atomic::{AtomicU16, AtomicU32, AtomicUsize, Ordering, fence};
}
#[path = "../../src/sync/request/mod.rs"]
mod request;
#[path = "../../src/sync/spinlock/mod.rs"]
mod spinlock;
pub use request::{Request, Ticket};
pub use spinlock::{Rank, SpinGuard, SpinLock};
