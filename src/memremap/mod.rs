//! Mapping memory that may or may not be the kernel's RAM (Linux: kernel/iomem.c).
//!
//! Firmware tables and crash logs lie in RAM that is in the linear map, or in memory that is
//! not. Where all of it is RAM, its address in the linear map serves and nothing is mapped;
//! that is write-back memory, so asking for anything else is refused.
#![deny(unsafe_code)]

use crate::addr::{PAGE_SIZE, PhysAddr, VirtAddr, VirtRange};
use crate::arch::layout;
use crate::mm::init_mm;
use crate::mm::ioremap::{IoMem, IoremapError, ioremap_cache, ioremap_wc};
use bitflags::bitflags;
use core::ops::ControlFlow;

#[cfg(test)]
mod tests;

bitflags! {
    /// Kinds of mapping that the caller accepts; the first of them that is possible is made.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct MemremapFlags: u8 {
        /// Write-back, as RAM is.
        const MEMREMAP_WB = 1 << 0;
        /// Normal, not cacheable; writes may be gathered.
        const MEMREMAP_WC = 1 << 2;
    }
}

/// Memory, reachable until this is dropped.
#[derive(Debug)]
#[must_use = "dropping it unmaps the memory"]
pub enum MemRemap {
    /// RAM, at its address in the linear map.
    Ram(VirtAddr),
    /// Other memory, mapped for this.
    Mapped(IoMem),
}

impl MemRemap {
    /// The address of the first byte asked for.
    #[must_use]
    pub const fn virt(&self) -> VirtAddr {
        match self {
            Self::Ram(at) => *at,
            Self::Mapped(io) => io.virt(),
        }
    }
}

/// Makes `size` bytes of memory at `phys` reachable. Process context.
///
/// # Errors
/// `Ram` where some of it is RAM and some isn't, or all is and write-back is not asked for;
/// otherwise as for [`ioremap_cache`].
#[track_caller]
pub fn memremap(phys: PhysAddr, size: u64, flags: MemremapFlags) -> Result<MemRemap, IoremapError> {
    if size == 0 || flags.is_empty() {
        return Err(IoremapError::Invalid);
    }
    if flags.contains(MemremapFlags::MEMREMAP_WB)
        && let Some(at) = in_linear_map(phys, size)
    {
        return Ok(MemRemap::Ram(at));
    }
    let mapped = if flags.contains(MemremapFlags::MEMREMAP_WB) {
        match ioremap_cache(phys, size) {
            Err(IoremapError::Conflict) if flags.contains(MemremapFlags::MEMREMAP_WC) => {
                ioremap_wc(phys, size)
            }
            other => other,
        }
    } else {
        ioremap_wc(phys, size)
    };
    mapped.map(MemRemap::Mapped)
}

/// Ends a mapping; the same as dropping it. Any context.
pub fn memunmap(memory: MemRemap) {
    drop(memory);
}

/// The address in the linear map of memory that all of it lies in.
fn in_linear_map(phys: PhysAddr, size: u64) -> Option<VirtAddr> {
    let start = layout::LINEAR.start().checked_add(usize::try_from(phys.get()).ok()?)?;
    let end = start.checked_add(usize::try_from(size).ok()?)?;
    let (low, high) = (start.align_down(PAGE_SIZE), end.align_up(PAGE_SIZE)?);
    let pages = VirtRange::new(low, high);
    if !layout::LINEAR.contains_range(pages) {
        return None;
    }
    let mut mapped = 0;
    init_mm::for_each_leaf(pages, |at, leaf| {
        if !leaf.valid {
            return ControlFlow::Break(());
        }
        mapped += VirtRange::from_size(at, leaf.level.size()).intersect(pages).len();
        ControlFlow::Continue(())
    });
    (mapped == pages.len()).then_some(start)
}
