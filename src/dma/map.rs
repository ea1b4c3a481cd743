//! Streaming mappings (Linux: kernel/dma/direct.c, arch/arm64/mm/dma-mapping.c).

use super::{DmaAddr, DmaDevice, DmaDirection, DmaError, debug, swiotlb};
use crate::addr::{PAGE_SIZE, PfnRange, PhysRange, VirtAddr};
use crate::arch::irq::with_masked;
use crate::arch::{cache, layout, mmu};
use crate::mm::page::Frame;
use core::panic::Location;

/// Gives `size` bytes of memory from `offset` of `frame` on to the device until
/// [`dma_unmap_single`]; where it finds them. The bytes may go on into the frames behind.
/// Any context.
///
/// # Errors
/// Nothing is mapped then.
///
/// # Safety
/// The bytes are the caller's, and stay mapped in the linear map. Until they are unmapped no CPU
/// writes to them and, unless the direction is [`DmaDirection::ToDevice`], none reads them,
/// except while they are lent by [`dma_sync_single_for_cpu`].
#[track_caller]
pub unsafe fn dma_map_page(
    device: &DmaDevice<'_>,
    frame: Frame,
    offset: usize,
    size: usize,
    direction: DmaDirection,
) -> Result<DmaAddr, DmaError> {
    let start = frame.phys().checked_add(offset as u64).ok_or(DmaError::Invalid)?;
    let end = start.checked_add(size as u64).ok_or(DmaError::Invalid)?;
    let ram = PhysRange::new(start, end);
    if ram.is_empty() || !is_ram(ram) {
        return Err(DmaError::Invalid);
    }
    let at = match device.reach(ram) {
        Some(at) if !shares_lines(device, ram, direction) => {
            // SAFETY: mapped, as the caller says.
            unsafe { to_device(device, ram) };
            at
        }
        _ => {
            let (bounce, at) = swiotlb::map(device, ram)?;
            // All of it, also where the device is to write: it may write less.
            // SAFETY: the bytes are the caller's, and the buffer is of them.
            unsafe { swiotlb::copy_to_buffer(bounce, 0, size) };
            // SAFETY: the pool is in the linear map.
            unsafe { to_device(device, bounce) };
            at
        }
    };
    if !debug::add(at, size, direction, Location::caller()) {
        // SAFETY: mapped above, and the device does not know of it.
        unsafe { unmap(device, at, size, DmaDirection::ToDevice) };
        return Err(DmaError::NoMemory);
    }
    Ok(at)
}

/// [`dma_map_page`] of memory at an address of the linear map.
///
/// # Errors
/// As for [`dma_map_page`].
///
/// # Safety
/// As for [`dma_map_page`].
#[track_caller]
pub unsafe fn dma_map_single(
    device: &DmaDevice<'_>,
    va: VirtAddr,
    size: usize,
    direction: DmaDirection,
) -> Result<DmaAddr, DmaError> {
    let frame = Frame::from_virt(va.align_down(PAGE_SIZE)).ok_or(DmaError::Invalid)?;
    // SAFETY: as the caller says.
    unsafe { dma_map_page(device, frame, va.page_offset(), size, direction) }
}

/// Gives what [`dma_map_page`] mapped back to the CPU. Any context.
///
/// # Panics
/// With [`set_dma_debug`](super::set_dma_debug), where nothing is mapped there, or something
/// else.
///
/// # Safety
/// The mapping is the caller's, of this device, size and direction, and ends here; the device
/// has stopped to use it.
#[track_caller]
pub unsafe fn dma_unmap_single(
    device: &DmaDevice<'_>,
    at: DmaAddr,
    size: usize,
    direction: DmaDirection,
) {
    debug::remove(device, at, size, direction);
    // SAFETY: as the caller says.
    unsafe { unmap(device, at, size, direction) };
}

/// Lends `size` bytes of a mapping to the CPU.
///
/// # Panics
/// As for [`dma_unmap_single`].
///
/// # Safety
/// The bytes lie in a mapping of the caller's, of this device and direction.
#[track_caller]
pub unsafe fn dma_sync_single_for_cpu(
    device: &DmaDevice<'_>,
    at: DmaAddr,
    size: usize,
    direction: DmaDirection,
) {
    let Some(ram) = lent(device, at, size, direction) else { return };
    // SAFETY: the mapping is the caller's, and what no CPU may write to has nothing to lose.
    unsafe { to_cpu(device, ram, direction) };
    if direction != DmaDirection::ToDevice
        && let Some((buffer, offset)) = swiotlb::find(ram)
    {
        // SAFETY: as above.
        unsafe { swiotlb::copy_from_buffer(buffer, offset, size) };
    }
}

