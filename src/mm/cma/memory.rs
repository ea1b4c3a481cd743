//! Words for an area's bit map, from the page allocator.

use crate::addr::Order;
use crate::mm::gfp::Gfp;
use crate::mm::page_alloc::Pages;
use core::sync::atomic::AtomicU64;

/// A block of cleared memory that is to hold words.
pub(super) struct Words(Pages);

impl Words {
    /// Room for at least `bits` bits; `None` where memory is short.
    pub(super) fn alloc(bits: usize) -> Option<Self> {
        let order = Order::for_bytes(bits.div_ceil(u8::BITS as usize))?;
        Pages::alloc(Gfp::GFP_KERNEL | Gfp::__GFP_ZERO, order).map(Self)
    }

    /// The words, for good.
    pub(super) fn leak(self) -> &'static [AtomicU64] {
        let words = self.0.order().bytes() / size_of::<AtomicU64>();
        let block = self.0.into_raw();
        let ptr = core::ptr::with_exposed_provenance::<AtomicU64>(block.virt().get());
        // SAFETY: the block was allocated cleared, is in the linear map, page aligned and as
        // long, and its owner, the only one that could give it back, is no more.
        unsafe { core::slice::from_raw_parts(ptr, words) }
    }
}
