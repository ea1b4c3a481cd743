//! Words for an area's bit map, from the page allocator.

use crate::addr::Order;
use crate::mm::gfp::Gfp;
use crate::mm::page::Frame;
use crate::mm::page_alloc::{alloc_pages, free_pages};
use core::sync::atomic::AtomicU64;

/// A block of cleared memory that is to hold words.
pub(super) struct Words {
    block: Frame,
    order: Order,
}

impl Words {
    /// Room for at least `bits` bits; `None` where memory is short.
    pub(super) fn alloc(bits: usize) -> Option<Self> {
        let order = Order::for_bytes(bits.div_ceil(u8::BITS as usize))?;
        let block = alloc_pages(Gfp::GFP_KERNEL | Gfp::__GFP_ZERO, order)?;
        Some(Self { block, order })
    }

    /// The words, for good.
    pub(super) fn leak(self) -> &'static [AtomicU64] {
        let ptr = core::ptr::with_exposed_provenance::<AtomicU64>(self.block.virt().get());
        let words = self.order.bytes() / size_of::<AtomicU64>();
        // SAFETY: the block was allocated cleared, is in the linear map, page aligned and as
        // long, and `self`, the only one that could give it back, ends here.
        unsafe { core::slice::from_raw_parts(ptr, words) }
    }

    /// Gives the memory back.
    pub(super) fn free(self) {
        free_pages(self.block, self.order);
    }
}
