//! Kernel virtual memory: contiguous addresses for scattered pages (Linux: mm/vmalloc.c).
//!
//! ```text
//! vmalloc, vmap, ioremap        this file, mm::ioremap
//!   vmap_block   addresses for a few pages for a short time
//!   vread        reading areas that may end meanwhile
//!   raw, handle  ending areas: by their addresses, and by dropping a VmArea
//!   mapping      the page-table entries of the range
//!   alloc        an area's pages: single ones or blocks
//!   vm_area      an area's way into use and out of it
//!   purge        giving back what was lazily unmapped
//!   vmap_areas   areas and their life: in use, lazy, pooled
//!     reclaim      from lazy to pooled or free
//!     validate     whether lists and counts are as they should be
//!     lazy         what waits for a flush, in lists by size
//!     va_space   which addresses are whose: lowest gap that fits, O(log areas)
//!       slot_page  page of the areas and of their tree (`collections::range_tree`)
//!   area_pages   the pages of an area, linked through their descriptors
//!   memtype      which device addresses are mapped with which memory type
//! ```
//!
//! # Guard pages
//! Every area ends with a page of addresses that is never mapped, so running off its end
//! is a fault and not the neighbour's data.
//!
//! # When pages and addresses come back
//! `vfree` clears the tables at once and flushes no TLB. Area and pages wait on the lazy
//! list until one flush serves for all of it: when more than `LAZY_MAX_PAGES` of addresses
//! wait (Linux: `(log2(cpus) + 1) * 32 MiB`, which the pools may hold here), when more than
//! `LAZY_MAX_FRAMES` pages or 1/256 of RAM wait with them, when addresses or pages run out,
//! when reclaim asks, or on [`vm_unmap_aliases`].
//!
//! Linux gives the pages back before the flush: a stale TLB entry can only be used by a
//! caller that touches freed memory. Here they wait, because that caller's bug would
//! then destroy whoever owns the page next, and because it is cheap as long as few
//! wait. Pages that come back fit the CPU's own list and go out again from there, and
//! addresses soon return to the pool of their size. With 8 MiB waiting, pages went through
//! the zone's lists each time, and a pair of vmalloc and vfree of 64 KiB took 10,500
//! instructions instead of 3,900.
//!
//! # Context
//! Nothing here sleeps unless `gfp` allows it for a page. Allocations belong in process
//! context; [`vfree`], [`vunmap`] and dropping a mapping may be called with interrupts
//! masked too: the area is then merely put on the lazy list, and a purge that is due is
//! left to the next caller (Linux: vfree_atomic). Page-table locks and the page
//! allocator's are taken, so no caller may hold those.
//!
//! Lock order: `Rank::Vmap` alone, or before the page allocator's locks where a page of
//! records goes back. Mapping, flushing and giving an area's pages back happen outside of it.
#![deny(unsafe_code)]

mod alloc;
mod area;
#[expect(unsafe_code, reason = "owns pages through their descriptors")]
mod area_pages;
mod handle;
mod lazy;
#[expect(unsafe_code, reason = "edits the page tables of the vmalloc range")]
mod mapping;
pub mod memtype;
mod purge;
#[expect(unsafe_code, reason = "declares what its callers answer for")]
mod raw;
mod reclaim;
#[expect(unsafe_code, reason = "owns pages by their addresses")]
pub mod slot_page;
pub mod va_space;
mod validate;
mod vm_area;
mod vmap_areas;
mod vmap_block;
#[expect(unsafe_code, reason = "reads bytes of pages by their addresses")]
mod vread;

#[cfg(test)]
#[expect(unsafe_code, reason = "tests give pages back by their frames")]
pub(crate) mod tests;

pub use area::{VmFlags, VmallocInfo};
pub use handle::VmArea;
pub use raw::{vfree, vm_unmap_ram, vrealloc, vunmap};
pub use vmap_areas::VmallocStat;
pub use vmap_block::{VMAP_MAX_ALLOC, vm_map_ram};
pub use vread::vread;

