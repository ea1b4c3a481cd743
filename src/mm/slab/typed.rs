//! Caches of values: [`KmemCache`] hands out and takes back what it owns.

use super::caches::{kmem_cache_create, kmem_cache_destroy};
use super::flags::{AllocError, CreateError, DestroyError, SlabFlags};
use super::kmem_cache::RawCache;
use super::slabinfo::SlabInfo;
use crate::mm::gfp::Gfp;
use core::fmt;
use core::marker::PhantomData;
use core::mem::{ManuallyDrop, MaybeUninit};
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;

/// A cache of values of one type. Dropping it destroys it, unless a value was forgotten:
/// then it stays, and that is reported.
pub struct KmemCache<T> {
    /// Not a reference, which would have to stay valid while a function has it for an argument:
    /// [`KmemCache::destroy`] takes it, and frees what it leads to.
    raw: NonNull<RawCache>,
    /// Marks that the cache holds no values: they pass through, from any CPU to any.
    of: PhantomData<fn(T) -> T>,
}

// SAFETY: it is a reference to a `RawCache`, which any CPU may use and destroy.
unsafe impl<T> Send for KmemCache<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for KmemCache<T> {}

impl<T> KmemCache<T> {
    /// Creates a cache, or takes one that is alike. Process context (Linux: KMEM_CACHE).
    ///
    /// # Errors
    /// As for [`kmem_cache_create`].
    ///
    /// # Panics
    /// Instead of an error, with [`SlabFlags::PANIC`].
    pub fn new(name: &'static str, flags: SlabFlags) -> Result<Self, CreateError> {
        let size = size_of::<T>().max(1);
        let raw = kmem_cache_create(name, size, align_of::<T>(), flags, None)?;
        Ok(Self { raw: NonNull::from(raw), of: PhantomData })
    }

    /// The cache, for as long as nobody destroys it.
    #[inline(always)]
    fn cache(&self) -> &'static RawCache {
        // SAFETY: it is destroyed by `destroy` and `drop` alone, which end this value; what
        // borrows it, as boxes do, has ended by then.
        unsafe { self.raw.as_ref() }
    }

    /// Moves `value` into an object. Any context that `gfp` is fit for.
    ///
    /// # Errors
    /// Memory is short; `value` is dropped.
    #[inline]
    #[track_caller]
    pub fn alloc(&self, value: T, gfp: Gfp) -> Result<CacheBox<'_, T>, AllocError> {
        Ok(CacheBox::write(self.alloc_uninit(gfp)?, value))
    }

    /// Makes a value by `make` in an object, once there is memory for it.
    ///
    /// # Errors
    /// Memory is short.
    #[inline]
    #[track_caller]
    pub fn alloc_with(
        &self,
        make: impl FnOnce() -> T,
        gfp: Gfp,
    ) -> Result<CacheBox<'_, T>, AllocError> {
        let object = self.alloc_uninit(gfp)?;
        Ok(CacheBox::write(object, make()))
    }

    /// An object without a value; with `__GFP_ZERO` all zeros.
    ///
    /// # Errors
    /// Memory is short.
    #[inline]
    #[track_caller]
    pub fn alloc_uninit(&self, gfp: Gfp) -> Result<CacheBox<'_, MaybeUninit<T>>, AllocError> {
        let at = self.cache().alloc(gfp).ok_or(AllocError)?.cast();
        Ok(CacheBox { at, raw: self.cache(), of: PhantomData })
    }

    /// Takes back ownership of a value that [`CacheBox::into_raw`] gave out.
    ///
    /// # Safety
    /// It came from there, of a value of this cache, and is given back once.
    pub unsafe fn from_raw(&self, at: NonNull<T>) -> CacheBox<'_, T> {
        CacheBox { at, raw: self.cache(), of: PhantomData }
    }

    /// Like [`RawCache::shrink`].
    #[track_caller]
    pub fn shrink(&self) {
        self.cache().shrink();
    }

    /// The figures of this cache; of all its users, where it is merged.
    #[must_use]
    pub fn info(&self) -> SlabInfo {
        self.cache().info()
    }

    /// The untyped cache below, which is there as long as this is.
    #[must_use]
    pub fn raw(&self) -> NonNull<RawCache> {
        self.raw
    }

    /// Destroys it and gives its memory back.
    ///
    /// # Errors
    /// Values of it were forgotten. They are reported; the cache is still there.
    #[track_caller]
    pub fn destroy(self) -> Result<(), (Self, DestroyError)> {
        let cache = ManuallyDrop::new(self);
        // SAFETY: boxes borrow the cache, and nobody else uses it.
        match unsafe { kmem_cache_destroy(cache.raw.as_ptr()) } {
            Ok(()) => Ok(()),
            Err(why) => Err((ManuallyDrop::into_inner(cache), why)),
        }
    }
}

impl<T> Drop for KmemCache<T> {
    #[track_caller]
    fn drop(&mut self) {
        // What is live has been reported, and stays.
        // SAFETY: boxes borrow the cache, and nobody else uses it.
        let _ = unsafe { kmem_cache_destroy(self.raw.as_ptr()) };
    }
}

/// A value in an object of a [`KmemCache`]: dropped with it, which frees the object.
pub struct CacheBox<'a, T> {
    at: NonNull<T>,
    raw: &'static RawCache,
    of: PhantomData<(&'a RawCache, T)>,
}

// SAFETY: it owns its value, and any CPU may free an object.
unsafe impl<T: Send> Send for CacheBox<'_, T> {}
// SAFETY: through a shared reference it gives out shared references alone.
unsafe impl<T: Sync> Sync for CacheBox<'_, T> {}

impl<'a, T> CacheBox<'a, T> {
    /// Moves `value` into an object.
    #[inline]
    pub fn write(object: CacheBox<'a, MaybeUninit<T>>, value: T) -> Self {
        let object = ManuallyDrop::new(object);
        let at = object.at.cast::<T>();
        // SAFETY: the object was made for a `T` by a cache of those.
        unsafe { at.write(value) };
        Self { at, raw: object.raw, of: PhantomData }
    }

    /// Takes the value back; the object is freed.
    #[inline]
    #[track_caller]
    pub fn into_inner(this: Self) -> T {
        let this = ManuallyDrop::new(this);
        // SAFETY: it holds a value, which is read once.
        let value = unsafe { this.at.read() };
        // SAFETY: it came from this cache, and nobody else has it.
        unsafe { this.raw.free(this.at.cast()) };
        value
    }

    /// Gives up the ownership; [`KmemCache::from_raw`] takes it again.
    #[inline]
    #[must_use = "the value is never freed otherwise"]
    pub fn into_raw(this: Self) -> NonNull<T> {
        ManuallyDrop::new(this).at
    }
}

impl<T> Drop for CacheBox<'_, T> {
    #[inline]
    #[track_caller]
    fn drop(&mut self) {
        // SAFETY: it holds a value, which is dropped once, and came from this cache.
        unsafe {
            self.at.drop_in_place();
            self.raw.free(self.at.cast());
        }
    }
}

impl<T> Deref for CacheBox<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: it holds a value, and owns it.
        unsafe { self.at.as_ref() }
    }
}

impl<T> DerefMut for CacheBox<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`, and this borrow is the only one.
        unsafe { self.at.as_mut() }
    }
}

impl<T: fmt::Debug> fmt::Debug for CacheBox<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        T::fmt(self, f)
    }
}
