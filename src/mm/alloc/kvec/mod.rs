//! A growing array.

mod into_iter;

use super::{AllocError, Allocator, KVmalloc, Kmalloc, Vmalloc};
use crate::mm::gfp::Gfp;
use core::alloc::Layout;
use core::fmt;
use core::marker::PhantomData;
use core::mem::{ManuallyDrop, MaybeUninit};
use core::ops::{Deref, DerefMut};
use core::ptr::{self, NonNull};
use core::slice;
pub use into_iter::IntoIter;

/// A contiguous array of values that grows, in memory of `A`'s.
pub struct Vec<T, A: Allocator> {
    /// Room for `capacity` values, of which the first `len` are there.
    at: NonNull<T>,
    capacity: usize,
    len: usize,
    of: PhantomData<(T, A)>,
}

/// A [`Vec`] from kmalloc.
pub type KVec<T> = Vec<T, Kmalloc>;
/// A [`Vec`] from vmalloc.
pub type VVec<T> = Vec<T, Vmalloc>;
/// A [`Vec`] from kmalloc, or else vmalloc.
pub type KVVec<T> = Vec<T, KVmalloc>;

// SAFETY: it owns its values.
unsafe impl<T: Send, A: Allocator> Send for Vec<T, A> {}
// SAFETY: through a shared reference it gives out shared references alone.
unsafe impl<T: Sync, A: Allocator> Sync for Vec<T, A> {}

/// There was no room, and none was to be made: the value comes back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PushError<T>(pub T);

impl<T> fmt::Display for PushError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no memory for another value")
    }
}

impl<T: fmt::Debug> core::error::Error for PushError<T> {}

impl<T, A: Allocator> Vec<T, A> {
    /// Without values and without memory.
    #[must_use]
    pub const fn new() -> Self {
        // Values of size 0 need no room.
        let capacity = if size_of::<T>() == 0 { usize::MAX } else { 0 };
        Self { at: NonNull::dangling(), capacity, len: 0, of: PhantomData }
    }

    /// Creates a vector with room for `capacity` values.
    ///
    /// # Errors
    /// Memory is short, or there can't be so much.
    pub fn with_capacity(capacity: usize, gfp: Gfp) -> Result<Self, AllocError> {
        let mut this = Self::new();
        this.reserve(capacity, gfp)?;
        Ok(this)
    }

    /// `n` clones of `value`.
    ///
    /// # Errors
    /// As for [`Vec::with_capacity`].
    pub fn from_elem(value: T, n: usize, gfp: Gfp) -> Result<Self, AllocError>
    where
        T: Clone,
    {
        let mut this = Self::new();
        this.extend_with(n, value, gfp)?;
        Ok(this)
    }

    /// Returns the number of values that there is room for.
    #[inline]
    #[must_use]
    pub const fn capacity(&self) -> usize {
        self.capacity
    }

    /// The values.
    #[inline]
    #[must_use]
    pub fn as_slice(&self) -> &[T] {
        self
    }

    /// The values.
    #[inline]
    #[must_use]
    pub fn as_mut_slice(&mut self) -> &mut [T] {
        self
    }

    fn layout(capacity: usize) -> Result<Layout, AllocError> {
        Layout::array::<T>(capacity).map_err(|_| AllocError)
    }

    /// Makes room for so many more values.
    ///
    /// # Errors
    /// Memory is short, or there can't be so much; all is as before.
    #[inline]
    pub fn reserve(&mut self, additional: usize, gfp: Gfp) -> Result<(), AllocError> {
        if additional <= self.capacity - self.len {
            return Ok(());
        }
        self.grow(additional, gfp)
    }

    #[cold]
    #[inline(never)]
    fn grow(&mut self, additional: usize, gfp: Gfp) -> Result<(), AllocError> {
        let needed = self.len.checked_add(additional).ok_or(AllocError)?;
        // At least twice as much, so that pushing takes constant time in the long run;
        // where that can't be had, what is needed will do.
        let twice = self.capacity.saturating_mul(2).max(needed);
        let light = gfp | Gfp::__GFP_NOWARN;
        if twice > needed
            && !gfp.contains(Gfp::__GFP_NOFAIL)
            && self.resize_memory(twice, light).is_ok()
        {
            return Ok(());
        }
        self.resize_memory(needed, gfp)
    }

