//! Several pages at once, and sizes that are no power of two
//! (Linux: alloc_pages_bulk, alloc_pages_exact).
#![deny(unsafe_code)]

use super::{alloc_pages, free_pages, split_page};
use crate::addr::{Order, PAGE_SIZE};
use crate::mm::gfp::Gfp;
use crate::mm::page::Frame;

/// Fills the empty entries of `pages` with single pages until memory is short, and returns
/// how many entries are full from the start on (Linux: alloc_pages_bulk).
pub fn alloc_pages_bulk(gfp: Gfp, pages: &mut [Option<Frame>]) -> usize {
    for (n, entry) in pages.iter_mut().enumerate() {
        if entry.is_none() {
            *entry = alloc_pages(gfp, Order::ZERO);
            if entry.is_none() {
                return n;
            }
        }
    }
    pages.len()
}

/// Allocates as many contiguous pages as hold `bytes`, at most a block of the largest
/// order, and returns the first; `None` where memory is short or `bytes` is more or zero.
/// To be given back with [`free_pages_exact`] of the same size.
pub fn alloc_pages_exact(gfp: Gfp, bytes: usize) -> Option<Frame> {
    if bytes == 0 {
        return None;
    }
    let order = Order::for_bytes(bytes)?;
    let frame = alloc_pages(gfp - Gfp::__GFP_COMP, order)?;
    split_page(frame, order);
    for spare in frame.block(order).skip(bytes.div_ceil(PAGE_SIZE)) {
        free_pages(spare, Order::ZERO);
    }
    Some(frame)
}

/// Gives back what [`alloc_pages_exact`] returned for `bytes`.
///
/// # Panics
/// As [`free_pages`], for each page.
#[track_caller]
pub fn free_pages_exact(frame: Frame, bytes: usize) {
    let Some(order) = Order::for_bytes(bytes) else {
        panic!("page allocator: free of {bytes} bytes at {frame:?}, which no block holds");
    };
    for n in 0..bytes.div_ceil(PAGE_SIZE) as u32 {
        free_pages(frame.within(order, n), Order::ZERO);
    }
}
