//! Areas that end by themselves.
#![deny(unsafe_code)]

use super::{
    free_area, unmap_area_of_vmap, vm_map_ram, vmalloc, vmalloc_aligned, vmalloc_huge,
    vmalloc_node, vmap, vmap_block, vzalloc,
};
use crate::addr::{PAGE_SIZE, VirtAddr, VirtRange};
use crate::arch::pgtable::KernelAttrs;
use crate::mm::gfp::Gfp;
use crate::mm::mmzone::NodeId;
use crate::mm::page::Frame;

/// Origin of an area, which decides how it ends.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Vmalloc,
    Vmap,
    MapRam,
}

/// An area of the vmalloc range in use. Dropping it ends the area.
///
/// Its addresses are had from [`VmArea::virt`]. What lies there is reached through pointers made
/// of them, in unsafe code, which keeps the area for as long.
#[derive(Debug)]
#[must_use = "dropping it frees the area"]
pub struct VmArea {
    at: VirtAddr,
    size: usize,
    kind: Kind,
}

impl VmArea {
    /// `size` bytes of memory of its own, as [`vmalloc`].
    #[inline]
    #[track_caller]
    pub fn vmalloc(size: usize, gfp: Gfp) -> Option<Self> {
        Some(Self { at: vmalloc(size, gfp)?, size, kind: Kind::Vmalloc })
    }

    /// Like [`VmArea::vmalloc`] at a multiple of `align`, a power of two, in bytes.
    #[track_caller]
    pub fn vmalloc_aligned(size: usize, align: usize, gfp: Gfp) -> Option<Self> {
        Some(Self { at: vmalloc_aligned(size, align, gfp)?, size, kind: Kind::Vmalloc })
    }

    /// Like [`VmArea::vmalloc`], from `node`'s memory as long as it has some, as [`vmalloc_node`].
    #[track_caller]
    pub fn vmalloc_node(size: usize, gfp: Gfp, node: NodeId) -> Option<Self> {
        Some(Self { at: vmalloc_node(size, gfp, node)?, size, kind: Kind::Vmalloc })
    }

    /// Like [`VmArea::vmalloc`], mapped by blocks where there are some, as [`vmalloc_huge`].
    #[track_caller]
    pub fn vmalloc_huge(size: usize, gfp: Gfp) -> Option<Self> {
        Some(Self { at: vmalloc_huge(size, gfp)?, size, kind: Kind::Vmalloc })
    }

    /// Like [`VmArea::vmalloc`], filled with zeros.
    #[track_caller]
    pub fn vzalloc(size: usize, gfp: Gfp) -> Option<Self> {
        Some(Self { at: vzalloc(size, gfp)?, size, kind: Kind::Vmalloc })
    }

    /// A mapping of pages that stay their owner's, as [`vmap`].
    #[track_caller]
    pub fn vmap(frames: &[Frame], prot: KernelAttrs) -> Option<Self> {
        let size = frames.len() * PAGE_SIZE;
        Some(Self { at: vmap(frames, prot)?, size, kind: Kind::Vmap })
    }

    /// The same for a short time, as [`vm_map_ram`].
    #[track_caller]
    pub fn vm_map_ram(frames: &[Frame]) -> Option<Self> {
        let size = frames.len() * PAGE_SIZE;
        Some(Self { at: vm_map_ram(frames)?, size, kind: Kind::MapRam })
    }

    /// Returns the first address.
    #[must_use]
    pub const fn virt(&self) -> VirtAddr {
        self.at
    }

    /// The bytes that were asked for.
    #[must_use]
    pub const fn size(&self) -> usize {
        self.size
    }

    /// The pages that it maps.
    #[must_use]
    pub const fn range(&self) -> VirtRange {
        VirtRange::from_size(self.at, self.size.next_multiple_of(PAGE_SIZE))
    }

    /// Gives up ownership and returns the first address: [`vfree`](super::vfree),
    /// [`vunmap`](super::vunmap) or [`vm_unmap_ram`](super::vm_unmap_ram) end the area.
    pub fn into_raw(self) -> VirtAddr {
        let at = self.at;
        core::mem::forget(self);
        at
    }
}

impl Drop for VmArea {
    #[inline]
    fn drop(&mut self) {
        match self.kind {
            Kind::Vmalloc => free_area(self.at),
            Kind::Vmap => unmap_area_of_vmap(self.at),
            Kind::MapRam => vmap_block::end(self.at, self.size / PAGE_SIZE),
        }
    }
}