use crate::addr::{PAGE_SHIFT, PAGE_SIZE, PhysRange, VirtAddr, VirtRange};
use crate::arch::irq::with_masked;
use crate::arch::layout;
use crate::arch::pgtable::KernelAttrs;
use crate::machine_local;
use crate::mm::gfp::Gfp;
use crate::mm::hooks;
use crate::mm::init_mm;
use crate::mm::mmzone::NodeId;
use crate::mm::page::Frame;
use crate::sync::{Rank, SpinLock};
use alloc::vmalloc_range;
use area::Backing;
use core::panic::Location;
use memtype::{IoType, Reservation};
use purge::{Wait, purge};
use vm_area::{Request, unmap_area};
use vmap_areas::{Limits, VmapAreas};

/// Limits until `init` sets them: one CPU and 64 MiB.
const FIRST_LIMITS: Limits = limits(1, (64 << 20) >> PAGE_SHIFT);

machine_local! {
    static VMAP: SpinLock<VmapAreas> =
        SpinLock::new(Rank::Vmap, VmapAreas::new(layout::VMALLOC, FIRST_LIMITS));
}

/// Pages of memory that may wait for a flush: as many as a CPU's own list has room for, so
/// that they go out again from there and never pass through a zone.
const LAZY_MAX_FRAMES: usize = 128;
/// Pages of addresses that may wait for a flush: half more than those above which it is one
/// invalidation of everything, and so makes little difference for an area any more.
const LAZY_MAX_PAGES: usize = 768;

const fn limits(cpus: usize, ram_pages: usize) -> Limits {
    let share = ram_pages / 256;
    Limits {
        lazy_max_pages: LAZY_MAX_PAGES,
        lazy_max_frames: if share < LAZY_MAX_FRAMES { share } else { LAZY_MAX_FRAMES },
        // A machine of few CPUs has no reason to keep less than one of eight.
        pool_max_pages: (if cpus < 8 { 8 } else { cpus }.ilog2() as usize + 1)
            * (32 << 20 >> PAGE_SHIFT),
    }
}

/// Sets the bounds of lazy unmapping for `cpus` CPUs, 1 at least, and `ram_pages` pages of
/// RAM, and offers what waits to reclaim. vmalloc works before, with the bounds of a small
/// machine. (Linux: vmalloc_init.)
pub fn init(cpus: usize, ram_pages: usize) {
    with_areas(|areas| areas.set_limits(limits(cpus, ram_pages)));
    purge::register();
}

#[inline(always)]
fn with_areas<R>(f: impl FnOnce(&mut VmapAreas) -> R) -> R {
    with_masked(|irq| f(&mut VMAP.lock(irq)))
}

/// Allocates `size` bytes, rounded up to pages, that are contiguous in virtual addresses
/// alone; their address, or `None` where `size` is 0 or there is not enough of memory or
/// addresses, with nothing kept. The content is as `gfp` says. Process context.
///
/// Linux: `__vmalloc`.
#[track_caller]
#[must_use]
pub fn vmalloc(size: usize, gfp: Gfp) -> Option<VirtAddr> {
    vmalloc_aligned(size, PAGE_SIZE, gfp)
}

/// [`vmalloc`] at a multiple of `align`, a power of two, in bytes: for stacks.
#[track_caller]
#[must_use]
pub fn vmalloc_aligned(size: usize, align: usize, gfp: Gfp) -> Option<VirtAddr> {
    if !align.is_power_of_two() {
        return None;
    }
    vmalloc_range(size, align, gfp, None)
}

/// [`vmalloc`] from the memory of `node` first, or with `__GFP_THISNODE` alone.
#[track_caller]
#[must_use]
pub fn vmalloc_node(size: usize, gfp: Gfp, node: NodeId) -> Option<VirtAddr> {
    vmalloc_range(size, PAGE_SIZE, gfp, Some(node))
}

/// [`vmalloc`] whose area starts at a multiple of 2 MiB where it is as large, so that blocks of
/// 2 MiB can map it. [`vmalloc`] does the same here; Linux has callers that can't cope with
/// blocks, and so a function for those that can.
#[track_caller]
#[must_use]
pub fn vmalloc_huge(size: usize, gfp: Gfp) -> Option<VirtAddr> {
    vmalloc(size, gfp)
}

