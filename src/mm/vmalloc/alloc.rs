//! Areas with pages of their own: single ones, or blocks where there are many.
#![deny(unsafe_code)]

use super::area::{Backing, VmFlags};
use super::area_pages::{AreaPages, Frames, LARGE};
use super::mapping;
use super::pages_of;
use super::purge::{Wait, purge};
use super::vm_area::{Request, or_purge};
use crate::addr::{CONT_PTE_SIZE, PAGE_SIZE, PMD_SIZE, VirtAddr, VirtRange};
use crate::arch::pgtable::{KernelAttrs, MapError};
use crate::mm::gfp::Gfp;
use crate::mm::hooks;
use crate::mm::mmzone::NodeId;
use crate::mm::page::Frame;
use crate::mm::page_alloc;
use core::panic::Location;

/// [`vmalloc`](super::vmalloc) at a multiple of `align`, a power of two, from the memory of
/// `node` first where one is named (Linux: `__vmalloc_node_range`).
#[inline(always)]
#[track_caller]
pub(super) fn vmalloc_range(
    size: usize,
    align: usize,
    gfp: Gfp,
    node: Option<NodeId>,
) -> Option<VirtAddr> {
    // Single pages with a permanent address: zones yes, mobility and compounds no.
    let placement = Gfp::__GFP_MOVABLE | Gfp::__GFP_RECLAIMABLE | Gfp::__GFP_COMP;
    let gfp = gfp.difference(placement);
    let nr_pages = pages_of(size)?;
    let (alloc, caller) = (if nr_pages < LARGE { small } else { large }, Location::caller());
    if hooks::are_areas_watched() {
        return alloc(nr_pages, align, gfp, node, caller)
            .inspect(|&va| hooks::object_allocated(va, size, gfp));
    }
    alloc(nr_pages, align, gfp, node, caller)
}

/// An area of single pages.
#[inline(never)]
fn small(
    nr_pages: u32,
    align: usize,
    gfp: Gfp,
    node: Option<NodeId>,
    caller: &'static Location<'static>,
) -> Option<VirtAddr> {
    let mut pages = match node {
        None => AreaPages::at_hand(nr_pages, gfp),
        Some(_) => AreaPages::EMPTY,
    };
    if pages.len() < nr_pages {
        pages = complete(pages, nr_pages, gfp, node)?;
    }
    map(pages, align.max(PAGE_SIZE), gfp, caller, |used, heads| {
        let count = nr_pages as usize;
        mapping::map_chain(used.start(), count, heads.map(Frame::phys), KernelAttrs::KERNEL)
    })
}

/// Pages until there are `nr_pages`; or `None`, and those that there were are given back.
#[inline(never)]
fn complete(pages: AreaPages, nr_pages: u32, gfp: Gfp, node: Option<NodeId>) -> Option<AreaPages> {
    match pages.fill(nr_pages, gfp, node) {
        None if purge(Wait::Yes) => AreaPages::EMPTY.fill(nr_pages, gfp, node),
        filled => filled,
    }
}

/// Number of pages from which on it pays to look whether there are as many.
const LOOKED_AT: u32 = 1024;

/// An area of blocks.
#[inline(never)]
fn large(
    nr_pages: u32,
    align: usize,
    gfp: Gfp,
    node: Option<NodeId>,
    caller: &'static Location<'static>,
) -> Option<VirtAddr> {
    // To look for more than there is would take all that is free from others meanwhile.
    if nr_pages >= LOOKED_AT && nr_pages > page_alloc::totalram_pages() {
        return None;
    }
    let pages = or_purge(|| AreaPages::alloc_blocks(nr_pages, gfp, node))?;
    let in_blocks = nr_pages as usize >= PMD_SIZE / PAGE_SIZE;
    let align = align.max(if in_blocks { PMD_SIZE } else { CONT_PTE_SIZE });
    map(pages, align, gfp, caller, |used, heads| {
        mapping::map_blocks(used, heads.blocks(), KernelAttrs::KERNEL)
    })
}

/// Finds addresses for `pages`, at a multiple of `align`, and has `map` map them there.
#[inline(always)]
fn map(
    pages: AreaPages,
    align: usize,
    gfp: Gfp,
    caller: &'static Location<'static>,
    map: impl Fn(VirtRange, Frames) -> Result<(), MapError>,
) -> Option<VirtAddr> {
    let (nr_pages, heads) = (pages.len(), pages.heads());
    let request = Request { align, caller, ..Request::new(nr_pages, VmFlags::VM_ALLOC, gfp) };
    request.map(Backing::Pages(pages), |used| map(used, heads))
}
