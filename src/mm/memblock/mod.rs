//! memblock: the allocator of the time before there is one (Linux: mm/memblock.c).
//!
//! Two sorted arrays of physical ranges: `memory`, all the RAM there is, and
//! `reserved`, what is in use or must not be touched. What is in the first and not in
//! the second is free. Reservations may lie outside of RAM, across its edges, or over
//! one another: they are only ever subtracted.
//!
//! Invariants, checked by [`Memblock::validate`]: both arrays are sorted, no region is
//! empty, none overlaps another, and neighbours that touch and are alike in flags and
//! node are one region. An operation that fails has changed nothing.
//!
//! The arrays start inside the structure, which is a static of the kernel, and double
//! when they are full: memblock finds and reserves the range for the larger array
//! itself, and a hook of the kernel makes it reachable ([`Memblock::allow_resize`]).
//! Growth may happen inside any call that adds, removes or marks, so it must not be
//! allowed before everything that is already in use has been reserved.
//!
//! - [`region`]: a region and the sorted array of them
//! - [`find`]: searching and allocating
//! - [`iter`]: free ranges, memory by node
//! - [`limit`]: `mem=` and other ways to lose memory
//! - [`resize`]: the arrays' growth
//! - [`report`]: dump and validation
//! - [`debugfs`]: the copy that outlives it, and its text in debugfs
//! - [`scan`]: from the device tree and the command line to a filled memblock
//!
//! Once the buddy allocator owns the free memory, memblock is discarded
//! ([`Memblock::discard`]).

#![deny(unsafe_code)]

pub mod debugfs;
pub mod find;
pub mod iter;
pub mod limit;
pub mod region;
pub mod report;
pub mod resize;
pub mod scan;

#[cfg(test)]
mod tests;

pub use iter::{FreeMemRange, FreeMemRanges, FreeMemRangesReverse};
pub use region::{INIT_MEMBLOCK_REGIONS, Region, RegionFlags};
pub use resize::{Clear, Grow, MAX_REGIONS};

use crate::addr::{PhysAddr, PhysRange};
use crate::mm::mmzone::NodeId;
use core::fmt;
use region::RegionArray;

/// Reason why a call changed nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MemblockError {
    /// An array is full and could not grow.
    Full,
    /// No free range fits.
    NoMemory,
    /// The size is zero, or the alignment no power of two.
    Invalid,
    /// The range was to be filled with zeros, and the CPU can't reach it yet.
    Unreachable,
}

impl fmt::Display for MemblockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "memblock's array is full and cannot grow",
            Self::NoMemory => "no free memory range fits",
            Self::Invalid => "size zero, or an alignment that is no power of two",
            Self::Unreachable => "memory that is to be cleared is not mapped yet",
        })
    }
}

impl core::error::Error for MemblockError {}

/// Name of one of the two arrays.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// All RAM.
    Memory,
    /// Memory in use, or that must not be touched.
    Reserved,
}

/// The early allocator. See the module.
pub struct Memblock {
    memory: RegionArray,
    reserved: RegionArray,
    current_limit: PhysAddr,
    bottom_up: bool,
    movable_node: bool,
    grow: Option<Grow>,
    clear: Option<Clear>,
}

impl Default for Memblock {
    fn default() -> Self {
        Self::new()
    }
}

