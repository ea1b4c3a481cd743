//! Memory that devices reach by themselves (Linux: kernel/dma/, include/linux/dma-mapping.h).
//!
//! ```text
//! map     streaming: memory that CPU and device use in turn, with the cache maintenance
//! alloc   coherent: memory that both use at once
//!   contiguous  areas of CMA, by device
//!   pool      small blocks of that (Linux: mm/dmapool.c)
//!   swiotlb   bounce buffers, for memory that the device does not reach
//!   debug     who has mapped what, to catch misuse (Linux: kernel/dma/debug.c)
//! ```
//!
//! # Who owns the bytes
//! Between a map and its unmap the bytes are the device's; `sync_for_cpu` lends them to the CPU
//! and `sync_for_device` takes them back. For a device that does not snoop the caches:
//!
//! | | to the device | from the device | both |
//! | --- | --- | --- | --- |
//! | to the device's side | clean | clean, or a later write-back would overwrite what it writes | clean |
//! | to the CPU's side | nothing | invalidate: lines may have been fetched ahead | invalidate |
//!
//! A buffer that a device writes to must share no cache line with other data: a write-back of
//! that would overwrite what the device wrote, and an invalidation would lose it. Such a
//! buffer is bounced (Linux: dma_kmalloc_needs_bounce).
//!
//! Lock order: each lock here is taken alone.
#![deny(unsafe_code)]

#[expect(unsafe_code, reason = "clears memory, and takes it out of caches")]
mod alloc;
mod contiguous;
mod debug;
#[expect(unsafe_code, reason = "takes bytes from the CPU and gives them back")]
mod map;
mod pool;
#[expect(unsafe_code, reason = "holds a mapping of bytes that it borrows")]
mod streaming;
#[expect(unsafe_code, reason = "copies between buffers")]
mod swiotlb;

#[cfg(test)]
#[expect(unsafe_code, reason = "looks at the bytes of pages")]
mod tests;

pub use alloc::{CoherentMemory, dma_alloc_coherent, dma_free_coherent};
pub use contiguous::{dev_get_cma_area, dma_alloc_contiguous, dma_free_contiguous};
pub use debug::{live_mappings, set_dma_debug, shrink};
pub use map::{
    dma_map_page, dma_map_single, dma_sync_single_for_cpu, dma_sync_single_for_device,
    dma_unmap_single,
};
pub use pool::{DmaPool, DmaPoolBlock, DmaPoolInfo};
pub use streaming::{DmaLent, DmaMapping};
pub use swiotlb::{is_swiotlb_buffer, swiotlb_exit, swiotlb_init};

use crate::addr::{PhysAddr, PhysRange};

/// An address as a device puts it on its bus.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(transparent)]
pub struct DmaAddr(u64);

impl DmaAddr {
    /// The address with this value.
    #[must_use]
    pub const fn new(value: u64) -> Self {
        Self(value)
    }
    /// Returns the address as a number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl core::fmt::Display for DmaAddr {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// Direction of a transfer: who writes and who reads while memory is mapped (Linux: enum
/// dma_data_direction).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DmaDirection {
    /// The device writes, or nobody knows who.
    Bidirectional,
    /// The CPU writes, the device reads.
    ToDevice,
    /// The device writes, the CPU reads.
    FromDevice,
}

/// A piece of memory as a device sees it: one entry of `dma-ranges`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DmaRange {
    /// The memory.
    pub cpu: PhysRange,
    /// Start of the range on the device's bus.
    pub bus: DmaAddr,
}

impl DmaRange {
    /// Returns whether some bus address from `first` to `last` is the range's.
    fn has_bus(&self, first: u64, last: u64) -> bool {
        let more = self.cpu.len().checked_sub(1);
        more.is_some_and(|more| {
            let start = self.bus.get();
            first <= start.saturating_add(more) && start <= last
        })
    }
}

/// Properties of a device that accesses memory by itself (Linux: struct device's dma_mask,
/// bus_dma_limit, dma_range_map and dma_coherent).
#[derive(Clone, Copy, Debug)]
pub struct DmaDevice<'a> {
    /// Name for messages.
    pub name: &'a str,
    /// The highest address that it can put on its bus.
    pub mask: u64,
    /// Ranges of memory that its bus reaches. Empty if it reaches all memory, each byte at its
    /// own address.
    pub ranges: &'a [DmaRange],
    /// True if the device snoops the CPUs' caches (`dma-coherent`).
    pub coherent: bool,
}

/// Reason why memory can't be used by a device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DmaError {
    /// No bytes, or no memory that the kernel has in its linear map.
    Invalid,
    /// The device doesn't reach it, and no bounce buffer that it reaches is as large.
    OutOfReach,
    /// No memory, or no bounce buffer is free.
    NoMemory,
}

impl core::fmt::Display for DmaError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Invalid => "no memory of the linear map",
            Self::OutOfReach => "the device can't reach it",
            Self::NoMemory => "no memory",
        })
    }
}

impl core::error::Error for DmaError {}

impl DmaDevice<'_> {
    /// Translates `ram` to a bus address of the device. `None` if the device can't reach all of
    /// it, or if the same bus addresses lead to other memory first ([`DmaDevice::memory_at`])
    /// (Linux: phys_to_dma, dma_capable).
    #[must_use]
    pub fn reach(&self, ram: PhysRange) -> Option<DmaAddr> {
        let more = ram.len().checked_sub(1)?;
        let fits = |start: u64| start.checked_add(more).filter(|&last| last <= self.mask);
        if self.ranges.is_empty() {
            let start = ram.start().get();
            return fits(start).map(|_| DmaAddr(start));
        }
        self.ranges.iter().enumerate().find_map(|(n, range)| {
            let offset = range.cpu.contains_range(ram).then(|| ram.start() - range.cpu.start())?;
            let start = range.bus.get().checked_add(offset)?;
            let last = fits(start)?;
            let is_hidden = self.ranges[..n].iter().any(|before| before.has_bus(start, last));
            (!is_hidden).then_some(DmaAddr(start))
        })
    }

    /// The memory at an address of the device's bus (Linux: dma_to_phys).
    #[must_use]
    pub fn memory_at(&self, at: DmaAddr) -> Option<PhysAddr> {
        if self.ranges.is_empty() {
            return Some(PhysAddr::new(at.get()));
        }
        self.ranges.iter().find_map(|range| {
            let offset = at.get().checked_sub(range.bus.get())?;
            (offset < range.cpu.len()).then(|| range.cpu.start() + offset)
        })
    }
}
