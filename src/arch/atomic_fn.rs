//! A pointer to a function that can be exchanged. One that is set once is a `Once`.

use core::marker::PhantomData;
use core::mem::transmute_copy;
use core::sync::atomic::{AtomicPtr, Ordering};

/// A pointer to a function.
///
/// # Safety
/// `Option<Self>` has the size of a pointer and no padding, as the language promises of each
/// optional pointer to a function.
pub unsafe trait FnPointer: Copy {}

// SAFETY: pointers to functions.
unsafe impl<R> FnPointer for fn() -> R {}
// SAFETY: the same.
unsafe impl FnPointer for fn(crate::arch::CpuId) {}
// SAFETY: the same.
unsafe impl FnPointer for crate::arch::fault::Handler {}
// SAFETY: the same.
unsafe impl FnPointer for crate::arch::fault::FastHandler {}

/// An atomic place for a pointer to a function, or for none.
#[repr(transparent)]
pub struct AtomicFn<F: FnPointer> {
    /// An `Option<F>`.
    to: AtomicPtr<()>,
    of: PhantomData<F>,
}

impl<F: FnPointer> AtomicFn<F> {
    /// Creates a place with no function.
    #[must_use]
    pub const fn none() -> Self {
        // SAFETY: of the size of a pointer, without padding: the trait's implementer promises it.
        let none = unsafe { transmute_copy::<Option<F>, *mut ()>(&None) };
        Self { to: AtomicPtr::new(none), of: PhantomData }
    }

    /// Returns the function that was stored last.
    #[inline(always)]
    #[must_use]
    pub fn load(&self, order: Ordering) -> Option<F> {
        let to = self.to.load(order);
        // SAFETY: only values that were an `Option<F>` are stored.
        unsafe { transmute_copy::<*mut (), Option<F>>(&to) }
    }

    /// Stores a function, or none.
    #[inline(always)]
    pub fn store(&self, function: Option<F>, order: Ordering) {
        // SAFETY: of the size of a pointer, without padding, as above.
        self.to.store(unsafe { transmute_copy::<Option<F>, *mut ()>(&function) }, order);
    }
}

#[cfg(test)]
mod tests {
    use super::AtomicFn;
    use core::sync::atomic::Ordering::Relaxed;

    fn one() -> u8 {
        1
    }
    fn two() -> u8 {
        2
    }

    #[test]
    fn holds_one_function_or_none() {
        static PLACE: AtomicFn<fn() -> u8> = AtomicFn::none();
        assert!(PLACE.load(Relaxed).is_none());
        for (function, answer) in [(one as fn() -> u8, 1), (two, 2), (one, 1)] {
            PLACE.store(Some(function), Relaxed);
            assert_eq!(PLACE.load(Relaxed).map(|function| function()), Some(answer));
        }
        PLACE.store(None, Relaxed);
        assert!(PLACE.load(Relaxed).is_none());
    }
}
