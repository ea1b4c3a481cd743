//! Memory that CPU and device use at once (Linux: dma_alloc_coherent, kernel/dma/direct.c).
//!
//! For a device that does not snoop it is mapped anew, not cacheable, and its address in the
//! linear map is made invalid: two memory types for the same bytes lose coherency, and a CPU
//! fetches ahead through any cacheable address. (Linux keeps the linear map's.)
use super::{DmaAddr, DmaDevice, DmaError};
use crate::addr::{Order, PAGE_SIZE, PhysRange, VirtAddr};
use crate::arch::pgtable::KernelAttrs;
use crate::arch::{self, cache, layout};
use crate::mm::alloc_pages;
use crate::mm::cma;
use crate::mm::gfp::Gfp;
use crate::mm::page::Frame;
use crate::mm::page_alloc;
use crate::mm::set_memory::set_memory_valid;
use crate::mm::vmalloc;

/// Memory for a device and the CPUs. Given back by [`dma_free_coherent`].
#[derive(Debug)]
#[must_use = "the memory stays allocated until dma_free_coherent"]
pub struct CoherentMemory {
    /// CPU address of the memory; 0 while it is being allocated.
    virt: VirtAddr,
    at: DmaAddr,
    frame: Frame,
    pages: u32,
    source: Source,
    /// True if the memory has a mapping of its own, and none in the linear map.
    remapped: bool,
}

#[derive(Clone, Copy)]
enum Source {
    Cma(&'static cma::Cma),
    Buddy,
}

impl core::fmt::Debug for Source {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Cma(area) => f.write_str(area.name()),
            Self::Buddy => f.write_str("the page allocator"),
        }
    }
}

impl CoherentMemory {
    /// Returns the CPU address of the memory.
    #[must_use]
    pub const fn virt(&self) -> VirtAddr {
        self.virt
    }
    /// Returns the bus address of the memory.
    #[must_use]
    pub const fn dma_addr(&self) -> DmaAddr {
        self.at
    }
    /// The memory.
    #[must_use]
    pub fn phys(&self) -> PhysRange {
        PhysRange::from_size(self.frame.phys(), u64::from(self.pages) * PAGE_SIZE as u64)
    }
}

impl CoherentMemory {
    /// Fills `size` bytes from `offset` on with zeros.
    ///
    /// # Panics
    /// Where it has not so many.
    pub(super) fn clear(&mut self, offset: usize, size: usize) {
        let fits = offset.checked_add(size).is_some_and(|end| end as u64 <= self.phys().len());
        assert!(fits, "{size} bytes at {offset} of {self:?}");
        // A thread of the host has no address of memory but the linear map's.
        let at = if cfg!(target_os = "none") { self.virt } else { self.frame.virt() };
        let at = core::ptr::with_exposed_provenance_mut::<u8>((at + offset).get());
        // SAFETY: mapped while `self` lives, as long as was checked, and no CPU has a reference
        // to bytes that a device may write to.
        unsafe { at.write_bytes(0, size) };
    }
}

/// Allocates `size` bytes, rounded up to pages and filled with zeros, that are contiguous and
/// that the device reaches: from CMA's default area where more than a page is asked for and
/// `gfp` may wait, or from the page allocator. Process context for a device that does not snoop.
///
/// # Errors
/// `Invalid` for no bytes; `OutOfReach` where there is memory, but none for this device.
pub fn dma_alloc_coherent(
    device: &DmaDevice<'_>,
    size: usize,
    gfp: Gfp,
) -> Result<CoherentMemory, DmaError> {
    let pages = u32::try_from(size.div_ceil(PAGE_SIZE)).map_err(|_| DmaError::NoMemory)?;
    if pages == 0 {
        return Err(DmaError::Invalid);
    }
    let mut memory = find(device, pages, gfp)?;
    let pages = (0..pages).map(|n| memory.frame.phys() + u64::from(n) * PAGE_SIZE as u64);
    for page in pages {
        // SAFETY: RAM that was just allocated, and that nobody knows of yet.
        unsafe { arch::clear_page(page) };
    }
    memory.virt = memory.frame.virt();
    if device.coherent {
        return Ok(memory);
    }
    match remap(&memory, gfp) {
        Some(virt) => {
            (memory.virt, memory.remapped) = (virt, true);
            Ok(memory)
        }
        None => {
            release(&memory);
            Err(DmaError::NoMemory)
        }
    }
}

