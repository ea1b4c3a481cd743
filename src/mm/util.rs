//! Copies in new memory, and memory from kmalloc or else vmalloc (Linux: mm/util.c,
//! kvmalloc in mm/slub.c).

use crate::addr::{PAGE_SIZE, VirtAddr};
use crate::arch::irq::is_masked;
use crate::mm::gfp::Gfp;
use crate::mm::mmzone::NodeId;
use crate::mm::slab::{
    KMALLOC_MAX_CACHE_SIZE, kfree, kmalloc, kmalloc_node, kmalloc_room, kmalloc_size_roundup,
    krealloc,
};
use crate::mm::vmalloc;
use core::alloc::Layout;
use core::ffi::{CStr, c_char};
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// The size to ask of kmalloc for `layout`: one whose class is aligned well enough;
/// `None` if there is none. Folds for a constant layout.
#[inline(always)]
pub(in crate::mm) const fn kmalloc_size(layout: Layout) -> Option<usize> {
    let (size, align) = (layout.size(), layout.align());
    let size = if size < align { align } else { size };
    let Some(class) = kmalloc_size_roundup(size) else {
        return None;
    };
    if align <= PAGE_SIZE && size <= KMALLOC_MAX_CACHE_SIZE {
        // A class is aligned to the largest power of two that divides it.
        if class & (align - 1) != 0 { size.checked_next_power_of_two() } else { Some(size) }
    } else {
        // Blocks of pages are aligned to themselves.
        Some(class)
    }
}

/// A copy of `from` in memory of its own, for [`kfree`]; `None` where memory is short. Any
/// context that `gfp` is fit for.
#[must_use]
#[track_caller]
pub fn kmemdup(from: &[u8], gfp: Gfp) -> Option<NonNull<u8>> {
    let to = kmalloc(from.len(), gfp)?;
    // SAFETY: as many bytes were allocated just now; for none, no byte is touched.
    unsafe { ptr::copy_nonoverlapping(from.as_ptr(), to.as_ptr(), from.len()) };
    Some(to)
}

/// Copies bytes as [`kmemdup`] does, and adds a byte 0: a string for C.
#[must_use]
#[track_caller]
pub fn kmemdup_nul(from: &[u8], gfp: Gfp) -> Option<NonNull<c_char>> {
    let to = kmalloc(from.len().checked_add(1)?, gfp)?;
    // SAFETY: one byte more than `from` has was allocated just now.
    unsafe {
        ptr::copy_nonoverlapping(from.as_ptr(), to.as_ptr(), from.len());
        to.add(from.len()).write(0);
    }
    Some(to.cast())
}

/// A copy of a string for C, for [`kfree`].
#[must_use]
#[track_caller]
pub fn kstrdup(from: &CStr, gfp: Gfp) -> Option<NonNull<c_char>> {
    kmemdup_nul(from.to_bytes(), gfp)
}

/// Copies a string as [`kstrdup`] does, at most `max` bytes of it.
#[must_use]
#[track_caller]
pub fn kstrndup(from: &CStr, max: usize, gfp: Gfp) -> Option<NonNull<c_char>> {
    let bytes = from.to_bytes();
    kmemdup_nul(&bytes[..bytes.len().min(max)], gfp)
}

/// Allocates `size` bytes from kmalloc, and from vmalloc where that has no block that
/// large, for [`kvfree`]. vmalloc is asked only where the caller may sleep, for more than a
/// page. No bytes give what kmalloc gives for them.
#[must_use]
#[track_caller]
pub fn kvmalloc(size: usize, gfp: Gfp) -> Option<NonNull<u8>> {
    kmalloc(size, kmalloc_gfp(size, gfp)).or_else(|| from_vmalloc(size, 1, gfp))
}

/// Allocates as [`kvmalloc`] does, filled with zeros.
#[must_use]
#[track_caller]
pub fn kvzalloc(size: usize, gfp: Gfp) -> Option<NonNull<u8>> {
    kvmalloc(size, gfp | Gfp::__GFP_ZERO)
}

/// Allocates `n` elements of `size` bytes, as [`kvmalloc`] does. `None` too if the product
/// overflows.
#[must_use]
#[track_caller]
pub fn kvmalloc_array(n: usize, size: usize, gfp: Gfp) -> Option<NonNull<u8>> {
    kvmalloc(n.checked_mul(size)?, gfp)
}

/// Allocates as [`kvmalloc_array`] does, filled with zeros.
#[must_use]
#[track_caller]
pub fn kvcalloc(n: usize, size: usize, gfp: Gfp) -> Option<NonNull<u8>> {
    kvmalloc_array(n, size, gfp | Gfp::__GFP_ZERO)
}

/// Allocates as [`kvmalloc`] does, from the memory of `node` first. Pages from vmalloc are of
/// any node.
#[must_use]
#[track_caller]
pub fn kvmalloc_node(size: usize, gfp: Gfp, node: NodeId) -> Option<NonNull<u8>> {
    let object = kmalloc_node(size, kmalloc_gfp(size, gfp), node);
    if object.is_some() || gfp.contains(Gfp::__GFP_THISNODE) {
        return object;
    }
    from_vmalloc(size, 1, gfp)
}

