//! The allocators that `Box` and `Vec` can live on.

use super::AllocError;
use crate::addr::{PAGE_SIZE, VirtAddr};
use crate::arch::irq::is_masked;
use crate::errno::Errno;
use crate::mm::gfp::Gfp;
use crate::mm::slab::{kfree, kmalloc, krealloc};
use crate::mm::util::kmalloc_size;
use crate::mm::util::{kvfree, kvmalloc_aligned};
use crate::mm::vmalloc;
use core::alloc::Layout;
use core::ptr::{self, NonNull};

/// Memory by layout. No layout passed here is of size 0.
///
/// # Safety
/// What `alloc` and `realloc` return is memory for the layout that is no one else's until
/// `free`.
pub unsafe trait Allocator {
    /// Memory for `layout`; zeros with `__GFP_ZERO`.
    ///
    /// # Errors
    /// There is none.
    fn alloc(layout: Layout, gfp: Gfp) -> Result<NonNull<u8>, AllocError>;

    /// Gives memory back.
    ///
    /// # Safety
    /// It came from this allocator with `layout`, and nobody uses it afterwards.
    unsafe fn free(at: NonNull<u8>, layout: Layout);

    /// Makes memory of layout `old` fit `new`, of the same alignment, and returns where it
    /// is now. Its bytes stay up to the smaller size; those beyond are of any value.
    ///
    /// # Errors
    /// There is no memory; then the old one is as it was.
    ///
    /// # Safety
    /// As for `free`; after success it is used through what was returned alone.
    unsafe fn realloc(
        at: NonNull<u8>,
        old: Layout,
        new: Layout,
        gfp: Gfp,
    ) -> Result<NonNull<u8>, AllocError> {
        // SAFETY: as the caller says.
        unsafe { moved::<Self>(at, old, new, gfp) }
    }
}

/// Moves what is at `at` to a new allocation of `A`.
///
/// # Safety
/// As for [`Allocator::realloc`].
unsafe fn moved<A: Allocator + ?Sized>(
    at: NonNull<u8>,
    old: Layout,
    new: Layout,
    gfp: Gfp,
) -> Result<NonNull<u8>, AllocError> {
    let to = A::alloc(new, gfp)?;
    // SAFETY: both are allocations of at least as many bytes, and not the same; the old one
    // is given up, as the caller says.
    unsafe {
        ptr::copy_nonoverlapping(at.as_ptr(), to.as_ptr(), old.size().min(new.size()));
        A::free(at, old);
    }
    Ok(to)
}

/// Memory from [`kmalloc`].
pub struct Kmalloc;

// SAFETY: kmalloc gives memory that is no one else's, of a class that fits the layout.
unsafe impl Allocator for Kmalloc {
    #[inline]
    fn alloc(layout: Layout, gfp: Gfp) -> Result<NonNull<u8>, AllocError> {
        kmalloc_size(layout).and_then(|size| kmalloc(size, gfp)).ok_or(AllocError)
    }

    #[inline]
    unsafe fn free(at: NonNull<u8>, _: Layout) {
        // SAFETY: it came from kmalloc, and nobody uses it, as the caller says.
        unsafe { kfree(at.as_ptr()) }
    }

    unsafe fn realloc(
        at: NonNull<u8>,
        _: Layout,
        new: Layout,
        gfp: Gfp,
    ) -> Result<NonNull<u8>, AllocError> {
        let size = kmalloc_size(new).ok_or(AllocError)?;
        // SAFETY: it came from kmalloc, and is used no more, as the caller says. What stays
        // in place has its old alignment, which is that of `new`.
        unsafe { krealloc(at.as_ptr(), size, gfp & !Gfp::__GFP_ZERO) }.ok_or(AllocError)
    }
}

/// Memory from [`vmalloc::vmalloc`]. Process context; elsewhere there is none. The emulated
/// machine's vmalloc area can't be reached by a pointer: there is none there either.
pub struct Vmalloc;

// SAFETY: vmalloc gives whole pages that are no one else's, at the alignment asked for.
unsafe impl Allocator for Vmalloc {
    fn alloc(layout: Layout, gfp: Gfp) -> Result<NonNull<u8>, AllocError> {
        if cfg!(not(target_os = "none")) || is_masked() {
            return Err(AllocError);
        }
        let area = vmalloc::vmalloc_aligned(layout.size(), layout.align(), gfp);
        let at = area.map(|area| ptr::with_exposed_provenance_mut(area.get()));
        at.and_then(NonNull::new).ok_or(AllocError)
    }

    unsafe fn free(at: NonNull<u8>, _: Layout) {
        // SAFETY: `alloc` returned it, and the caller gives it up.
        unsafe { vmalloc::vfree(VirtAddr::from_ptr(at.as_ptr())) };
    }

    unsafe fn realloc(
        at: NonNull<u8>,
        old: Layout,
        new: Layout,
        gfp: Gfp,
    ) -> Result<NonNull<u8>, AllocError> {
        // Its pages reach as far.
        if new.size().div_ceil(PAGE_SIZE) == old.size().div_ceil(PAGE_SIZE) {
            return Ok(at);
        }
        // SAFETY: as the caller says.
        unsafe { moved::<Self>(at, old, new, gfp) }
    }
}

/// Memory from [`kmalloc`], and from vmalloc where that has no block that large.
pub struct KVmalloc;

// SAFETY: both give memory that is no one else's, and fits the layout.
unsafe impl Allocator for KVmalloc {
    fn alloc(layout: Layout, gfp: Gfp) -> Result<NonNull<u8>, AllocError> {
        kvmalloc_aligned(layout, gfp).ok_or(AllocError)
    }

    unsafe fn free(at: NonNull<u8>, _: Layout) {
        // SAFETY: it came from one of the two, and nobody uses it, as the caller says.
        unsafe { kvfree(at.as_ptr()) }
    }
}

impl From<AllocError> for Errno {
    fn from(_: AllocError) -> Self {
        Self::ENOMEM
    }
}
