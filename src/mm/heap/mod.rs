//! The kernel's heap: what `alloc::{boxed, vec, collections}` live on.
//!
//! Until the slab allocator is up, a list allocator serves from a small buffer of
//! the image; afterwards kmalloc does, and vmalloc where kmalloc has no block that
//! large and the caller may sleep. What came from where is told apart by its address.
//!
//! Any context. What is at hand is given out at once. Where there is nothing, one who may
//! sleep, a thread with interrupts on, reclaims as `GFP_KERNEL` has it; for others there is
//! no memory then. So no lock that reclaim or a shrinker may take is to be held by a thread
//! that allocates here with interrupts on.

use crate::addr::{PAGE_SIZE, VirtAddr, VirtRange};
use crate::arch::irq::with_masked;
use crate::arch::layout;
use crate::mm::gfp::Gfp;
use crate::mm::slab::{self, kfree, kmalloc, kzalloc, slab_is_available};
use crate::mm::util::{kmalloc_size, kvmalloc_aligned};
use crate::mm::vmalloc;
use crate::sched::may_sleep;
use crate::sync::{Rank, SpinLock};
use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::ptr::{self, NonNull};
use linked_list_allocator::Heap;

/// Bytes of the buffer that serves before the slab allocator is up.
pub const EARLY_HEAP_SIZE: usize = 64 << 10;

/// Memory for the heap before the slab allocator is up.
#[repr(C, align(4096))]
pub struct EarlyBuffer(UnsafeCell<MaybeUninit<[u8; EARLY_HEAP_SIZE]>>);

// SAFETY: its bytes are reached by the one heap that it is given to.
unsafe impl Sync for EarlyBuffer {}

impl EarlyBuffer {
    /// A buffer.
    #[must_use]
    pub const fn new() -> Self {
        Self(UnsafeCell::new(MaybeUninit::uninit()))
    }
}

impl Default for EarlyBuffer {
    fn default() -> Self {
        Self::new()
    }
}

/// The heap. See the module's documentation.
pub struct KernelHeap {
    buffer: &'static EarlyBuffer,
    early: SpinLock<Heap>,
}

impl KernelHeap {
    /// A heap that begins with `buffer`.
    ///
    /// # Safety
    /// Nobody else uses `buffer`.
    #[must_use]
    pub const unsafe fn new(buffer: &'static EarlyBuffer) -> Self {
        Self { buffer, early: SpinLock::new(Rank::BootHeap, Heap::empty()) }
    }

    /// Bytes of the early buffer that are in use.
    pub fn early_used(&self) -> usize {
        with_masked(|irq| self.early.lock(irq).used())
    }

    fn early_range(&self) -> VirtRange {
        let start = VirtAddr::from_ptr(self.buffer.0.get());
        VirtRange::new(start, start + EARLY_HEAP_SIZE)
    }

    #[cold]
    #[inline(never)]
    fn early_alloc(&self, layout: Layout) -> *mut u8 {
        with_masked(|irq| {
            let mut heap = self.early.lock(irq);
            if heap.size() == 0 {
                // SAFETY: the buffer is this heap's alone, for ever, as `new` demands.
                unsafe { heap.init(self.buffer.0.get().cast(), EARLY_HEAP_SIZE) };
            }
            heap.allocate_first_fit(layout).map_or(ptr::null_mut(), NonNull::as_ptr)
        })
    }
}

/// GFP flags of the heap's first attempt, whatever its caller's context is.
const HEAP_GFP: Gfp = Gfp::GFP_NOWAIT;
/// GFP flags of the heap's second attempt, for a caller that may sleep. A caller that can't go
/// on without memory reports that itself.
const SLEEPING_GFP: Gfp = Gfp::GFP_KERNEL.union(Gfp::__GFP_NOWARN);

impl KernelHeap {
    /// Returns true if `at`, an address that this heap returned, is not kmalloc's but the early
    /// buffer's or in the vmalloc area.
    #[inline(always)]
    fn is_elsewhere(&self, at: *mut u8) -> bool {
        let at = VirtAddr::from_ptr(at);
        if cfg!(target_os = "none") {
            !layout::LINEAR.contains(at)
        } else {
            self.early_range().contains(at)
        }
    }