/// [`vmalloc`], filled with zeros.
#[track_caller]
#[must_use]
pub fn vzalloc(size: usize, gfp: Gfp) -> Option<VirtAddr> {
    vmalloc(size, gfp | Gfp::__GFP_ZERO)
}

/// Implements [`vfree`].
#[inline]
#[track_caller]
fn free_area(va: VirtAddr) {
    if hooks::are_freed_areas_watched() {
        hooks::object_freed(va, 0);
    }
    if va.get() != 0 && !unmap_area(va, VmFlags::VM_ALLOC) {
        bad_address("vfree", va);
    }
}

/// Maps the pages of `frames` one after the other, with `prot`. Returns the address, or `None`,
/// with nothing kept, if there are no frames, not enough memory or addresses, or if `prot` lets
/// pages be written that may be code ([`mm::set_memory`](crate::mm::set_memory)). The pages stay
/// the caller's: the addresses lead to them until [`vunmap`], and stale TLB entries until
/// [`vm_unmap_aliases`], even if the pages have another owner by then. Process context.
#[track_caller]
#[must_use]
pub fn vmap(frames: &[Frame], prot: KernelAttrs) -> Option<VirtAddr> {
    let nr_pages = pages_of(frames.len().checked_mul(PAGE_SIZE)?)?;
    let pages = || frames.iter().map(|frame| frame.phys());
    let area = Request::new(nr_pages, VmFlags::VM_MAP, Gfp::GFP_KERNEL)
        .map(Backing::None, |used| mapping::map_pages(used.start(), pages(), prot))?;
    // Whoever makes code of the pages now finds the mapping, or is found here.
    if init_mm::may_map(pages(), prot) {
        return Some(area);
    }
    unmap_area_of_vmap(area);
    None
}

/// Implements [`vunmap`].
#[track_caller]
fn unmap_area_of_vmap(va: VirtAddr) {
    if va.get() != 0 && !unmap_area(va, VmFlags::VM_MAP) {
        bad_address("vunmap", va);
    }
}

/// Returns whether `va` lies where vmalloc, vmap and ioremap allocate.
#[must_use]
pub fn is_vmalloc_addr(va: VirtAddr) -> bool {
    layout::VMALLOC.contains(va)
}

/// Returns the bytes of the area in use that begins at `va`, its guard page left out; `None`
/// where none begins. Any context.
#[must_use]
pub fn vmalloc_size(va: VirtAddr) -> Option<usize> {
    let info = if is_vmalloc_addr(va) { with_areas(|areas| areas.info(va)) } else { None };
    let info = info.filter(|info| info.range.start() == va)?;
    Some((info.nr_pages as usize) << PAGE_SHIFT)
}

/// The page that is mapped at `va` of the vmalloc range; `None` where nothing is, or
/// nothing that has a descriptor. Any context.
#[must_use]
pub fn vmalloc_to_page(va: VirtAddr) -> Option<Frame> {
    if !is_vmalloc_addr(va) {
        return None;
    }
    let (pa, _) = init_mm::translate(va)?;
    Frame::new(pa.pfn()?)
}

/// The areas in use, in the order of their addresses, as lines of /proc/vmallocinfo. The
/// lock is taken for each, so areas may come and go meanwhile.
pub fn vmallocinfo() -> impl Iterator<Item = VmallocInfo> {
    let mut from = layout::VMALLOC.start();
    core::iter::from_fn(move || {
        let info = with_areas(|areas| areas.info(from))?;
        from = info.range.end();
        Some(info)
    })
}

/// Returns the number of pages in use, and of those that wait for a flush.
#[must_use]
pub fn vmalloc_stat() -> VmallocStat {
    with_areas(|areas| areas.stat())
}

/// Flushes what is lazily unmapped, gives its pages back, and frees all addresses that
/// are not in use. Afterwards no CPU can reach a page through an area freed before.
/// With interrupts masked, areas that another CPU is purging may be left to it.
pub fn vm_unmap_aliases() {
    flush_unmapped();
    while with_areas(|areas| areas.drain_pools()) {}
}

