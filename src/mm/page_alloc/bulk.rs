//! Several pages at once, and sizes that are no power of two
//! (Linux: release_pages, free_pages_exact). [`crate::mm::alloc_pages`] allocates them.
#![deny(unsafe_code)]

use super::{OwnedPage, are_watched, free_block, pcp};
use crate::addr::{Order, PAGE_SIZE};
use crate::arch::irq::with_masked;
use crate::mm::page::Frame;

/// Pages that are moved in one go, with interrupts masked.
pub(in crate::mm) const AT_ONCE: usize = 64;

/// Frees the single pages in `pages` and empties the entries; as a drop of each, in less time.
/// Any context (Linux: release_pages).
pub fn free_pages_bulk(pages: &mut [Option<OwnedPage>]) {
    if are_watched() {
        pages.iter_mut().for_each(|page| *page = None);
        return;
    }
    let mut rest = pages;
    while !rest.is_empty() {
        let end = rest.len().min(AT_ONCE);
        let (done, full) = with_masked(|irq| pcp::free_bulk(irq, &mut rest[..end]));
        if let Some(frame) = full {
            pcp::free_pcppages_bulk(frame, Order::ZERO);
        }
        rest = &mut rest[done..];
        // One that takes more than a place on a list.
        if done < end {
            rest[0] = None;
        }
    }
}

/// Gives back what [`alloc_pages_exact`](crate::mm::alloc_pages::alloc_pages_exact) returned for `bytes`: what
/// [`free_pages_exact`](super::free_pages_exact) does.
#[track_caller]
pub(super) fn free_pages_exact(frame: Frame, bytes: usize) {
    let Some(order) = Order::for_bytes(bytes) else {
        panic!("page allocator: free of {bytes} bytes at {frame:?}, which no block holds");
    };
    for n in 0..bytes.div_ceil(PAGE_SIZE) as u32 {
        free_block(frame.within(order, n), Order::ZERO);
    }
}