/// Allocates memory for a layout, as [`kvmalloc`] does.
#[must_use]
#[track_caller]
pub fn kvmalloc_aligned(layout: Layout, gfp: Gfp) -> Option<NonNull<u8>> {
    let object = kmalloc_size(layout).and_then(|size| kmalloc(size, kmalloc_gfp(size, gfp)));
    object.or_else(|| from_vmalloc(layout.size(), layout.align(), gfp))
}

/// Adjusts the flags for the attempt with kmalloc that comes before vmalloc: it does not try
/// hard for a block (Linux: kmalloc_gfp_adjust).
fn kmalloc_gfp(size: usize, gfp: Gfp) -> Gfp {
    if size <= PAGE_SIZE {
        return gfp;
    }
    let gfp = (gfp | Gfp::__GFP_NOWARN) & !Gfp::__GFP_NOFAIL;
    if gfp.contains(Gfp::__GFP_RETRY_MAYFAIL) { gfp } else { gfp | Gfp::__GFP_NORETRY }
}

/// Memory of vmalloc's, where it may be asked. The emulated machine's vmalloc area can't be
/// reached by a pointer.
#[cold]
#[inline(never)]
#[track_caller]
fn from_vmalloc(size: usize, align: usize, gfp: Gfp) -> Option<NonNull<u8>> {
    let may = gfp.allows_blocking() && !is_masked() && size > PAGE_SIZE;
    if cfg!(not(target_os = "none")) || !may {
        return None;
    }
    let area = vmalloc::vmalloc_aligned(size, align, gfp)?;
    NonNull::new(ptr::with_exposed_provenance_mut(area.get()))
}

/// Frees what [`kvmalloc`] and its kin returned, or kmalloc or vmalloc. Null is fine. Any
/// context.
///
/// # Panics
/// As [`kfree`] and [`vmalloc::vfree`].
///
/// # Safety
/// As for [`kfree`].
#[track_caller]
pub unsafe fn kvfree(ptr: *const u8) {
    let at = VirtAddr::from_ptr(ptr);
    if vmalloc::is_vmalloc_addr(at) {
        // SAFETY: as the caller says.
        unsafe { vmalloc::vfree(at) };
    } else {
        // SAFETY: as the caller says.
        unsafe { kfree(ptr) }
    }
}

/// Makes the allocation at `ptr`, of [`kvmalloc`] or its kin, `size` bytes large, in place
/// where it reaches that far, and returns where it is now; its bytes stay up to the smaller
/// size. It may move from kmalloc to vmalloc. Null allocates; size 0 frees and gives
/// [`ZERO_SIZE_PTR`](crate::mm::slab::ZERO_SIZE_PTR). `__GFP_ZERO` as for [`krealloc`].
///
/// `None` where memory is short; then the old allocation stays as it is.
///
/// # Safety
/// As for [`krealloc`].
#[must_use]
#[track_caller]
pub unsafe fn kvrealloc(ptr: *const u8, size: usize, gfp: Gfp) -> Option<NonNull<u8>> {
    let at = VirtAddr::from_ptr(ptr);
    let have = if let Some(have) = vmalloc::vmalloc_size(at) {
        have
    } else {
        // SAFETY: as the caller says: it is null or kmalloc's.
        if let Some(new) = unsafe { krealloc(ptr, size, kmalloc_gfp(size, gfp)) } {
            return Some(new);
        }
        // SAFETY: as above, and it is as it was.
        unsafe { kmalloc_room(ptr) }.1
    };
    let in_place = vmalloc::is_vmalloc_addr(at) && size > have / 2 && size <= have;
    if in_place {
        let here = NonNull::new(ptr.cast_mut())?;
        if gfp.contains(Gfp::__GFP_ZERO) {
            // SAFETY: `size..have` lies in the area, past what its owner keeps.
            unsafe { here.add(size).write_bytes(0, have - size) };
        }
        return Some(here);
    }
    let new = kvmalloc(size, gfp)?;
    // SAFETY: both are allocations of at least as many bytes, and the new one is another.
    unsafe { ptr::copy_nonoverlapping(ptr, new.as_ptr(), have.min(size)) };
    // SAFETY: as the caller says.
    unsafe { kvfree(ptr) };
    Some(new)
}

crate::machine_local! {
    static RANDOMIZE_VA_SPACE: AtomicU32 = AtomicU32::new(2);
}

/// Places of users' memory that are random: 0 for none, 1 for stack, mappings and programs, 2 for the
/// heap too (Linux: randomize_va_space, /proc/sys/kernel/randomize_va_space).
#[must_use]
pub fn randomize_va_space() -> u32 {
    RANDOMIZE_VA_SPACE.load(Relaxed)
}

/// Sets what [`randomize_va_space`] returns.
pub fn set_randomize_va_space(level: u32) {
    RANDOMIZE_VA_SPACE.store(level, Relaxed);
}
