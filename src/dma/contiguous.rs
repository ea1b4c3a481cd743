//! Contiguous memory for devices (Linux: kernel/dma/contiguous.c).
//!
//! A device whose node names an area of its own (`memory-region`) gets memory from there and
//! from nowhere else: it may reach no other, or share it with a device that knows where it
//! is. All others get it from the default area.
#![deny(unsafe_code)]

use crate::addr::{Order, PAGE_SIZE};
use crate::firmware::fdt::Node;
use crate::mm::cma::{Cma, cma_alloc, cma_release, default_area};
use crate::mm::page::Frame;
use crate::reserved_mem::{Pool, device_region};

/// The most that an allocation is aligned to by itself (Linux: CONFIG_CMA_ALIGNMENT, 8).
const MAX_ALIGNMENT: u8 = 8;

/// The area that `device` gets its memory from: its own, which is the first of its
/// `memory-region`, or the default; `None` where there is neither (Linux: dev_get_cma_area).
#[must_use]
pub fn dev_get_cma_area(device: &Node<'_>) -> Option<&'static Cma> {
    match device_region(device, 0).map(|region| region.pool) {
        Ok(Pool::Cma(area)) => Some(area),
        _ => default_area(),
    }
}

/// The least order of which a block holds `pages` pages, as far as allocations are aligned.
fn alignment(pages: u32) -> Order {
    let order = pages.max(1).next_power_of_two().trailing_zeros() as u8;
    Order::new(order.min(MAX_ALIGNMENT)).unwrap_or(Order::ZERO)
}

/// Allocates contiguous memory of `size` bytes, in whole pages, for `device` from its area,
/// aligned to its size, to a MiB at most; `None` where there is no area, or no room in it.
/// Threads with interrupts on (Linux: dma_alloc_contiguous).
#[must_use]
pub fn dma_alloc_contiguous(device: &Node<'_>, size: usize) -> Option<Frame> {
    let pages = u32::try_from(size.div_ceil(PAGE_SIZE)).ok()?;
    cma_alloc(dev_get_cma_area(device)?, pages, alignment(pages))
}

/// Frees the memory that [`dma_alloc_contiguous`] returned for this device and size. Returns
/// false if it was not such. Any context (Linux: dma_free_contiguous).
///
/// # Panics
/// Where one of the pages is not allocated, or others hold it.
///
/// # Safety
/// The memory is the caller's to give back, and neither the device nor a CPU uses it any more.
#[expect(unsafe_code, reason = "the caller has the memory to give back")]
#[track_caller]
pub unsafe fn dma_free_contiguous(device: &Node<'_>, frame: Frame, size: usize) -> bool {
    let Ok(pages) = u32::try_from(size.div_ceil(PAGE_SIZE)) else { return false };
    // SAFETY: as the caller says.
    dev_get_cma_area(device).is_some_and(|area| unsafe { cma_release(area, frame, pages) })
}