/// Gives memory back that neither the device nor a CPU uses any more. Process context.
pub fn dma_free_coherent(memory: CoherentMemory) {
    if memory.remapped {
        vmalloc::dma_unmap(memory.virt);
        // No TLB may hold the other memory type when the pages are cacheable again.
        vmalloc::vm_unmap_aliases();
        // SAFETY: hidden by `remap` for this memory, whose last user the caller was.
        let shown = unsafe { set_memory_valid(linear(&memory), memory.pages as usize, true) };
        assert!(shown.is_ok(), "{memory:?}: {shown:?}");
    }
    release(&memory);
}

/// Memory from where the device reaches it.
fn find(device: &DmaDevice<'_>, pages: u32, gfp: Gfp) -> Result<CoherentMemory, DmaError> {
    let mut error = DmaError::NoMemory;
    let mut reached = |frame: Frame, source| {
        let ram = PhysRange::from_size(frame.phys(), u64::from(pages) * PAGE_SIZE as u64);
        let virt = VirtAddr::new(0);
        match device.reach(ram) {
            Some(at) => Some(CoherentMemory { virt, at, frame, pages, source, remapped: false }),
            None => {
                error = DmaError::OutOfReach;
                None
            }
        }
    };
    let order = Order::for_bytes(pages as usize * PAGE_SIZE);
    if pages > 1
        && gfp.contains(Gfp::__GFP_DIRECT_RECLAIM)
        && let Some(area) = cma::default_area()
        && let Some(frame) = cma::cma_alloc(area, pages, order.unwrap_or(Order::MAX))
    {
        match reached(frame, Source::Cma(area)) {
            Some(memory) => return Ok(memory),
            // SAFETY: just allocated, and nobody knows of it.
            None => drop(unsafe { cma::cma_release(area, frame, pages) }),
        }
    }
    let order = order.ok_or(DmaError::NoMemory)?;
    for zone in [Gfp::empty(), Gfp::__GFP_DMA32, Gfp::__GFP_DMA] {
        let Some(frame) = alloc_pages::alloc_pages(gfp | zone, order) else { continue };
        if let Some(memory) = reached(frame, Source::Buddy) {
            return Ok(memory);
        }
        // SAFETY: just allocated, and nobody knows of it.
        unsafe { page_alloc::free_pages(frame, order) };
    }
    Err(error)
}

fn release(memory: &CoherentMemory) {
    match memory.source {
        Source::Cma(area) => {
            // SAFETY: allocated as this memory, which its holder gave back or never got.
            let ours = unsafe { cma::cma_release(area, memory.frame, memory.pages) };
            assert!(ours, "{memory:?} is not of {}", area.name());
        }
        Source::Buddy => {
            let order = Order::for_bytes(memory.pages as usize * PAGE_SIZE).unwrap_or(Order::ZERO);
            // SAFETY: as above.
            unsafe { page_alloc::free_pages(memory.frame, order) };
        }
    }
}

fn linear(memory: &CoherentMemory) -> VirtAddr {
    layout::LINEAR.start() + memory.frame.phys().get() as usize
}

/// Takes the memory out of the linear map and the caches, and maps it not cacheable.
fn remap(memory: &CoherentMemory, gfp: Gfp) -> Option<VirtAddr> {
    let virt = vmalloc::dma_remap(memory.phys(), KernelAttrs::NORMAL_NC, gfp)?;
    // SAFETY: allocated a moment ago, and nobody has its linear address yet.
    if unsafe { set_memory_valid(linear(memory), memory.pages as usize, false) }.is_err() {
        vmalloc::dma_unmap(virt);
        vmalloc::vm_unmap_aliases();
        return None;
    }
    // No CPU has a cacheable address any more by which it could fetch ahead. What was written
    // through it, zeros for one, is in memory then, and no cache has a line of it.
    // SAFETY: it was mapped there a moment ago, and nobody else knows of it.
    unsafe { cache::dcache_clean_inval_poc_at(virt, memory.phys()) };
    Some(virt)
}