    /// Lets there be room for exactly `capacity` values, not fewer than there are.
    fn resize_memory(&mut self, capacity: usize, gfp: Gfp) -> Result<(), AllocError> {
        let (old, new) = (Self::layout(self.capacity)?, Self::layout(capacity)?);
        let at = match (old.size(), new.size()) {
            (_, 0) => {
                // SAFETY: no value is left there.
                unsafe { self.free_memory() };
                NonNull::dangling()
            }
            (0, _) => A::alloc(new, gfp)?.cast(),
            // SAFETY: it came from there, and is used through what is returned from here on.
            _ => unsafe { A::realloc(self.at.cast(), old, new, gfp)?.cast() },
        };
        self.at = at;
        self.capacity = capacity;
        Ok(())
    }

    /// # Safety
    /// Nobody uses it afterwards.
    unsafe fn free_memory(&mut self) {
        if size_of::<T>() == 0 || self.capacity == 0 {
            return;
        }
        if let Ok(layout) = Self::layout(self.capacity) {
            // SAFETY: it came from there with this layout.
            unsafe { A::free(self.at.cast(), layout) }
        }
    }

    /// Gives back room beyond `capacity` values, or beyond those that are there.
    ///
    /// # Errors
    /// There is no memory for a smaller block; all is as before.
    pub fn shrink_to(&mut self, capacity: usize, gfp: Gfp) -> Result<(), AllocError> {
        let capacity = capacity.max(self.len);
        if size_of::<T>() == 0 || capacity >= self.capacity {
            return Ok(());
        }
        if capacity == 0 {
            return self.resize_memory(0, gfp);
        }
        // Into a block of its own: kmalloc would leave it in place.
        let to = A::alloc(Self::layout(capacity)?, gfp)?.cast();
        // SAFETY: both have room for `len` values, which move; the old block is given up.
        unsafe {
            ptr::copy_nonoverlapping(self.at.as_ptr(), to.as_ptr(), self.len);
            self.free_memory();
        }
        self.at = to;
        self.capacity = capacity;
        Ok(())
    }

    /// Puts `value` at the end.
    ///
    /// # Errors
    /// There is no memory for it; `value` is dropped.
    #[inline]
    pub fn push(&mut self, value: T, gfp: Gfp) -> Result<(), AllocError> {
        self.reserve(1, gfp)?;
        self.push_within_capacity(value).map_err(|_| AllocError)
    }

    /// Puts `value` at the end, without allocating.
    ///
    /// # Errors
    /// There is no room for it.
    #[inline]
    pub fn push_within_capacity(&mut self, value: T) -> Result<(), PushError<T>> {
        match self.spare_capacity_mut().first_mut() {
            Some(slot) => {
                slot.write(value);
                self.len += 1;
                Ok(())
            }
            None => Err(PushError(value)),
        }
    }

    /// Puts `value` before the value numbered `index`, without allocating.
    ///
    /// # Errors
    /// There is no room for it, or `index` is beyond the end.
    pub fn insert_within_capacity(&mut self, index: usize, value: T) -> Result<(), PushError<T>> {
        if index > self.len {
            return Err(PushError(value));
        }
        self.push_within_capacity(value)?;
        self[index..].rotate_right(1);
        Ok(())
    }

    /// Takes the last value.
    #[inline]
    pub fn pop(&mut self) -> Option<T> {
        self.len = self.len.checked_sub(1)?;
        // SAFETY: it was the last value, and is none of the vector's any more.
        Some(unsafe { self.at.add(self.len).read() })
    }

    /// Takes the value numbered `index`, if there is one; those behind it move up.
    pub fn remove(&mut self, index: usize) -> Option<T> {
        if index >= self.len {
            return None;
        }
        self[index..].rotate_left(1);
        self.pop()
    }

    /// Drops all values from `len` on.
    pub fn truncate(&mut self, len: usize) {
        let Some(gone) = self.len.checked_sub(len) else { return };
        self.len = len;
        // SAFETY: these were values, and are none of the vector's any more.
        unsafe { ptr::slice_from_raw_parts_mut(self.at.as_ptr().add(len), gone).drop_in_place() }
    }

    /// Drops all values; the memory stays.
    pub fn clear(&mut self) {
        self.truncate(0);
    }

