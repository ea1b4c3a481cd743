//! Values with several owners (Linux: kref, refcount_t; Rust for Linux: rust/kernel/sync/arc.rs).

use super::{AllocError, KBox};
use crate::mm::gfp::Gfp;
use crate::sync::atomic::{AtomicU32, Ordering, fence};
use core::fmt;
use core::marker::PhantomData;
use core::mem::ManuallyDrop;
use core::ops::Deref;
use core::ptr::NonNull;

#[cfg(test)]
mod tests;

/// Contents of the memory of a [`KArc`]: the number of owners and the value. Public for
/// [`unsize!`](crate::unsize).
#[repr(C)]
pub struct KArcInner<T: ?Sized> {
    refcount: AtomicU32,
    value: T,
}

/// A reference to a value that is dropped when its last reference is, in memory from kmalloc.
/// Contents are shared: what changes needs a lock or an atomic.
///
/// A `KArc<T>` becomes a `KArc<dyn Trait>` by [`unsize!`](crate::unsize).
pub struct KArc<T: ?Sized> {
    at: NonNull<KArcInner<T>>,
    of: PhantomData<KArcInner<T>>,
}

// SAFETY: each owner can reach the value from its thread, and the last one drops it there.
unsafe impl<T: ?Sized + Send + Sync> Send for KArc<T> {}
// SAFETY: as above, since a shared `KArc` can be cloned.
unsafe impl<T: ?Sized + Send + Sync> Sync for KArc<T> {}

/// The most references that are counted. A count that leaks ends the kernel before it wraps.
const MAX: u32 = u32::MAX / 2;

impl<T> KArc<T> {
    /// Moves `value` into new memory, with one reference. Context as `gfp` says.
    ///
    /// # Errors
    /// Memory is short; `value` is dropped.
    #[inline]
    pub fn new(value: T, gfp: Gfp) -> Result<Self, AllocError> {
        let inner = KBox::new(KArcInner { refcount: AtomicU32::new(1), value }, gfp)?;
        Ok(Self { at: KBox::into_raw(inner), of: PhantomData })
    }
}

impl<T: ?Sized> KArc<T> {
    /// Returns whether both are references to the same value.
    #[must_use]
    pub fn ptr_eq(this: &Self, other: &Self) -> bool {
        this.at.cast::<u8>() == other.at.cast::<u8>()
    }

    /// Address of the value, valid while there is a reference.
    #[must_use]
    pub fn as_ptr(this: &Self) -> *const T {
        core::ptr::from_ref(&**this)
    }

    /// Number of references at this moment. Others may clone and drop theirs meanwhile, unless it
    /// is 1: then the caller has the only one.
    #[must_use]
    pub fn strong_count(this: &Self) -> u32 {
        this.inner().refcount.load(Ordering::Acquire)
    }

    /// Access to the value for the owner of the only reference; `None` where there are others.
    #[must_use]
    pub fn get_mut(this: &mut Self) -> Option<&mut T> {
        if Self::strong_count(this) != 1 {
            return None;
        }
        // SAFETY: the only reference is borrowed mutably, so nobody else reaches the value.
        Some(unsafe { &mut this.at.as_mut().value })
    }

    /// Gives up the reference without dropping it, for [`KArc::from_raw`].
    #[must_use = "the reference is never dropped otherwise"]
    pub fn into_raw(this: Self) -> NonNull<KArcInner<T>> {
        ManuallyDrop::new(this).at
    }

    /// Takes the reference back that [`KArc::into_raw`] gave up.
    ///
    /// # Safety
    /// The pointer came from there, perhaps with its target unsized since, and is taken back once.
    #[must_use]
    pub unsafe fn from_raw(at: NonNull<KArcInner<T>>) -> Self {
        Self { at, of: PhantomData }
    }

    #[inline(always)]
    fn inner(&self) -> &KArcInner<T> {
        // SAFETY: the memory stays while there is a reference, which this is.
        unsafe { self.at.as_ref() }
    }
}

impl<T: ?Sized> Clone for KArc<T> {
    /// Returns a further reference. Any context.
    ///
    /// # Panics
    /// There are as many as can be counted.
    #[inline]
    fn clone(&self) -> Self {
        let before = self.inner().refcount.fetch_add(1, Ordering::Relaxed);
        assert!(
            before < MAX,
            "KArc of {} at {:p}: {before} references",
            core::any::type_name::<T>(),
            self.at
        );
        Self { at: self.at, of: PhantomData }
    }
}

impl<T: ?Sized> Drop for KArc<T> {
    #[inline]
    fn drop(&mut self) {
        if self.inner().refcount.fetch_sub(1, Ordering::Release) != 1 {
            return;
        }
        // Everything that others did with the value comes before its end.
        fence(Ordering::Acquire);
        // SAFETY: this was the last reference to memory that came from a box.
        drop(unsafe { KBox::from_raw(self.at) });
    }
}

impl<T: ?Sized> Deref for KArc<T> {
    type Target = T;
    #[inline(always)]
    fn deref(&self) -> &T {
        &self.inner().value
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for KArc<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        T::fmt(self, f)
    }
}

impl<T: ?Sized + fmt::Display> fmt::Display for KArc<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        T::fmt(self, f)
    }
}
