//! A value that is written once, at boot, and read ever after.

/// A cell that is set once and read without a lock.
pub use spin::Once;
