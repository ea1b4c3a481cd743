//! Sources of a pool's elements (Linux: mempool_alloc_t, mempool_free_t).

use super::{KmallocPool, Mempool, PagePool, SlabPool};
use crate::addr::{Order, VirtAddr};
use crate::mm::alloc::AllocError;
use crate::mm::alloc_pages;
use crate::mm::gfp::Gfp;
use crate::mm::page::Frame;
use crate::mm::page_alloc;
use crate::mm::slab::{RawCache, kfree, kmalloc};
use core::ptr::{self, NonNull};

/// Source of a pool's elements, which takes them back.
///
/// # Safety
/// What `alloc` returns is memory that is no one else's until `free`.
pub unsafe trait Backing {
    /// An element, or `None` where memory is short.
    fn alloc(&self, gfp: Gfp) -> Option<NonNull<u8>>;

    /// Takes an element back.
    ///
    /// # Safety
    /// It came from `alloc`, and nobody uses it afterwards.
    unsafe fn free(&self, element: NonNull<u8>);

    /// Takes back an element that is the pool's own.
    #[doc(hidden)]
    #[inline]
    fn give_back(&self, element: Element) {
        // SAFETY: an `Element` came from `alloc`, and this is the last of it.
        unsafe { self.free(element.0) }
    }
}

/// An element that is the pool's: in the reserve, or just given back.
#[doc(hidden)]
pub struct Element(pub(super) NonNull<u8>);

// SAFETY: it owns the memory that it points at.
unsafe impl Send for Element {}

impl<B: Backing> Mempool<B> {
    /// Takes back an element: into the reserve if that lacks one, else to the backing. Any
    /// context.
    ///
    /// # Safety
    /// It came from this pool, and nobody uses it afterwards.
    #[inline]
    pub unsafe fn free(&self, element: NonNull<u8>) {
        self.take_back(Element(element));
    }
}

/// Objects of a kmem cache.
pub struct SlabBacking(&'static RawCache);

// SAFETY: a cache gives objects that are no one else's.
unsafe impl Backing for SlabBacking {
    #[inline]
    fn alloc(&self, gfp: Gfp) -> Option<NonNull<u8>> {
        self.0.alloc(gfp)
    }
    #[inline]
    unsafe fn free(&self, element: NonNull<u8>) {
        // SAFETY: it came from this cache, as the caller says.
        unsafe { self.0.free(element) }
    }
}

/// Memory of kmalloc's, of so many bytes.
pub struct KmallocBacking(usize);

// SAFETY: kmalloc gives memory that is no one else's.
unsafe impl Backing for KmallocBacking {
    #[inline]
    fn alloc(&self, gfp: Gfp) -> Option<NonNull<u8>> {
        kmalloc(self.0, gfp)
    }
    #[inline]
    unsafe fn free(&self, element: NonNull<u8>) {
        // SAFETY: it came from kmalloc, as the caller says.
        unsafe { kfree(element.as_ptr()) }
    }
}

/// Blocks of pages of an order, by their addresses.
pub struct PageBacking(Order);

// SAFETY: the page allocator gives pages that are no one else's.
unsafe impl Backing for PageBacking {
    fn alloc(&self, gfp: Gfp) -> Option<NonNull<u8>> {
        let frame = alloc_pages::alloc_pages(gfp & !Gfp::__GFP_HIGHMEM, self.0)?;
        NonNull::new(ptr::with_exposed_provenance_mut(frame.virt().get()))
    }
    unsafe fn free(&self, element: NonNull<u8>) {
        let frame = Frame::from_virt(VirtAddr::from_ptr(element.as_ptr()));
        let frame = frame.expect("a page of the pool has a descriptor");
        // SAFETY: from `alloc`, and nobody uses it any more, as the caller says.
        unsafe { page_alloc::free_pages(frame, self.0) };
    }
}

impl SlabPool {
    /// A pool of objects of `cache`, which must not be destroyed before it (Linux:
    /// mempool_create_slab_pool).
    ///
    /// # Errors
    /// As for [`Mempool::new`].
    ///
    /// # Safety
    /// The cache outlives the pool.
    pub unsafe fn of_cache(min_nr: usize, cache: &'static RawCache) -> Result<Self, AllocError> {
        Self::new(min_nr, SlabBacking(cache))
    }
}

impl KmallocPool {
    /// A pool of kmalloc memory of `size` bytes (Linux: mempool_create_kmalloc_pool).
    ///
    /// # Errors
    /// As for [`Mempool::new`].
    pub fn of_size(min_nr: usize, size: usize) -> Result<Self, AllocError> {
        Self::new(min_nr, KmallocBacking(size))
    }
}

impl PagePool {
    /// A pool of blocks of pages (Linux: mempool_create_page_pool).
    ///
    /// # Errors
    /// As for [`Mempool::new`].
    pub fn of_order(min_nr: usize, order: Order) -> Result<Self, AllocError> {
        Self::new(min_nr, PageBacking(order))
    }
}
