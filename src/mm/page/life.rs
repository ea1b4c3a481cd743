//! How a frame changes hands: its flags and its reference count, which several CPUs look at and
//! change without a lock. The program `loom` (examples/loom) tries what is here in every order.

use crate::sync::atomic::{AtomicU16, AtomicU32, Ordering, Ordering::Relaxed};

/// The flags and the reference count of a frame's descriptor.
#[derive(Clone, Copy)]
pub(super) struct Life<'a> {
    pub(super) refcount: &'a AtomicU32,
    pub(super) flags: &'a AtomicU16,
}

impl Life<'_> {
    /// Gives a frame that nobody has its first reference, and no flags. With the reference it is
    /// in use to all who look on, and bad memory may be marked from there on: so the flags come
    /// first.
    #[inline(always)]
    pub(super) fn hand_out(self) {
        self.flags.store(0, Relaxed);
        self.refcount.store(1, Ordering::Release);
    }

    /// Whether the frame has references; what its allocation stored in the flags is earlier than
    /// what the caller does to them.
    #[inline]
    pub(super) fn is_in_use(self) -> bool {
        self.refcount.load(Ordering::Acquire) != 0
    }

    /// Adds flags.
    #[inline]
    pub(super) fn mark(self, flags: u16) {
        self.flags.fetch_or(flags, Relaxed);
    }

    /// Takes flags away.
    #[inline]
    pub(super) fn unmark(self, flags: u16) {
        self.flags.fetch_and(!flags, Relaxed);
    }

    /// Adds a reference for who holds one; how many there were.
    #[inline]
    pub(super) fn get(self) -> u32 {
        self.refcount.fetch_add(1, Relaxed)
    }

    /// Takes a reference away; how many there were. What all holders did is earlier than what
    /// the caller does who takes the last one.
    #[inline]
    pub(super) fn put(self) -> u32 {
        self.refcount.fetch_sub(1, Ordering::AcqRel)
    }
}
