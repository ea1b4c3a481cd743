//! Mappings of device memory (Linux: mm/ioremap.c, arch/arm64/mm/ioremap.c).
//!
//! RAM is refused: the linear map has it as Normal memory already, and a second memory
//! type for the same bytes loses coherency. For the same reason live mappings of the same
//! addresses must agree on the type.
#![deny(unsafe_code)]

use crate::addr::{PAGE_SIZE, PhysAddr, PhysRange, VirtAddr, VirtRange};
use crate::arch::layout;
use crate::arch::pgtable::KernelAttrs;
use crate::mm::gfp::Gfp;
use crate::mm::init_mm;
use crate::mm::page_alloc;
use crate::mm::vmalloc::{
    self,
    memtype::{IoType, Reservation, ReserveError},
};
use core::panic::Location;

/// The physical addresses that a descriptor without FEAT_LPA reaches.
const PHYS_LIMIT: u64 = 1 << 48;

/// Reason why a device could not be mapped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IoremapError {
    /// Size 0, or beyond the addresses there are.
    Invalid,
    /// Part of it is RAM that the kernel manages.
    Ram,
    /// Part of it is mapped with another memory type.
    Conflict,
    /// No memory, or no addresses.
    NoMemory,
}

impl core::fmt::Display for IoremapError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Invalid => "no such addresses",
            Self::Ram => "the addresses are RAM",
            Self::Conflict => "the addresses are mapped with another memory type",
            Self::NoMemory => "out of memory",
        })
    }
}

impl core::error::Error for IoremapError {}

/// Device memory, mapped until this is dropped.
#[derive(Debug)]
#[must_use = "dropping it unmaps the device"]
pub struct IoMem {
    at: VirtAddr,
    phys: PhysRange,
    io: IoType,
}

impl IoMem {
    /// The address of the first byte asked for.
    #[must_use]
    pub const fn virt(&self) -> VirtAddr {
        self.at
    }
    /// The physical addresses asked for.
    #[must_use]
    pub const fn phys(&self) -> PhysRange {
        self.phys
    }
    /// Returns the memory type of the mapping.
    #[must_use]
    pub const fn io_type(&self) -> IoType {
        self.io
    }
}

impl Drop for IoMem {
    fn drop(&mut self) {
        let found = vmalloc::unmap_device(self.at.align_down(PAGE_SIZE));
        assert!(found, "iounmap: {:?} is not mapped at {}", self.phys, self.at);
    }
}

/// Maps `size` bytes of device registers at `phys` as Device-nGnRE. Neither needs to be of
/// whole pages. Process context.
#[track_caller]
pub fn ioremap(phys: PhysAddr, size: u64) -> Result<IoMem, IoremapError> {
    map(phys, size, IoType::Device, KernelAttrs::DEVICE)
}

/// Like [`ioremap`], as Normal non-cacheable memory: writes may be gathered (frame buffers).
#[track_caller]
pub fn ioremap_wc(phys: PhysAddr, size: u64) -> Result<IoMem, IoremapError> {
    map(phys, size, IoType::WriteCombining, KernelAttrs::NORMAL_NC)
}

/// Like [`ioremap`], as Normal cacheable memory: what behaves as RAM but isn't the kernel's
/// (firmware tables, persistent memory).
#[track_caller]
pub fn ioremap_cache(phys: PhysAddr, size: u64) -> Result<IoMem, IoremapError> {
    map(phys, size, IoType::Cached, KernelAttrs::KERNEL)
}

/// Ends a mapping; the same as dropping it. Any context.
pub fn iounmap(mem: IoMem) {
    drop(mem);
}

#[track_caller]
fn map(phys: PhysAddr, size: u64, io: IoType, attrs: KernelAttrs) -> Result<IoMem, IoremapError> {
    let end = phys.checked_add(size).filter(|end| size > 0 && end.get() <= PHYS_LIMIT);
    let end = end.ok_or(IoremapError::Invalid)?;
    let page = PAGE_SIZE as u64;
    let page_end = end.align_up(page).ok_or(IoremapError::Invalid)?;
    let pages = PhysRange::new(phys.align_down(page), page_end);
    // What is claimed already is no RAM: that was seen when the first of those who share the
    // claim came.
    let claim = || Reservation::shared(pages, io).map_or_else(|| reserve(pages, io), Ok);
    let start = vmalloc::map_device(pages, io, attrs, claim, Location::caller())?
        .ok_or(IoremapError::NoMemory)?;
    Ok(IoMem { at: start + phys.page_offset(), phys: PhysRange::new(phys, end), io })
}

/// Claims what nobody has mapped so.
#[inline(never)]
fn reserve(pages: PhysRange, io: IoType) -> Result<Reservation, IoremapError> {
    if is_ram(pages) {
        return Err(IoremapError::Ram);
    }
    let reserve = || Reservation::new(pages, io, Gfp::GFP_KERNEL);
    let reservation = match reserve() {
        // Perhaps with what is unmapped lazily, which TLBs may still hold.
        Err(ReserveError::Conflict) => {
            vmalloc::vm_unmap_aliases();
            reserve()
        }
        other => other,
    };
    reservation.map_err(|error| match error {
        ReserveError::Conflict => IoremapError::Conflict,
        ReserveError::NoMemory => IoremapError::NoMemory,
    })
}

/// Returns whether the kernel has part of it as memory: it is the page allocator's, or in the
/// linear map as the image, the frame descriptors and whatever else was reserved at boot are.
/// Regions marked no-map are not. (Linux: pfn_is_map_memory.)
fn is_ram(pages: PhysRange) -> bool {
    let base = layout::LINEAR.start();
    let linear = |pa: PhysAddr| base.saturating_add(pa.get() as usize);
    let linear = VirtRange::new(linear(pages.start()), linear(pages.end()));
    page_alloc::manages(pages.whole_pages()) || init_mm::is_mapped(linear.intersect(layout::LINEAR))
}

#[cfg(test)]
mod tests;