/// Takes bytes back for the device that [`dma_sync_single_for_cpu`] lent to the CPU.
///
/// # Panics
/// As for [`dma_unmap_single`].
///
/// # Safety
/// The bytes lie in a mapping of the caller's, of this device and direction.
#[track_caller]
pub unsafe fn dma_sync_single_for_device(
    device: &DmaDevice<'_>,
    at: DmaAddr,
    size: usize,
    direction: DmaDirection,
) {
    let Some(ram) = lent(device, at, size, direction) else { return };
    if let Some((buffer, offset)) = swiotlb::find(ram) {
        // SAFETY: the mapping is the caller's.
        unsafe { swiotlb::copy_to_buffer(buffer, offset, size) };
    }
    // SAFETY: as above, and mapped.
    unsafe { to_device(device, ram) };
}

/// # Safety
/// As for [`dma_unmap_single`].
unsafe fn unmap(device: &DmaDevice<'_>, at: DmaAddr, size: usize, direction: DmaDirection) {
    let Some(ram) = memory(device, at, size) else { return };
    // SAFETY: the mapping is the caller's, and what no CPU may write to has nothing to lose.
    unsafe { to_cpu(device, ram, direction) };
    if let Some((buffer, _)) = swiotlb::find(ram) {
        if direction != DmaDirection::ToDevice {
            // SAFETY: as above.
            unsafe { swiotlb::copy_from_buffer(buffer, 0, size) };
        }
        swiotlb::unmap(buffer);
    }
}

/// The memory behind part of a mapping, or all of it.
#[track_caller]
fn lent(
    device: &DmaDevice<'_>,
    at: DmaAddr,
    size: usize,
    direction: DmaDirection,
) -> Option<PhysRange> {
    debug::check(device, at, size, direction);
    memory(device, at, size)
}

fn memory(device: &DmaDevice<'_>, at: DmaAddr, size: usize) -> Option<PhysRange> {
    Some(PhysRange::from_size(device.memory_at(at)?, size as u64))
}

/// The bytes become the device's. What it will write to is cleaned too: a line that is dirty
/// would be written back over it (Linux: arch_sync_dma_for_device).
///
/// # Safety
/// It is mapped in the linear map.
unsafe fn to_device(device: &DmaDevice<'_>, ram: PhysRange) {
    if !device.coherent {
        // SAFETY: as the caller says.
        unsafe { cache::dcache_clean_poc(ram) };
    }
}

/// The bytes become the CPU's, which may have fetched them ahead while they were the device's
/// (Linux: arch_sync_dma_for_cpu).
///
/// # Safety
/// The bytes are a mapping's, to which no CPU has written since they were cleaned.
unsafe fn to_cpu(device: &DmaDevice<'_>, ram: PhysRange, direction: DmaDirection) {
    if !device.coherent && direction != DmaDirection::ToDevice {
        // SAFETY: as the caller says.
        unsafe { cache::dcache_inval_poc(ram) };
    }
}

/// Returns true if the device may write to a cache line that holds other data of the CPU too.
fn shares_lines(device: &DmaDevice<'_>, ram: PhysRange, direction: DmaDirection) -> bool {
    let line = cache::writeback_granule();
    !device.coherent
        && direction != DmaDirection::ToDevice
        && !(ram.start().is_aligned(line) && ram.end().is_aligned(line))
}

/// Returns true if all of `ram` is in the linear map at present. A descriptor does not suffice:
/// no-map regions have descriptors, and so have pages whose mapping was made invalid (Linux:
/// pfn_is_map_memory, kernel_page_present).
fn is_ram(ram: PhysRange) -> bool {
    let (Some(first), Some(last)) = (ram.start().pfn(), (ram.end() - 1).pfn()) else {
        return false;
    };
    let in_linear_map = |frame: Frame| {
        let va = layout::LINEAR.start() + frame.phys().get() as usize;
        with_masked(|irq| mmu::wait_mapped(va, irq))
    };
    PfnRange::new(first, last + 1).iter().all(|pfn| Frame::new(pfn).is_some_and(in_linear_map))
}