impl Memblock {
    /// An empty one. It allocates top down, without a limit, and does not grow.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            memory: RegionArray::new(),
            reserved: RegionArray::new(),
            current_limit: PhysAddr::new(u64::MAX),
            bottom_up: false,
            movable_node: false,
            grow: None,
            clear: None,
        }
    }

    const fn array(&self, kind: Kind) -> &RegionArray {
        match kind {
            Kind::Memory => &self.memory,
            Kind::Reserved => &self.reserved,
        }
    }

    const fn array_mut(&mut self, kind: Kind) -> &mut RegionArray {
        match kind {
            Kind::Memory => &mut self.memory,
            Kind::Reserved => &mut self.reserved,
        }
    }

    /// The regions of RAM, rising.
    #[must_use]
    pub fn memory(&self) -> &[Region] {
        self.memory.regions()
    }

    /// The reserved regions, rising.
    #[must_use]
    pub fn reserved(&self) -> &[Region] {
        self.reserved.regions()
    }

    /// The regions of either kind, rising.
    #[must_use]
    pub fn regions(&self, kind: Kind) -> &[Region] {
        self.array(kind).regions()
    }

    /// Adds RAM. What is already there keeps its flags and node.
    ///
    /// # Errors
    /// [`MemblockError::Full`].
    pub fn add(&mut self, range: PhysRange) -> Result<(), MemblockError> {
        self.add_node(range, None, RegionFlags::empty())
    }

    /// Adds RAM of a NUMA node. What is already there keeps its flags and node.
    ///
    /// # Errors
    /// [`MemblockError::Full`].
    pub fn add_node(
        &mut self,
        range: PhysRange,
        nid: Option<NodeId>,
        flags: RegionFlags,
    ) -> Result<(), MemblockError> {
        self.growing(Kind::Memory, range, |array| array.add(Region::new(range, nid, flags)))
    }

    /// Takes RAM away.
    ///
    /// # Errors
    /// [`MemblockError::Full`], where it leaves a hole in a region.
    pub fn remove(&mut self, range: PhysRange) -> Result<(), MemblockError> {
        self.growing(Kind::Memory, range, |array| array.remove(range))
    }

    /// Reserves a range, RAM or not, reserved already or not.
    ///
    /// # Errors
    /// [`MemblockError::Full`].
    pub fn reserve(&mut self, range: PhysRange) -> Result<(), MemblockError> {
        let region = Region::new(range, None, RegionFlags::empty());
        self.growing(Kind::Reserved, range, |array| array.add(region))
    }

    /// Gives a range back: takes it out of the reserved ones (Linux: memblock_phys_free).
    ///
    /// # Errors
    /// [`MemblockError::Full`], where it leaves a hole in a region.
    pub fn free(&mut self, range: PhysRange) -> Result<(), MemblockError> {
        self.growing(Kind::Reserved, range, |array| array.remove(range))
    }

    /// Keeps RAM out of the linear map and out of every allocation.
    ///
    /// # Errors
    /// [`MemblockError::Full`].
    pub fn mark_nomap(&mut self, range: PhysRange) -> Result<(), MemblockError> {
        self.set_flag(range, RegionFlags::NOMAP, true)
    }

    /// Takes [`Memblock::mark_nomap`] back.
    ///
    /// # Errors
    /// [`MemblockError::Full`].
    pub fn clear_nomap(&mut self, range: PhysRange) -> Result<(), MemblockError> {
        self.set_flag(range, RegionFlags::NOMAP, false)
    }

    /// Says that RAM may be taken out while the system runs.
    ///
    /// # Errors
    /// [`MemblockError::Full`].
    pub fn mark_hotplug(&mut self, range: PhysRange) -> Result<(), MemblockError> {
        self.set_flag(range, RegionFlags::HOTPLUG, true)
    }

    /// Takes [`Memblock::mark_hotplug`] back.
    ///
    /// # Errors
    /// [`MemblockError::Full`].
    pub fn clear_hotplug(&mut self, range: PhysRange) -> Result<(), MemblockError> {
        self.set_flag(range, RegionFlags::HOTPLUG, false)
    }

    fn set_flag(
        &mut self,
        range: PhysRange,
        flag: RegionFlags,
        on: bool,
    ) -> Result<(), MemblockError> {
        self.growing(Kind::Memory, range, |array| {
            array.change(range, |region| region.flags.set(flag, on))
        })
    }

    /// Says which NUMA node RAM belongs to.
    ///
    /// # Errors
    /// [`MemblockError::Full`].
    pub fn set_node(&mut self, range: PhysRange, nid: Option<NodeId>) -> Result<(), MemblockError> {
        self.growing(Kind::Memory, range, |array| array.change(range, |region| region.nid = nid))
    }

    /// Returns true if this byte is RAM.
    #[must_use]
    pub fn is_memory(&self, at: PhysAddr) -> bool {
        self.memory.find(at).is_some()
    }

    /// Returns true if this byte is RAM that is in the linear map.
    #[must_use]
    pub fn is_map_memory(&self, at: PhysAddr) -> bool {
        self.memory.find(at).is_some_and(|region| !region.is_nomap())
    }

    /// Returns true if this byte is reserved.
    #[must_use]
    pub fn is_reserved(&self, at: PhysAddr) -> bool {
        self.reserved.find(at).is_some()
    }

    /// Returns true if all of the range is RAM.
    #[must_use]
    pub fn is_region_memory(&self, range: PhysRange) -> bool {
        self.memory.gaps(range).next().is_none()
    }

    /// Returns true if some of the range is RAM.
    #[must_use]
    pub fn overlaps_memory(&self, range: PhysRange) -> bool {
        self.memory.overlapping(range).next().is_some()
    }

    /// Returns true if some of the range is reserved (Linux: memblock_is_region_reserved).
    #[must_use]
    pub fn is_region_reserved(&self, range: PhysRange) -> bool {
        self.reserved.overlapping(range).next().is_some()
    }

    /// The NUMA node of this byte of RAM, where known.
    #[must_use]
    pub fn node_of(&self, at: PhysAddr) -> Option<NodeId> {
        self.memory.find(at)?.nid
    }

    /// Bytes of RAM (Linux: memblock_phys_mem_size).
    #[must_use]
    pub fn phys_mem_size(&self) -> u64 {
        self.memory.total()
    }

    /// Bytes reserved, in RAM or not.
    #[must_use]
    pub fn reserved_size(&self) -> u64 {
        self.reserved.total()
    }

    /// Bytes of RAM that are neither reserved nor kept out of the linear map.
    #[must_use]
    pub fn free_size(&self) -> u64 {
        self.free_mem_ranges(None).map(|free| free.range.len()).sum()
    }

    /// The first byte of RAM; zero where there is none.
    #[must_use]
    pub fn start_of_dram(&self) -> PhysAddr {
        self.memory().first().map_or(PhysAddr::new(0), |region| region.range.start())
    }

    /// The byte after the last of RAM; zero where there is none.
    #[must_use]
    pub fn end_of_dram(&self) -> PhysAddr {
        self.memory().last().map_or(PhysAddr::new(0), |region| region.range.end())
    }

    /// Upper end of allocations that name none: the limit of what the CPU can reach so far.
    #[must_use]
    pub const fn current_limit(&self) -> PhysAddr {
        self.current_limit
    }

    /// Sets [`Memblock::current_limit`].
    pub const fn set_current_limit(&mut self, limit: PhysAddr) {
        self.current_limit = limit;
    }

    /// Returns true if allocations start from the lowest address.
    #[must_use]
    pub const fn bottom_up(&self) -> bool {
        self.bottom_up
    }

    /// Lets allocations start from the lowest address, or from the highest.
    pub const fn set_bottom_up(&mut self, on: bool) {
        self.bottom_up = on;
    }

    /// Keeps allocations out of RAM that may be taken out (the parameter
    /// `movable_node`).
    pub const fn set_movable_node(&mut self, on: bool) {
        self.movable_node = on;
    }
}