    /// Drops the values of which `keep` says no.
    pub fn retain(&mut self, mut keep: impl FnMut(&mut T) -> bool) {
        let mut kept = 0;
        for index in 0..self.len {
            if keep(&mut self[index]) {
                self.swap(kept, index);
                kept += 1;
            }
        }
        self.truncate(kept);
    }

    /// Clones of all of `values` at the end.
    ///
    /// # Errors
    /// As for [`Vec::reserve`].
    pub fn extend_from_slice(&mut self, values: &[T], gfp: Gfp) -> Result<(), AllocError>
    where
        T: Clone,
    {
        self.reserve(values.len(), gfp)?;
        values.iter().try_for_each(|value| self.push(value.clone(), gfp))
    }

    /// `n` clones of `value` at the end.
    ///
    /// # Errors
    /// As for [`Vec::reserve`].
    pub fn extend_with(&mut self, n: usize, value: T, gfp: Gfp) -> Result<(), AllocError>
    where
        T: Clone,
    {
        self.reserve(n, gfp)?;
        let Some(clones) = n.checked_sub(1) else { return Ok(()) };
        (0..clones).try_for_each(|_| self.push(value.clone(), gfp))?;
        self.push(value, gfp)
    }

    /// Lets there be `len` values: clones of `value` more, or fewer.
    ///
    /// # Errors
    /// As for [`Vec::reserve`].
    pub fn resize(&mut self, len: usize, value: T, gfp: Gfp) -> Result<(), AllocError>
    where
        T: Clone,
    {
        match len.checked_sub(self.len) {
            Some(more) => self.extend_with(more, value, gfp),
            None => {
                self.truncate(len);
                Ok(())
            }
        }
    }

    /// The room that has no values yet.
    #[inline]
    pub fn spare_capacity_mut(&mut self) -> &mut [MaybeUninit<T>] {
        // SAFETY: there is room for `capacity` values, and this borrow is the only one.
        unsafe {
            slice::from_raw_parts_mut(
                self.at.add(self.len).cast().as_ptr(),
                self.capacity - self.len,
            )
        }
    }

    /// Says how many values there are.
    ///
    /// # Safety
    /// There is room for so many, and the first `len` have been written.
    pub unsafe fn set_len(&mut self, len: usize) {
        self.len = len;
    }

    /// Gives up the ownership: where it is, how many values there are and for how many
    /// there is room.
    #[must_use = "the values are never freed otherwise"]
    pub fn into_raw_parts(self) -> (NonNull<T>, usize, usize) {
        let this = ManuallyDrop::new(self);
        (this.at, this.len, this.capacity)
    }

    /// Takes back ownership of a vector that [`Vec::into_raw_parts`] gave out.
    ///
    /// # Safety
    /// It came from there, of a vector of the same allocator, and is given back once.
    pub unsafe fn from_raw_parts(at: NonNull<T>, len: usize, capacity: usize) -> Self {
        Self { at, capacity, len, of: PhantomData }
    }
}

impl<T, A: Allocator> Default for Vec<T, A> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T, A: Allocator> Drop for Vec<T, A> {
    fn drop(&mut self) {
        self.clear();
        // SAFETY: no value is left there.
        unsafe { self.free_memory() }
    }
}

impl<T, A: Allocator> Deref for Vec<T, A> {
    type Target = [T];
    #[inline]
    fn deref(&self) -> &[T] {
        // SAFETY: `len` values are there.
        unsafe { slice::from_raw_parts(self.at.as_ptr(), self.len) }
    }
}

impl<T, A: Allocator> DerefMut for Vec<T, A> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `deref`, and this borrow is the only one.
        unsafe { slice::from_raw_parts_mut(self.at.as_ptr(), self.len) }
    }
}

impl<T: fmt::Debug, A: Allocator> fmt::Debug for Vec<T, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_slice().fmt(f)
    }
}

impl<T: PartialEq, A: Allocator, S: AsRef<[T]>> PartialEq<S> for Vec<T, A> {
    fn eq(&self, other: &S) -> bool {
        self.as_slice() == other.as_ref()
    }
}

impl<'a, T, A: Allocator> IntoIterator for &'a Vec<T, A> {
    type Item = &'a T;
    type IntoIter = slice::Iter<'a, T>;
    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}
