//! The page-table entries of the vmalloc range, for this room alone.
//!
//! All addresses of [`layout::VMALLOC`] are this room's. Safe code has no reference to what lies
//! there: it is reached through raw pointers, whose users keep the area. So who maps and unmaps
//! within the range needs no promise to anyone else, and nothing here reaches beyond it: the address
//! allocator gives out no others. On the fast paths debug builds alone check that.

use crate::addr::{PAGE_SIZE, PhysAddr, VirtAddr, VirtRange};
use crate::arch::pgtable::{KernelAttrs, MapError, MapFlags};
use crate::arch::{IrqMasked, layout};
use crate::mm::init_mm::{self, TlbFlush};

/// Returns whether `pages` pages from `va` on end in the vmalloc range, where they begin.
#[inline(always)]
fn is_ours(va: VirtAddr, pages: usize) -> bool {
    let (start, end) = (layout::VMALLOC.start().get(), layout::VMALLOC.end().get());
    va.get() >= start && pages <= (end - start) / PAGE_SIZE && va.get() <= end - pages * PAGE_SIZE
}

/// [`init_mm::map_pages`] of the vmalloc range.
#[inline(always)]
pub(super) fn map_pages(
    va: VirtAddr,
    pages: impl ExactSizeIterator<Item = PhysAddr>,
    attrs: KernelAttrs,
) -> Result<(), MapError> {
    map_chain(va, pages.len(), pages, attrs)
}

/// [`map_pages`] of the `count` pages of a chain, which does not count them.
#[inline(always)]
pub(super) fn map_chain(
    va: VirtAddr,
    count: usize,
    pages: impl Iterator<Item = PhysAddr>,
    attrs: KernelAttrs,
) -> Result<(), MapError> {
    debug_assert!(is_ours(va, count), "{va} is not vmalloc's");
    // SAFETY: addresses of this room's; the pages are those of the area's owner, who keeps them.
    unsafe { init_mm::map_pages(va, pages, attrs) }
}

/// [`init_mm::map_blocks`] of the vmalloc range.
pub(super) fn map_blocks(
    va: VirtRange,
    blocks: impl Iterator<Item = (PhysAddr, usize)>,
    attrs: KernelAttrs,
) -> Result<(), MapError> {
    if !layout::VMALLOC.contains_range(va) {
        return Err(MapError::OutOfRange);
    }
    // SAFETY: as above; the blocks are an area's of `va`, and no longer.
    unsafe { init_mm::map_blocks(va.start(), blocks, attrs) }
}

/// [`init_mm::map_range`] of the vmalloc range.
#[inline(always)]
pub(super) fn map_range(va: VirtRange, pa: PhysAddr, attrs: KernelAttrs) -> Result<(), MapError> {
    debug_assert!(layout::VMALLOC.contains_range(va), "{va:?} is not vmalloc's");
    // SAFETY: as above; device memory is claimed with its type before it is mapped.
    unsafe { init_mm::map_range(va, pa, attrs, MapFlags::empty()) }
}

/// [`init_mm::unmap`] of the vmalloc range.
///
/// # Panics
/// As that does, and where `va` is not of the range.
#[track_caller]
pub(super) fn unmap(va: VirtRange) -> TlbFlush {
    assert!(layout::VMALLOC.contains_range(va), "unmap of {va:?}, which is not vmalloc's");
    // SAFETY: addresses of this room's; who gave the area up uses them no more.
    unsafe { init_mm::unmap(va) }
}

/// [`init_mm::unmap_pages`] of the vmalloc range.
///
/// # Panics
/// As [`unmap`].
#[inline(always)]
#[track_caller]
pub(super) fn unmap_pages(irq: &IrqMasked, va: VirtAddr, pages: usize, owed: &mut TlbFlush) {
    debug_assert!(is_ours(va, pages), "{va} is not vmalloc's");
    // SAFETY: as above.
    unsafe { init_mm::unmap_pages(irq, va, pages, owed) };
}

/// [`init_mm::unmap_cached`] of the vmalloc range.
#[inline(always)]
pub(super) fn unmap_cached(
    irq: &IrqMasked,
    va: VirtAddr,
    pages: usize,
    owed: &mut TlbFlush,
) -> bool {
    debug_assert!(is_ours(va, pages), "{va} is not vmalloc's");
    // SAFETY: as above.
    unsafe { init_mm::unmap_cached(irq, va, pages, owed) }
}

/// [`init_mm::unmap_mapped`] of the vmalloc range.
#[inline(always)]
#[track_caller]
pub(super) fn unmap_mapped(
    irq: &IrqMasked,
    va: VirtAddr,
    pages: usize,
    owed: &mut TlbFlush,
) -> bool {
    debug_assert!(is_ours(va, pages), "{va} is not vmalloc's");
    // SAFETY: as above.
    unsafe { init_mm::unmap_mapped(irq, va, pages, owed) }
}

/// [`init_mm::free_tables`] of the vmalloc range.
pub(super) fn free_tables() {
    // SAFETY: all that reaches these tables takes the page-table lock.
    unsafe { init_mm::free_tables(layout::VMALLOC) };
}
