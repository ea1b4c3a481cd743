//! Values that readers follow a pointer to.

use super::rcu_init;
use crate::mm::alloc::{AllocError, KBox};
use crate::mm::gfp::Gfp;
use crate::sched::rcu::{RcuHead, RcuReadGuard, call_rcu};
use core::fmt;
use core::marker::PhantomData;
use core::mem::ManuallyDrop;
use core::ops::Deref;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicPtr, Ordering};

/// A value with what it is freed by.
struct Object<T> {
    head: RcuHead,
    value: T,
}

/// A value in memory of its own. When it is dropped its readers may still see it: the value is
/// dropped, and its memory freed, once they are done. For the same reason nobody has it alone:
/// it is shared, as in an `Arc`.
pub struct RcuBox<T: Send + Sync + 'static> {
    at: NonNull<Object<T>>,
    of: PhantomData<Object<T>>,
}

// SAFETY: it owns its value, which any thread may have or share.
unsafe impl<T: Send + Sync> Send for RcuBox<T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync> Sync for RcuBox<T> {}

impl<T: Send + Sync + 'static> RcuBox<T> {
    /// Moves `value` into new memory. Any context that `gfp` is fit for.
    ///
    /// # Errors
    /// Memory is short; `value` is dropped.
    pub fn new(value: T, gfp: Gfp) -> Result<Self, AllocError> {
        let object = KBox::new(Object { head: RcuHead::new(), value }, gfp)?;
        if gfp.allows_blocking() {
            rcu_init();
        }
        Ok(Self { at: KBox::into_raw(object), of: PhantomData })
    }

    fn into_raw(self) -> *mut Object<T> {
        ManuallyDrop::new(self).at.as_ptr()
    }

    /// # Safety
    /// `into_raw` gave it out, and this is the only box of it; null is none.
    unsafe fn from_raw(at: *mut Object<T>) -> Option<Self> {
        Some(Self { at: NonNull::new(at)?, of: PhantomData })
    }
}

impl<T: Send + Sync + 'static> Deref for RcuBox<T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: it holds a value that is dropped after it.
        unsafe { &self.at.as_ref().value }
    }
}

impl<T: Send + Sync + fmt::Debug + 'static> fmt::Debug for RcuBox<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        T::fmt(self, f)
    }
}

impl<T: Send + Sync + 'static> Drop for RcuBox<T> {
    /// Any context.
    fn drop(&mut self) {
        unsafe fn free<T>(object: *mut ()) {
            // SAFETY: `new` took it out of a box, no reader sees it any more, and its one
            // owner gave it up.
            drop(unsafe { KBox::from_raw(NonNull::new_unchecked(object.cast::<Object<T>>())) });
        }
        // SAFETY: the object stays where it is until `free` has it; its value may be dropped by
        // any thread, and no borrow of it ends before the last reader does.
        unsafe {
            let object = self.at.as_ptr();
            let head = NonNull::new_unchecked(&raw mut (*object).head);
            call_rcu(head, free::<T>, object.cast());
        }
        rcu_init();
    }
}

/// A pointer to a value, or to none, which readers follow while others replace it (Linux:
/// rcu_dereference, rcu_assign_pointer).
pub struct Rcu<T: Send + Sync + 'static> {
    at: AtomicPtr<Object<T>>,
    of: PhantomData<RcuBox<T>>,
}

impl<T: Send + Sync + 'static> Rcu<T> {
    /// A pointer to nothing.
    #[must_use]
    pub const fn empty() -> Self {
        Self { at: AtomicPtr::new(ptr::null_mut()), of: PhantomData }
    }

    /// A pointer to `value`.
    #[must_use]
    pub fn new(value: RcuBox<T>) -> Self {
        Self { at: AtomicPtr::new(value.into_raw()), of: PhantomData }
    }

    /// The value, for as long as the guard lives: it stays as it is, though others may replace
    /// it meanwhile. Any context.
    #[inline]
    pub fn read<'g>(&self, _: &'g RcuReadGuard) -> Option<&'g T> {
        let at = self.at.load(Ordering::Acquire);
        // SAFETY: it was published here, and is freed no sooner than a grace period after it
        // was replaced: the guard's section is over by then.
        Some(unsafe { &(*NonNull::new(at)?.as_ptr()).value })
    }

    /// Lets it lead to `value`, or to nothing. Readers who came before may still see the old
    /// one, which is returned; dropped, it is freed when they are done. Any context.
    pub fn replace(&self, value: Option<RcuBox<T>>) -> Option<RcuBox<T>> {
        let at = value.map_or(ptr::null_mut(), RcuBox::into_raw);
        let old = self.at.swap(at, Ordering::AcqRel);
        // SAFETY: what is here was put here by `into_raw`, and is here no more.
        unsafe { RcuBox::from_raw(old) }
    }
}

impl<T: Send + Sync + 'static> Drop for Rcu<T> {
    fn drop(&mut self) {
        drop(self.replace(None));
    }
}
