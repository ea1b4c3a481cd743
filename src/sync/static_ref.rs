//! A reference that can be exchanged.

use core::marker::PhantomData;
use core::sync::atomic::{AtomicPtr, Ordering};

/// An atomic place that refers to a value that lives for good.
#[repr(transparent)]
pub struct StaticRef<T: 'static> {
    to: AtomicPtr<T>,
    of: PhantomData<&'static T>,
}

impl<T> StaticRef<T> {
    /// Refers to `to`.
    pub const fn new(to: &'static T) -> Self {
        Self { to: AtomicPtr::new(core::ptr::from_ref(to).cast_mut()), of: PhantomData }
    }
    /// Creates `N` that all refer to `to`.
    pub const fn array<const N: usize>(to: &'static T) -> [Self; N] {
        let all = [core::ptr::from_ref(to); N];
        // SAFETY: each is one pointer, and refers to what lives for good.
        unsafe { core::mem::transmute_copy(&all) }
    }
    /// Returns the value referred to.
    #[inline(always)]
    pub fn get(&self) -> &'static T {
        // SAFETY: only references that live for good are stored, and what was written to the value
        // before is seen here, as `set`'s caller has promised.
        unsafe { &*self.to.load(Ordering::Relaxed) }
    }
    /// Lets it refer to `to`.
    ///
    /// # Safety
    /// What was written to `to` happens before each [`get`](Self::get) that may return it: no other
    /// CPU runs yet, say, and those are started after this call.
    pub unsafe fn set(&self, to: &'static T) {
        self.to.store(core::ptr::from_ref(to).cast_mut(), Ordering::Release);
    }
}
