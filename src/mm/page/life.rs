//! Ownership of a frame: its flags and its reference count, which several CPUs read and change
//! without a lock. The program `loom` (examples/loom) tries this code in every order.
#![deny(unsafe_code)]

use crate::sync::atomic::{AtomicU16, AtomicU32, Ordering, Ordering::Relaxed};

/// The most holders that are counted. A page that has had more is never freed.
pub const REFCOUNT_MAX: u32 = i32::MAX as u32;
/// The count of a page that has had more holders than can be counted: far from both ends, so
/// that CPUs which change it at once stay on its side (Linux: REFCOUNT_SATURATED).
pub const REFCOUNT_SATURATED: u32 = 0xc000_0000;

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

    /// Returns true if the frame has references. The read is an acquire: what its allocation
    /// stored in the flags comes before what the caller does to them.
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

    /// Adds a reference for a holder of one, and returns the number before. A count that is too
    /// large saturates (Linux: refcount_inc).
    #[inline]
    pub(super) fn get(self) -> u32 {
        let was = self.refcount.fetch_add(1, Relaxed);
        if was >= REFCOUNT_MAX {
            self.refcount.store(REFCOUNT_SATURATED, Relaxed);
        }
        was
    }

    /// Adds a reference if there is one, and the count has room. Returns true if it did (Linux:
    /// refcount_inc_not_zero).
    #[inline]
    pub(super) fn try_get(self) -> bool {
        let next = |was: u32| (was != 0 && was < REFCOUNT_MAX).then(|| was + 1);
        self.refcount.fetch_update(Relaxed, Relaxed, next).is_ok()
    }

    /// Drops a reference, and returns the number before. Everything that the holders did comes
    /// before what the caller does after dropping the last one. A saturated count stays so, and
    /// its page in use (Linux: refcount_dec_and_test).
    #[inline]
    pub(super) fn put(self) -> u32 {
        let was = self.refcount.fetch_sub(1, Ordering::AcqRel);
        if was > REFCOUNT_MAX {
            self.refcount.store(REFCOUNT_SATURATED, Relaxed);
        }
        was
    }

    /// Number of references. The read is an acquire: what another holder did before it dropped
    /// its reference comes before what the caller does if it finds itself to be the last.
    #[inline]
    pub(super) fn count(self) -> u32 {
        self.refcount.load(Ordering::Acquire)
    }
}
