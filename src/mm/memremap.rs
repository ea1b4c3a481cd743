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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::PhysRange;
    use crate::arch::pgtable::{KernelAttrs, MapFlags, MemoryType};
    use crate::mm::vmalloc;
    use crate::mm::vmalloc::tests::machine;

    const WB: MemremapFlags = MemremapFlags::MEMREMAP_WB;
    const WC: MemremapFlags = MemremapFlags::MEMREMAP_WC;

    #[test]
    fn ram_is_had_through_the_linear_map_and_other_memory_is_mapped() {
        machine(1024, |m| {
            let ram: PhysRange = m.ram()[0];
            let linear = layout::LINEAR.start() + ram.start().get() as usize;
            let linear = VirtRange::from_size(linear, ram.len() as usize);
            let flags = MapFlags::empty();
            init_mm::testing::map_range(linear, ram.start(), KernelAttrs::KERNEL, flags).unwrap();
            let inside = ram.start() + 0x1234;
            let memory = memremap(inside, 0x3000, WB | WC).unwrap();
            assert!(matches!(memory, MemRemap::Ram(at) if at == linear.start() + 0x1234));
            assert_eq!(vmalloc::vmallocinfo().count(), 0);
            memunmap(memory);
            assert_eq!(memremap(inside, 1, WC).unwrap_err(), IoremapError::Ram);
            // Half RAM, half nothing.
            let end = ram.end() - 0x1000;
            assert_eq!(memremap(end, 0x2000, WB).unwrap_err(), IoremapError::Ram);
            let other = PhysAddr::new(0x1000_0010);
            let memory = memremap(other, 8, WB).unwrap();
            let (pa, attrs) = init_mm::translate(memory.virt()).unwrap();
            assert_eq!((pa, attrs.memory()), (other, MemoryType::Normal));
            // Conflicting types are refused, another that was offered is not.
            assert_eq!(memremap(other, 8, WC).unwrap_err(), IoremapError::Conflict);
            memunmap(memory);
            let memory = memremap(other, 8, WC).unwrap();
            let second = memremap(other, 8, WB | WC).unwrap();
            let attrs = |m: &MemRemap| init_mm::translate(m.virt()).unwrap().1.memory();
            assert_eq!(
                (attrs(&memory), attrs(&second)),
                (MemoryType::NormalNc, MemoryType::NormalNc)
            );
            assert_eq!(memremap(other, 0, WB).unwrap_err(), IoremapError::Invalid);
            let nothing = MemremapFlags::empty();
            assert_eq!(memremap(other, 8, nothing).unwrap_err(), IoremapError::Invalid);
            assert!(memremap(PhysAddr::new(u64::MAX), 8, WB).is_err());
        });
    }
}
