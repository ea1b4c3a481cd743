//! Reading the vmalloc range as it is at the moment (Linux: vread_iter, for /proc/kcore).

use super::with_areas;
use crate::addr::{PAGE_SIZE, VirtAddr};
use crate::arch::copy_from_kernel_nofault;
use crate::mm::init_mm;
use crate::mm::page::Frame;

/// Copies what lies at `va` and behind it into `buffer`: the bytes of areas that map memory,
/// and zeros for everything else: devices, pages that are invalid in the linear map, and memory
/// that was never in it. Returns how many bytes are an area's. An area can't end while it is looked
/// at, page by page. Any context.
///
/// # Safety
/// Nobody holds a reference by which the bytes are written meanwhile, as a thread does to its own
/// stack: each is read as it was or as it is, which the language knows of for atomics alone. Nor is
/// what was never written read from `buffer` as if it had a value.
#[must_use]
pub unsafe fn vread(va: VirtAddr, buffer: &mut [u8]) -> usize {
    read(va, buffer)
}

/// Implements [`vread`].
pub(super) fn read(va: VirtAddr, buffer: &mut [u8]) -> usize {
    let (mut done, mut found) = (0, 0);
    while done < buffer.len() {
        let Some(at) = va.checked_add(done) else { break };
        let rest = (PAGE_SIZE - at.page_offset()).min(buffer.len() - done);
        let part = &mut buffer[done..done + rest];
        if read_page(at, part) {
            found += rest;
        } else {
            part.fill(0);
        }
        done += rest;
    }
    buffer[done..].fill(0);
    found
}

/// Copies a part of one page. Returns false if there is none that can be read.
fn read_page(at: VirtAddr, part: &mut [u8]) -> bool {
    with_areas(|areas| {
        // Who unmaps an area claims it under this lock first.
        areas.readable(at)?;
        let (pa, _) = init_mm::translate(at)?;
        let frame = Frame::new(pa.pfn()?)?;
        // A page with a descriptor may be unmapped from the linear map, now or in a moment.
        if init_mm::is_present_invalid_in_linear_map(frame.phys()) {
            return None;
        }
        // SAFETY: the linear map has nothing but memory, and `part` ends with the page at the latest.
        unsafe { copy_from_kernel_nofault(part, frame.virt() + pa.page_offset()) }.then_some(())
    })
    .is_some()
}
