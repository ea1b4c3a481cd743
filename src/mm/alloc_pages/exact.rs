//! Contiguous pages of a size that is no power of two (Linux: alloc_pages_exact).

use super::alloc_pages;
use crate::addr::{Order, PAGE_SIZE};
use crate::mm::gfp::Gfp;
use crate::mm::page::Frame;
use crate::mm::page_alloc::{free_pages, split_page};

/// Allocates as many contiguous pages as hold `bytes`, at most a block of the largest
/// order, and returns the first; `None` where memory is short or `bytes` is more or zero.
/// To be given back with [`free_pages_exact`](crate::mm::page_alloc::free_pages_exact) of the same size.
pub fn alloc_pages_exact(gfp: Gfp, bytes: usize) -> Option<Frame> {
    if bytes == 0 {
        return None;
    }
    let order = Order::for_bytes(bytes)?;
    let frame = alloc_pages(gfp - Gfp::__GFP_COMP, order)?;
    // SAFETY: allocated here, and no compound page.
    unsafe { split_page(frame, order) };
    for spare in frame.block(order).skip(bytes.div_ceil(PAGE_SIZE)) {
        // SAFETY: a single page of the block, which nobody knows of yet.
        unsafe { free_pages(spare, Order::ZERO) };
    }
    Some(frame)
}
