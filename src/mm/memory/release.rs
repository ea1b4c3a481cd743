//! Giving back the references that mappings had.

use crate::mm::page::{Frame, PageType};
use crate::mm::page_alloc::{self, free_chain_to_zones, free_pages_chain};

/// Number of pages up to which they go to this CPU's lists, for the next faults.
const LISTED: u32 = 256;

/// Gives back the only references of `count` pages that are linked through their descriptors' `next`,
/// from `first` on; of one that others hold too, the mappings' reference.
pub(super) fn put_chain(first: Frame, count: u32) {
    let (mut head, mut left) = (Some(first), count);
    loop {
        if left > LISTED {
            // SAFETY: as below.
            (head, left) = unsafe { free_chain_to_zones(head, left) };
        }
        // SAFETY: exclusive pages, whose mappings are gone from all TLBs: the mappings' reference is
        // the caller's.
        (head, left) = unsafe { free_pages_chain(head, left, PageType::None) };
        let Some(frame) = head.filter(|_| left > 0) else { return };
        head = frame.page().next();
        left -= 1;
        frame.page().set_next(None);
        put_page(frame);
    }
}

/// Gives back the reference that the mappings of a page had.
pub(super) fn put_page(frame: Frame) {
    // SAFETY: called once, when the last mapping is gone from all TLBs.
    unsafe { page_alloc::put_page(frame) };
}
