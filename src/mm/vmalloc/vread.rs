//! Reading the vmalloc range as it is at the moment (Linux: vread_iter, for /proc/kcore).

use super::with_areas;
use crate::addr::{PAGE_SIZE, VirtAddr};
use crate::mm::init_mm;
use crate::mm::page::Frame;
use core::sync::atomic::{AtomicU8, Ordering::Relaxed};

/// Copies what lies at `va` and behind it into `buffer`: the bytes of areas that map memory,
/// and zeros for everything else, devices included. Returns how many bytes are an area's.
/// An area can't end while it is looked at, page by page; its owner may write to it
/// meanwhile. Any context.
pub fn vread(va: VirtAddr, buffer: &mut [u8]) -> usize {
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

/// Copies a part of one page; whether there is one.
fn read_page(at: VirtAddr, part: &mut [u8]) -> bool {
    with_areas(|areas| {
        // Who unmaps an area claims it under this lock first.
        areas.readable(at)?;
        let (pa, _) = init_mm::translate(at)?;
        let frame = Frame::new(pa.pfn()?)?;
        let start = (frame.virt() + pa.page_offset()).get();
        for (n, byte) in part.iter_mut().enumerate() {
            let at = core::ptr::with_exposed_provenance::<AtomicU8>(start + n);
            // SAFETY: a byte of RAM in the linear map: the frame has a descriptor, and `part`
            // ends with the page at the latest. As an atomic it may change meanwhile.
            *byte = unsafe { &*at }.load(Relaxed);
        }
        Some(())
    })
    .is_some()
}