/// Like [`vm_unmap_aliases`], but addresses stay where they wait for the next areas.
pub(in crate::mm) fn flush_unmapped() {
    vmap_block::retire_idle();
    purge(Wait::Yes);
}

/// Gives back every page that no area in use needs: what [`vm_unmap_aliases`] does, and
/// the pages of records and page tables. Walks all tables of the vmalloc range: for
/// when memory is short, and for counting. Process context.
pub fn shrink() {
    vm_unmap_aliases();
    while let Some(page) = with_areas(|areas| areas.shrink()) {
        drop(page);
    }
    memtype::shrink();
    mapping::free_tables();
}

/// Checks all areas, lists and counts; for tests and reports.
///
/// # Panics
/// Where an invariant is broken, or another CPU purges at the moment.
pub fn validate() {
    with_areas(|areas| areas.validate());
    memtype::validate();
}

/// Returns whether all of `range` is mapped by one area of vmalloc, for `mm::set_memory`. With
/// `resets` the linear map's permissions of its pages are reset when it is freed.
pub(super) fn set_memory(range: VirtRange, resets: bool) -> bool {
    let flags = if resets { VmFlags::VM_FLUSH_RESET_PERMS } else { VmFlags::empty() };
    with_areas(|areas| areas.mark(range, flags))
}

/// Maps device addresses for `mm::ioremap`: whole pages, with a reservation of their
/// memory type: one that waits for a flush with an area of the same, or else what `reserve`
/// returns; `None` where it can't be mapped.
#[inline(always)]
pub(super) fn map_device<E>(
    phys: PhysRange,
    io: IoType,
    attrs: KernelAttrs,
    reserve: impl FnOnce() -> Result<Reservation, E>,
    caller: &'static Location<'static>,
) -> Result<Option<VirtAddr>, E> {
    let Some(nr_pages) = usize::try_from(phys.len()).ok().and_then(pages_of) else {
        return Ok(None);
    };
    let request = Request::new(nr_pages, VmFlags::VM_IOREMAP, Gfp::GFP_KERNEL);
    let request = Request { phys: phys.start(), caller, ..request };
    let found = with_areas(|areas| {
        let claim = areas.held.reuse_claim(phys, io)?;
        let found = areas.alloc_pooled(request, Backing::Io(claim));
        found.map_err(|unused| areas.held.put_back(unused)).ok()
    });
    let found = match found {
        Some(start) => Ok(start),
        None => Err(Backing::Io(reserve()?)),
    };
    Ok(request.map_found(found, |used| mapping::map_range(used, phys.start(), attrs)))
}

/// Maps contiguous memory once more, with another memory type, for [`crate::dma`].
#[track_caller]
pub(crate) fn dma_remap(memory: PhysRange, attrs: KernelAttrs, gfp: Gfp) -> Option<VirtAddr> {
    let nr_pages = pages_of(usize::try_from(memory.len()).ok()?)?;
    let request = Request::new(nr_pages, VmFlags::VM_DMA_COHERENT, gfp);
    request.map(Backing::None, |used| mapping::map_range(used, memory.start(), attrs))
}

/// Ends what [`dma_remap`] began.
#[track_caller]
pub(crate) fn dma_unmap(va: VirtAddr) {
    if !unmap_area(va, VmFlags::VM_DMA_COHERENT) {
        bad_address("dma_free_coherent", va);
    }
}

/// Ends the mapping that [`map_device`] made. Returns false if there is none.
pub(super) fn unmap_device(va: VirtAddr) -> bool {
    unmap_area(va, VmFlags::VM_IOREMAP)
}

fn pages_of(size: usize) -> Option<u32> {
    // One page more, the guard, must fit as well.
    let pages = size.checked_add(PAGE_SIZE - 1)? >> PAGE_SHIFT;
    if pages == 0 { None } else { u32::try_from(pages).ok().filter(|n| *n < u32::MAX) }
}

#[cold]
#[inline(never)]
#[track_caller]
fn bad_address(what: &str, va: VirtAddr) -> ! {
    panic!("{what}: no such area is in use at {va}");
}
