//! Pages for a `SlotTable`, while nobody's table has them.

use crate::addr::VirtAddr;
use crate::collections::slots::TablePage;
use crate::mm::gfp::Gfp;
use crate::mm::page::Frame;
use crate::mm::page_alloc::OwnedPage;

/// A page on its way into a table or out of it; given back when dropped.
#[derive(Debug)]
pub struct SlotPage(OwnedPage);

impl SlotPage {
    /// A page from the page allocator; any context that `gfp` permits.
    #[must_use]
    pub fn alloc(gfp: Gfp) -> Option<Self> {
        OwnedPage::alloc(gfp).map(Self)
    }

    /// Gives up ownership and returns the address in the linear map.
    pub fn into_address(self) -> usize {
        self.0.into_raw().virt().get()
    }

    /// Back from [`SlotPage::into_address`].
    ///
    /// # Safety
    /// `address` is what that returned, for the first time since, and nobody uses the page.
    pub unsafe fn from_address(address: usize) -> Self {
        let frame = Frame::from_virt(VirtAddr::new(address));
        let frame = frame.expect("a page of the table came from the page allocator");
        // SAFETY: as the caller says.
        Self(unsafe { OwnedPage::from_raw(frame) })
    }
}

// SAFETY: a page of the allocator lies in the linear map, aligned to its size, and is the owner's
// alone.
unsafe impl TablePage for SlotPage {
    fn into_address(self) -> usize {
        self.into_address()
    }

    unsafe fn from_address(address: usize) -> Self {
        // SAFETY: as the caller says.
        unsafe { Self::from_address(address) }
    }
}
