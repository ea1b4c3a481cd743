//! The regions of `/reserved-memory` for the devices that refer to them (Linux:
//! drivers/of/of_reserved_mem.c).
//!
//! The scan of the device tree reserved them ([`crate::mm::memblock::scan`]); here they are
//! found again by the phandles of a device's `memory-region`. The table is written once, at
//! boot, when the CMA areas are active.
#![deny(unsafe_code)]

use crate::addr::PhysRange;
use crate::firmware::fdt::Node;
use crate::machine_local;
use crate::mm::cma::{self, Cma};
use crate::mm::memblock::scan::{BootInfo, MAX_RESERVED_REGIONS, ReservedKind, ReservedMem};
use crate::sync::Once;
use arrayvec::{ArrayString, ArrayVec};
use core::fmt;

/// Bytes of a region's name that are kept.
const MAX_NAME: usize = 32;

/// Use of a region by the devices that name it.
#[derive(Clone, Copy, Debug)]
pub enum Pool {
    /// No general use: the region is for a driver that knows it.
    None,
    /// Contiguous memory of this area.
    Cma(&'static Cma),
    /// DMA memory that is nobody else's; it is not the page allocator's.
    Coherent,
    /// No use: the tree asks for a pool that can't be created, which the boot logged.
    Refused,
}

/// A region that is reserved (Linux: struct reserved_mem).
#[derive(Clone, Debug)]
pub struct Region {
    /// Name in the tree, cut off if it is too long.
    pub name: ArrayString<MAX_NAME>,
    /// The number by which devices refer to it.
    pub phandle: Option<u32>,
    /// Range of the region.
    pub range: PhysRange,
    /// True if the region is to be kept out of the linear map.
    pub no_map: bool,
    /// Memory that devices allocate from it.
    pub pool: Pool,
    /// True for the coherent pool of devices that name none (`linux,dma-default`).
    pub is_dma_default: bool,
}

/// Reason why a device has no such region.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RegionError {
    /// The device names no region at this place, or none of this name (Linux: ENODEV).
    NoEntry,
    /// No region that is reserved has this phandle (Linux: EINVAL).
    Unknown(u32),
}

impl fmt::Display for RegionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoEntry => f.write_str("the device has no such memory-region"),
            Self::Unknown(phandle) => {
                write!(f, "memory-region refers to {phandle:#x}, which is not reserved")
            }
        }
    }
}

impl core::error::Error for RegionError {}

machine_local! {
    static REGIONS: Once<ArrayVec<Region, MAX_RESERVED_REGIONS>> = Once::new();
}

/// Takes over the regions that the scan found, once the areas among them are active. At
/// boot, once (Linux: fdt_init_reserved_mem).
pub fn init(boot: &BootInfo<'_>) {
    REGIONS.call_once(|| boot.reserved.iter().map(region).collect());
}

fn region(of: &ReservedMem<'_>) -> Region {
    let mut name = ArrayString::new();
    for c in of.name.valid_prefix().chars() {
        if name.try_push(c).is_err() {
            break;
        }
    }
    let area = || cma::areas().find(|area| area.range().phys() == of.range);
    let pool = match of.kind {
        ReservedKind::Other => Pool::None,
        ReservedKind::Coherent => Pool::Coherent,
        // An area that could not be activated serves nobody.
        ReservedKind::Cma => match area().filter(|area| area.info().active) {
            Some(area) => Pool::Cma(area),
            None => Pool::Refused,
        },
        ReservedKind::Refused => Pool::Refused,
    };
    Region {
        name,
        phandle: of.phandle,
        range: of.range,
        no_map: of.no_map,
        pool,
        is_dma_default: of.is_dma_default,
    }
}

/// All regions.
#[must_use]
pub fn reserved_mem() -> &'static [Region] {
    REGIONS.get().map_or(&[], |regions| regions)
}

/// The region of this phandle; the first, where it has several parts (Linux:
/// of_reserved_mem_lookup).
#[must_use]
pub fn reserved_mem_lookup(phandle: u32) -> Option<&'static Region> {
    reserved_mem().iter().find(|region| region.phandle == Some(phandle))
}

/// The coherent DMA pool of a device: the first that it names, or the default of those that
/// name no region; `None` where it has to do with ordinary memory (Linux:
/// rmem_dma_device_init, dma_init_reserved_memory).
#[must_use]
pub fn dev_get_coherent_pool(device: &Node<'_>) -> Option<&'static Region> {
    let is_pool = |region: &&Region| matches!(region.pool, Pool::Coherent);
    let mut own = device.memory_regions().peekable();
    if own.peek().is_none() {
        // Of several defaults the last counts, as in Linux.
        return reserved_mem().iter().rfind(|region| region.is_dma_default);
    }
    own.find_map(|region| reserved_mem_lookup(region.phandle).filter(is_pool))
}

/// A device's region by its place in `memory-region` (Linux:
/// of_reserved_mem_device_init_by_idx).
///
/// # Errors
/// [`RegionError`].
pub fn device_region(device: &Node<'_>, index: usize) -> Result<&'static Region, RegionError> {
    let region = device.memory_regions().nth(index).ok_or(RegionError::NoEntry)?;
    reserved_mem_lookup(region.phandle).ok_or(RegionError::Unknown(region.phandle))
}

/// A device's region by its name in `memory-region-names` (Linux:
/// of_reserved_mem_device_init_by_name).
///
/// # Errors
/// [`RegionError`].
pub fn device_region_by_name(
    device: &Node<'_>,
    name: &str,
) -> Result<&'static Region, RegionError> {
    let mut regions = device.memory_regions();
    let named = |region: &crate::firmware::fdt::MemoryRegion<'_>| {
        region.name.is_some_and(|other| other == name)
    };
    let region = regions.find(named).ok_or(RegionError::NoEntry)?;
    reserved_mem_lookup(region.phandle).ok_or(RegionError::Unknown(region.phandle))
}
