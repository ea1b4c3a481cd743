//! `Box` and `Vec` that say what they may do for memory, and whose failure is a value
//! (Rust for Linux: rust/kernel/alloc).
//!
//! | type | its memory |
//! | --- | --- |
//! | [`KBox`], [`KVec`] | kmalloc: contiguous, up to 4 MiB |
//! | [`VBox`], [`VVec`] | vmalloc: contiguous in virtual addresses alone |
//! | [`KVBox`], [`KVVec`] | kmalloc, and vmalloc where that has no block that large |
//! | [`KArc`] | kmalloc, for a value with several owners |
//!
//! [`unsize!`](crate::unsize) makes a `KArc<dyn Trait>` or `KBox<dyn Trait>`.
//!
//! Every operation that may allocate takes [`Gfp`](crate::mm::gfp::Gfp) flags and returns
//! `Result<_, AllocError>`; none panics for want of memory, nor for a capacity that
//! overflows. What fails leaves the box or vector as it was.

mod allocator;
mod karc;
mod kbox;
mod kvec;
#[cfg(test)]
mod tests;

pub use crate::mm::slab::AllocError;
pub use allocator::{Allocator, KVmalloc, Kmalloc, Vmalloc};
pub use karc::{KArc, KArcInner};
pub use kbox::{Box, KBox, KVBox, VBox};
pub use kvec::{IntoIter, KVVec, KVec, PushError, VVec, Vec};
