//! Several pages at once, and sizes that are no power of two
//! (Linux: alloc_pages_bulk, alloc_pages_exact).
#![deny(unsafe_code)]

use super::compound::split_page;
use super::{OwnedPage, alloc_pages, are_watched, free_block, pcp};
use crate::addr::{Order, PAGE_SIZE};
use crate::arch::irq::with_masked;
use crate::mm::gfp::{Gfp, might_alloc};
use crate::mm::page::Frame;

/// Pages that are moved in one go, with interrupts masked.
const AT_ONCE: usize = 64;

/// Fills the empty entries of `pages` with single pages until memory is short, and returns
/// how many entries are full from the start on. Any context that `gfp` is fit for
/// (Linux: alloc_pages_bulk).
pub fn alloc_pages_bulk(gfp: Gfp, pages: &mut [Option<OwnedPage>]) -> usize {
    might_alloc(gfp);
    let plain = !gfp.intersects(Gfp::__GFP_THISNODE | Gfp::__GFP_ACCOUNT | Gfp::__GFP_ZERO);
    let mut full = 0;
    while full < pages.len() {
        if plain {
            let end = pages.len().min(full + AT_ONCE);
            let part = &mut pages[full..end];
            full += with_masked(|irq| pcp::alloc_bulk(irq, gfp, part));
            if full == end {
                continue;
            }
        }
        // What the lists don't have fills them too, for those that follow.
        let entry = &mut pages[full];
        if entry.is_none() {
            *entry = OwnedPage::alloc(gfp);
            if entry.is_none() {
                break;
            }
        }
        full += 1;
    }
    full
}

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

/// Allocates as many contiguous pages as hold `bytes`, at most a block of the largest
/// order, and returns the first; `None` where memory is short or `bytes` is more or zero.
/// To be given back with [`free_pages_exact`](super::free_pages_exact) of the same size.
pub fn alloc_pages_exact(gfp: Gfp, bytes: usize) -> Option<Frame> {
    if bytes == 0 {
        return None;
    }
    let order = Order::for_bytes(bytes)?;
    let frame = alloc_pages(gfp - Gfp::__GFP_COMP, order)?;
    split_page(frame, order);
    for spare in frame.block(order).skip(bytes.div_ceil(PAGE_SIZE)) {
        free_block(spare, Order::ZERO);
    }
    Some(frame)
}

/// Gives back what [`alloc_pages_exact`] returned for `bytes`: what
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
