//! The atomics of what CPUs share without a lock. The program `loom` (examples/loom) compiles
//! the files that import them from here with others, which try every order of steps.

pub use core::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};
