//! A value in memory of its own.

use super::{AllocError, Allocator, KVmalloc, Kmalloc, Vmalloc};
use crate::mm::gfp::Gfp;
use core::alloc::Layout;
use core::fmt;
use core::marker::PhantomData;
use core::mem::{ManuallyDrop, MaybeUninit};
use core::ops::{Deref, DerefMut};
use core::pin::Pin;
use core::ptr::NonNull;

/// A value that is owned through a pointer, in memory of `A`'s. A value of size 0 takes none.
pub struct Box<T: ?Sized, A: Allocator> {
    at: NonNull<T>,
    of: PhantomData<(A, T)>,
}

/// A [`Box`] from kmalloc.
pub type KBox<T> = Box<T, Kmalloc>;
/// A [`Box`] from vmalloc.
pub type VBox<T> = Box<T, Vmalloc>;
/// A [`Box`] from kmalloc, or else vmalloc.
pub type KVBox<T> = Box<T, KVmalloc>;

// SAFETY: it owns its value.
unsafe impl<T: ?Sized + Send, A: Allocator> Send for Box<T, A> {}
// SAFETY: through a shared reference it gives out shared references alone.
unsafe impl<T: ?Sized + Sync, A: Allocator> Sync for Box<T, A> {}

impl<T, A: Allocator> Box<T, A> {
    /// Moves `value` into new memory.
    ///
    /// # Errors
    /// Memory is short; `value` is dropped.
    #[inline]
    pub fn new(value: T, gfp: Gfp) -> Result<Self, AllocError> {
        Ok(Box::write(Self::new_uninit(gfp)?, value))
    }

    /// New memory without a value.
    ///
    /// # Errors
    /// Memory is short.
    #[inline]
    pub fn new_uninit(gfp: Gfp) -> Result<Box<MaybeUninit<T>, A>, AllocError> {
        let layout = Layout::new::<T>();
        let at =
            if layout.size() == 0 { NonNull::dangling() } else { A::alloc(layout, gfp)?.cast() };
        Ok(Box { at, of: PhantomData })
    }

    /// A value that stays where it is.
    ///
    /// # Errors
    /// Memory is short; `value` is dropped.
    pub fn pin(value: T, gfp: Gfp) -> Result<Pin<Self>, AllocError> {
        Self::new(value, gfp).map(Self::into_pin)
    }

    /// Takes the value out; its memory is freed.
    #[inline]
    pub fn into_inner(this: Self) -> T {
        let this = ManuallyDrop::new(this);
        // SAFETY: it holds a value, which is read once.
        let value = unsafe { this.at.read() };
        // SAFETY: the value is gone, and so is the box.
        unsafe { free::<A>(this.at.cast(), Layout::new::<T>()) };
        value
    }
}

impl<T, A: Allocator> Box<MaybeUninit<T>, A> {
    /// Moves `value` into memory that has none.
    #[inline]
    pub fn write(this: Self, value: T) -> Box<T, A> {
        let at = ManuallyDrop::new(this).at.cast::<T>();
        // SAFETY: the memory is the box's, and fit for a `T`.
        unsafe { at.write(value) };
        Box { at, of: PhantomData }
    }

    /// Takes the memory for a value.
    ///
    /// # Safety
    /// One has been written there.
    pub unsafe fn assume_init(this: Self) -> Box<T, A> {
        Box { at: ManuallyDrop::new(this).at.cast(), of: PhantomData }
    }
}

impl<T: ?Sized, A: Allocator> Box<T, A> {
    /// Gives up the ownership; [`Box::from_raw`] takes it again.
    #[inline]
    #[must_use = "the value is never freed otherwise"]
    pub fn into_raw(this: Self) -> NonNull<T> {
        ManuallyDrop::new(this).at
    }

    /// Takes back ownership of a value that [`Box::into_raw`] gave out.
    ///
    /// # Safety
    /// It came from there, of a box of the same allocator, and is given back once.
    #[inline]
    pub unsafe fn from_raw(at: NonNull<T>) -> Self {
        Self { at, of: PhantomData }
    }

    /// The value for good.
    #[must_use]
    pub fn leak<'a>(this: Self) -> &'a mut T
    where
        T: 'a,
    {
        // SAFETY: it holds a value, and nobody will free it.
        unsafe { ManuallyDrop::new(this).at.as_mut() }
    }

    /// Lets the value stay where it is.
    #[must_use]
    pub fn into_pin(this: Self) -> Pin<Self> {
        // SAFETY: a box never moves its value, but when it is taken out of a box that is
        // not pinned.
        unsafe { Pin::new_unchecked(this) }
    }
}

/// Frees the memory of a value, if it had any.
///
/// # Safety
/// It came from `A` with `layout`, and nobody uses it afterwards.
unsafe fn free<A: Allocator>(at: NonNull<u8>, layout: Layout) {
    if layout.size() != 0 {
        // SAFETY: as the caller says.
        unsafe { A::free(at, layout) }
    }
}

impl<T: ?Sized, A: Allocator> Drop for Box<T, A> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: it holds a value.
        let layout = Layout::for_value::<T>(unsafe { self.at.as_ref() });
        // SAFETY: the value is dropped once, and then its memory goes.
        unsafe {
            self.at.drop_in_place();
            free::<A>(self.at.cast(), layout);
        }
    }
}

impl<T: ?Sized, A: Allocator> Deref for Box<T, A> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: it holds a value, and owns it.
        unsafe { self.at.as_ref() }
    }
}

impl<T: ?Sized, A: Allocator> DerefMut for Box<T, A> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`, and this borrow is the only one.
        unsafe { self.at.as_mut() }
    }
}

impl<T: ?Sized + fmt::Debug, A: Allocator> fmt::Debug for Box<T, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        T::fmt(self, f)
    }
}

impl<T: ?Sized + fmt::Display, A: Allocator> fmt::Display for Box<T, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        T::fmt(self, f)
    }
}
