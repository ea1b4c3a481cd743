//! Memory that is freed when all readers are done with it (Linux: kfree_rcu, kvfree_rcu of
//! include/linux/rcupdate.h, mm/slab_common.c; Rust for Linux: rust/kernel/sync/rcu.rs).
//!
//! | what | is for |
//! | --- | --- |
//! | [`RcuBox`] | a value that readers may still see when its owner drops it |
//! | [`Rcu`] | a pointer to such a value, which readers follow and an owner replaces |
//! | [`kvfree_rcu`], [`kvfree_rcu_mightsleep`] | memory of [`kvmalloc`](super::util::kvmalloc)'s or `kmalloc`'s, by its address |
//!
//! Readers and grace periods are [`crate::sched::rcu`]'s; [`rcu_init`] starts the thread that
//! frees what waits.
#![deny(unsafe_code)]

#[expect(unsafe_code, reason = "the mechanism: values behind pointers that others follow")]
mod boxed;
#[expect(unsafe_code, reason = "the mechanism: memory by its address")]
mod kvfree;
#[cfg(test)]
#[expect(unsafe_code, reason = "memory is freed by its address")]
mod tests;

pub use crate::mm::rcu_gp::rcu_init;
pub use boxed::{Rcu, RcuBox};
pub use kvfree::{kvfree_rcu, kvfree_rcu_mightsleep};
