//! Words for an area's bit map, from the page allocator, for good.

use crate::addr::Order;
use crate::mm::gfp::Gfp;
use crate::mm::page_alloc::alloc_pages;
use core::sync::atomic::AtomicU64;

/// At least `bits` clear bits; `None` where memory is short.
pub(super) fn alloc_words(bits: usize) -> Option<&'static [AtomicU64]> {
    let order = Order::for_bytes(bits.div_ceil(8).next_multiple_of(8))?;
    let frame = alloc_pages(Gfp::GFP_KERNEL | Gfp::__GFP_ZERO, order)?;
    let ptr = core::ptr::with_exposed_provenance::<AtomicU64>(frame.virt().get());
    // SAFETY: the block was just allocated, is cleared, in the linear map, page aligned and
    // `order.bytes()` long, and is never given back.
    Some(unsafe { core::slice::from_raw_parts(ptr, order.bytes() / size_of::<AtomicU64>()) })
}
