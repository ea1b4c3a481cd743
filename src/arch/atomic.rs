//! The atomics of what CPUs share without a lock. The program `loom` (examples/loom) compiles
//! the files that import them from here with others, which try every order of steps.

#[cfg(target_os = "none")]
pub use core::sync::atomic::{AtomicU32, fence};
pub use core::sync::atomic::{AtomicU64, Ordering};