    /// Frees what is not kmalloc's.
    ///
    /// # Safety
    /// As for `dealloc`.
    #[cold]
    #[inline(never)]
    unsafe fn dealloc_elsewhere(&self, at: *mut u8, layout: Layout) {
        if !self.early_range().contains(VirtAddr::from_ptr(at)) {
            // SAFETY: what is neither kmalloc's nor the buffer's is an area of this heap's, which the
            // caller gives up.
            return unsafe { vmalloc::vfree(VirtAddr::from_ptr(at)) };
        }
        let Some(at) = NonNull::new(at) else { return };
        // SAFETY: it came from this list allocator with this layout, as the caller says.
        with_masked(|irq| unsafe { self.early.lock(irq).deallocate(at, layout) });
    }
}

/// Allocates by reclaim, for a caller that may sleep, and from vmalloc if the layout is too
/// large for kmalloc or memory is scattered (Linux: kvmalloc).
#[cold]
#[inline(never)]
fn alloc_slow(layout: Layout, zero: Gfp) -> *mut u8 {
    if !may_sleep() {
        return ptr::null_mut();
    }
    kvmalloc_aligned(layout, SLEEPING_GFP | zero).map_or(ptr::null_mut(), NonNull::as_ptr)
}

// SAFETY: `alloc` returns null or memory for the layout that is no one else's:
// the buffer's list allocator, kmalloc and vmalloc guarantee that, and `kmalloc_size` picks
// a class of enough bytes and alignment. Nothing here unwinds but on misuse.
unsafe impl GlobalAlloc for KernelHeap {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !slab_is_available() {
            return self.early_alloc(layout);
        }
        match kmalloc_size(layout).and_then(|size| kmalloc(size, HEAP_GFP)) {
            Some(object) => object.as_ptr(),
            None => alloc_slow(layout, Gfp::empty()),
        }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if !slab_is_available() {
            let at = self.early_alloc(layout);
            if !at.is_null() {
                // SAFETY: allocated just now with this layout.
                unsafe { at.write_bytes(0, layout.size()) };
            }
            return at;
        }
        match kmalloc_size(layout).and_then(|size| kzalloc(size, HEAP_GFP)) {
            Some(object) => object.as_ptr(),
            None => alloc_slow(layout, Gfp::__GFP_ZERO),
        }
    }

    #[inline]
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        if self.is_elsewhere(at) {
            // SAFETY: as the caller says.
            return unsafe { self.dealloc_elsewhere(at, layout) };
        }
        // SAFETY: what is nowhere else came from kmalloc.
        unsafe { kfree(at) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller says that `new_size` is fit for a layout of this alignment.
        let new = unsafe { Layout::from_size_align_unchecked(new_size, layout.align()) };
        let have = if !self.is_elsewhere(at) {
            // SAFETY: it came from kmalloc, by this heap.
            unsafe { slab::kmalloc_room(at) }.0
        } else if self.early_range().contains(VirtAddr::from_ptr(at)) {
            // The buffer is small: what grows or shrinks leaves it.
            0
        } else {
            layout.size().next_multiple_of(PAGE_SIZE)
        };
        // A much smaller size moves, so that a block of pages does not stay for a few bytes.
        if new_size <= have && new_size >= have / 4 {
            if let Some(here) = NonNull::new(at)
                && !self.is_elsewhere(at)
            {
                // SAFETY: it came from kmalloc, and has as many bytes.
                unsafe { slab::krealloc_in_place(here, new_size, HEAP_GFP) };
            }
            return at;
        }
        // SAFETY: as `new`.
        let to = unsafe { self.alloc(new) };
        if to.is_null() {
            return to;
        }
        let keep = layout.size().min(new_size);
        // SAFETY: both are allocations of at least `keep` bytes, and not the same.
        unsafe { ptr::copy_nonoverlapping(at, to, keep) };
        // SAFETY: the caller gives it up.
        unsafe { self.dealloc(at, layout) };
        to
    }
}

#[cfg(target_os = "none")]
#[unsafe(link_section = ".noinit")]
static EARLY_BUFFER: EarlyBuffer = EarlyBuffer::new();

/// The heap of the kernel image.
#[cfg(target_os = "none")]
#[global_allocator]
// SAFETY: the buffer is named here alone.
pub static KERNEL_HEAP: KernelHeap = unsafe { KernelHeap::new(&EARLY_BUFFER) };

#[cfg(test)]
mod tests;
