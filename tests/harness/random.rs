//! Numbers that repeat.

#[allow(unused_imports, reason = "not every image draws numbers")]
pub use granule::prandom::Random;
