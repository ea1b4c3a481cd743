//! Ending areas by their addresses, as code ported from Linux does. [`VmArea`](super::VmArea) is
//! the safe way.

use super::{free_area, unmap_area_of_vmap, vmalloc, vmalloc_size, vmalloc_to_page, vmap_block};
use crate::addr::{PAGE_SIZE, VirtAddr};
use crate::mm::gfp::Gfp;
use core::ptr::{copy_nonoverlapping, with_exposed_provenance_mut};

/// Frees what [`vmalloc()`] and its kin returned. Any context; address 0 is fine.
///
/// # Panics
/// Where no such area is in use: freed twice, or never allocated.
///
/// # Safety
/// The area is the caller's, and nobody uses it any more.
#[inline]
#[track_caller]
pub unsafe fn vfree(va: VirtAddr) {
    free_area(va);
}

/// Ends what [`vmap`](super::vmap) began. Any context; address 0 is fine.
///
/// # Panics
/// Where no such area is in use.
///
/// # Safety
/// The mapping is the caller's, and nobody uses it any more.
#[inline]
#[track_caller]
pub unsafe fn vunmap(va: VirtAddr) {
    unmap_area_of_vmap(va);
}

/// Ends a mapping of `pages` pages that [`vm_map_ram`](super::vm_map_ram) made at `va`. Any
/// context.
///
/// # Panics
/// Where there is none, or a smaller one.
///
/// # Safety
/// The mapping is the caller's, of so many pages, and nobody uses it any more.
#[track_caller]
pub unsafe fn vm_unmap_ram(va: VirtAddr, pages: usize) {
    vmap_block::end(va, pages);
}

/// Makes the area at `va`, which [`vmalloc`] returned, `size` bytes large, and returns where it is
/// now: in place where its pages reach as far, otherwise as a new area with the old bytes. Address 0
/// allocates; size 0 frees and returns address 0. With `__GFP_ZERO` the bytes past `size` in the last
/// pages are zeros, and so are those that come when it grows again. Process context. (Linux: vrealloc.)
///
/// `None` where memory is short; then the old area stays as it is.
///
/// # Panics
/// Where no such area is in use.
///
/// # Safety
/// The area is the caller's, and nobody uses its old address any more where another is returned, nor
/// its bytes past `size`.
#[must_use]
#[track_caller]
pub unsafe fn vrealloc(va: VirtAddr, size: usize, gfp: Gfp) -> Option<VirtAddr> {
    if va.get() == 0 {
        return vmalloc(size, gfp);
    }
    let Some(have) = vmalloc_size(va) else { super::bad_address("vrealloc", va) };
    if size == 0 {
        free_area(va);
        return Some(VirtAddr::new(0));
    }
    if size <= have {
        let mut at = if gfp.contains(Gfp::__GFP_ZERO) { size } else { have };
        while at < have {
            let rest = PAGE_SIZE - at % PAGE_SIZE;
            // SAFETY: bytes of a page of the area, past those that its owner keeps.
            unsafe { bytes_at(va + at).write_bytes(0, rest) };
            at += rest;
        }
        return Some(va);
    }
    let new = vmalloc(size, gfp)?;
    for at in (0..have).step_by(PAGE_SIZE) {
        // SAFETY: pages of two areas that are both as long; nobody writes to the old one meanwhile.
        unsafe { copy_nonoverlapping(bytes_at(va + at), bytes_at(new + at), PAGE_SIZE) };
    }
    free_area(va);
    Some(new)
}

/// A pointer to the bytes at `va` of an area, to the end of their page. No pointer reaches the
/// addresses of the emulated machine's areas: there it leads to the page itself.
fn bytes_at(va: VirtAddr) -> *mut u8 {
    let at = if cfg!(target_os = "none") {
        va
    } else {
        vmalloc_to_page(va).map_or(va, |page| page.virt() + va.page_offset())
    };
    with_exposed_provenance_mut(at.get())
}
