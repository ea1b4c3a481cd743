//! Ending areas by their addresses, as code ported from Linux does. [`VmArea`](super::VmArea) is
//! the safe way.

use super::{free_area, unmap_area_of_vmap, vmap_block};
use crate::addr::VirtAddr;

/// Frees what [`vmalloc`](super::vmalloc) and its kin returned. Any context; address 0 is fine.
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
