//! `init_mm::map_range`, `map_pages` and `map_blocks`: a second `&mut` to a page, or the memory that others have by an address.
#![no_std]
#![forbid(unsafe_code)]

use granule::addr::{PhysAddr, VirtAddr, VirtRange};
use granule::arch::pgtable::{KernelAttrs, MapFlags};
use granule::mm::init_mm;

pub fn map(va: VirtRange, pa: PhysAddr) {
    let rw = KernelAttrs::KERNEL;
    let _ = (rw, MapFlags::empty());
    let done;
    done = init_mm::map_range(va, pa, rw, MapFlags::empty()); //~ E0133
    let _ = done;
    let done;
    done = init_mm::map_pages(va.start(), [pa].into_iter(), rw); //~ E0133
    let _ = done;
    let done;
    done = init_mm::map_blocks(va.start(), [(pa, va.len())].into_iter(), rw); //~ E0133
    let _ = done;
}

pub fn look(va: VirtAddr) -> bool {
    init_mm::translate(va).is_some()
}
