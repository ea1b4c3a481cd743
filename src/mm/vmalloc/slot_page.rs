//! Pages for a [`SlotTable`](super::slots::SlotTable), while nobody's table has them.
#![deny(unsafe_code)]

use crate::addr::{Order, VirtAddr};
use crate::mm::gfp::Gfp;
use crate::mm::page::Frame;
use crate::mm::page_alloc;

/// A page on its way into a table or out of it; given back when dropped.
#[derive(Debug)]
pub struct SlotPage(Frame);

impl SlotPage {
    /// A page from the page allocator; any context that `gfp` permits.
    #[must_use]
    pub fn alloc(gfp: Gfp) -> Option<Self> {
        page_alloc::alloc_pages(gfp, Order::ZERO).map(Self)
    }

    /// Its address in the linear map; nobody gives it back any more.
    pub fn into_address(self) -> usize {
        let address = self.0.virt().get();
        core::mem::forget(self);
        address
    }

    /// Back from [`SlotPage::into_address`].
    pub fn from_address(address: usize) -> Self {
        let frame = Frame::from_virt(VirtAddr::new(address));
        Self(frame.expect("a page of the table came from the page allocator"))
    }
}

impl Drop for SlotPage {
    fn drop(&mut self) {
        page_alloc::free_pages(self.0, Order::ZERO);
    }
}
