//! Areas of the kernel's virtual address space (Linux: struct vm_struct, vmap_area).
#![deny(unsafe_code)]

use super::area_pages::AreaPages;
use super::memtype::Reservation;
use crate::addr::{PhysAddr, VirtRange};
use bitflags::bitflags;
use core::fmt;
use core::panic::Location;

bitflags! {
    /// Purpose of an area (Linux: include/linux/vmalloc.h).
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct VmFlags: u8 {
        /// Devices, mapped by `ioremap` and its kin.
        const VM_IOREMAP = 1 << 0;
        /// Pages of its own, from `vmalloc`.
        const VM_ALLOC = 1 << 1;
        /// Somebody's pages, mapped by `vmap`.
        const VM_MAP = 1 << 2;
        /// Memory of a device that does not snoop, from `dma_alloc_coherent`.
        const VM_DMA_COHERENT = 1 << 5;
        /// Addresses for `vm_map_ram`.
        const VM_MAP_RAM = 1 << 4;
        /// The linear map's permissions of its pages were changed along with its own.
        const VM_FLUSH_RESET_PERMS = 1 << 3;
    }
}

/// Resources that an area gives back at its end, once no TLB holds its translations any more.
#[derive(Default, Debug)]
pub enum Backing {
    /// No resources: the pages belong to another owner.
    #[default]
    None,
    /// The area's own pages.
    Pages(AreaPages),
    /// The claim to a memory type for a device's addresses.
    Io(Reservation),
}

/// Stage of an area's life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// The area is in use.
    Busy,
    /// Being unmapped by the CPU that frees it.
    Unmapping,
    /// Unmapped, and on a list: a lazy one, where TLBs may hold its translations, or the pool
    /// of its size, where none does.
    Unused,
}

/// An area and its life. The guard page at its end is part of its addresses.
#[derive(Debug)]
pub struct VmapArea {
    pub(super) flags: VmFlags,
    pub(super) state: State,
    /// The next area on the list that its state puts it on.
    pub(super) next: u32,
    /// Pages mapped, the guard page left out.
    pub(super) nr_pages: u32,
    /// Number of pages of a `vm_map_ram` block that were used and are used no more.
    pub(super) dirty: u32,
    /// Physical address that a device area maps.
    pub(super) phys: PhysAddr,
    pub(super) caller: &'static Location<'static>,
    pub(super) backing: Backing,
}

/// A line of [`vmallocinfo`](super::vmallocinfo).
#[derive(Clone, Copy, Debug)]
pub struct VmallocInfo {
    /// Addresses, the guard page included.
    pub range: VirtRange,
    /// Purpose of the area.
    pub flags: VmFlags,
    /// Number of pages mapped.
    pub nr_pages: u32,
    /// Physical address that a device area maps; 0 otherwise.
    pub phys: PhysAddr,
    /// Location of the allocation.
    pub caller: &'static Location<'static>,
}

impl fmt::Display for VmallocInfo {
    /// Prints a line of Linux's /proc/vmallocinfo, the caller as a place in the source.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (start, end) = (self.range.start().get(), self.range.end().get());
        write!(f, "{start:#018x}-{end:#018x} {:7}", self.range.len())?;
        write!(f, " {}:{}", self.caller.file(), self.caller.line())?;
        // Linux counts the pages of vmalloc and vmap alone.
        if self.flags.intersects(VmFlags::VM_ALLOC.union(VmFlags::VM_MAP)) {
            write!(f, " pages={}", self.nr_pages)?;
        }
        if self.flags.contains(VmFlags::VM_IOREMAP) {
            write!(f, " phys={:#018x} ioremap", self.phys.get())?;
        }
        if self.flags.contains(VmFlags::VM_ALLOC) {
            write!(f, " vmalloc")?;
        }
        if self.flags.contains(VmFlags::VM_MAP) {
            write!(f, " vmap")?;
        }
        if self.flags.contains(VmFlags::VM_DMA_COHERENT) {
            write!(f, " dma-coherent")?;
        }
        if self.flags.contains(VmFlags::VM_MAP_RAM) {
            write!(f, " vm_map_ram")?;
        }
        Ok(())
    }
}
