//! Pages that are freed when they are dropped.

use super::compound::split_page;
use super::contig::free_contig_range;
use super::free_block;
use super::page_list::PageList;
use crate::addr::{Order, PAGE_SIZE, PfnRange};
use crate::mm::page::{Frame, PageFlags};
use core::mem::ManuallyDrop;

/// A block of pages by its only reference. It is freed when dropped.
///
/// Whoever has the value has the pages: nobody else reads, writes or frees them.
#[derive(PartialEq, Eq, Debug)]
pub struct Pages {
    frame: Frame,
    order: Order,
}

impl Pages {
    /// The first frame.
    #[inline]
    #[must_use]
    pub const fn frame(&self) -> Frame {
        self.frame
    }

    /// The order of the block.
    #[inline]
    #[must_use]
    pub const fn order(&self) -> Order {
        self.order
    }

    /// The bytes; what they are after allocation is whatever was there.
    #[inline]
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        let at = core::ptr::with_exposed_provenance(self.frame.virt().get());
        // SAFETY: RAM in the linear map, as long as the block, which the holder of the value
        // alone may write.
        unsafe { core::slice::from_raw_parts(at, self.order.bytes()) }
    }

    /// The bytes, to be written.
    #[inline]
    #[must_use]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        let at = core::ptr::with_exposed_provenance_mut(self.frame.virt().get());
        // SAFETY: as in `bytes`; borrowed mutably.
        unsafe { core::slice::from_raw_parts_mut(at, self.order.bytes()) }
    }

    /// Single pages instead, the first one on top (Linux: split_page).
    ///
    /// # Panics
    /// Where it is a compound page.
    #[must_use]
    #[track_caller]
    pub fn split(self) -> PageList<OwnedPage> {
        let (frame, order) = (self.frame, self.order);
        split_page(frame, order);
        core::mem::forget(self);
        let mut pages = PageList::new();
        for single in frame.block(order).rev() {
            pages.push(OwnedPage(single));
        }
        pages
    }

    /// Gives up the first frame, and the block is not freed any more:
    /// [`free_pages`](super::free_pages) or [`from_raw`](Self::from_raw) are for that.
    #[inline]
    #[must_use]
    pub fn into_raw(self) -> Frame {
        ManuallyDrop::new(self).frame
    }

    /// The owner of a block.
    ///
    /// # Safety
    /// The caller has the only reference to the block of `order` that starts at `frame`, and
    /// no longer uses it.
    #[inline]
    #[must_use]
    pub const unsafe fn from_raw(frame: Frame, order: Order) -> Self {
        Self { frame, order }
    }
}

impl Drop for Pages {
    #[inline]
    fn drop(&mut self) {
        free_block(self.frame, self.order);
    }
}

impl From<OwnedPage> for Pages {
    fn from(page: OwnedPage) -> Self {
        Self { frame: page.into_raw(), order: Order::ZERO }
    }
}

/// A single page by its only reference. It is freed when dropped.
///
/// Whoever has the value has the page: nobody else reads, writes or frees it.
#[derive(PartialEq, Eq, Debug)]
#[repr(transparent)]
pub struct OwnedPage(pub(super) Frame);

impl OwnedPage {
    /// The owner of a page that has just left the free lists, with its reference.
    #[inline(always)]
    pub(super) const fn of(frame: Frame) -> Self {
        Self(frame)
    }

    /// Frame of the page.
    #[inline]
    #[must_use]
    pub const fn frame(&self) -> Frame {
        self.0
    }

    /// Gives up the frame, and the page is not freed any more: [`free_pages`](super::free_pages) or
    /// [`from_raw`](Self::from_raw) are for that.
    #[inline]
    #[must_use]
    pub fn into_raw(self) -> Frame {
        ManuallyDrop::new(self).0
    }

    /// The owner of a page.
    ///
    /// # Safety
    /// The caller has the only reference to the single page at `frame`, and no longer uses it.
    #[inline]
    #[must_use]
    pub const unsafe fn from_raw(frame: Frame) -> Self {
        Self(frame)
    }

    /// The bytes; what they are after allocation is whatever was there.
    #[inline]
    #[must_use]
    pub fn bytes(&self) -> &[u8; PAGE_SIZE] {
        let at = core::ptr::with_exposed_provenance(self.0.virt().get());
        // SAFETY: RAM in the linear map, which the holder of the value alone may write.
        unsafe { &*at }
    }

    /// The bytes, to be written.
    #[inline]
    #[must_use]
    pub fn bytes_mut(&mut self) -> &mut [u8; PAGE_SIZE] {
        let at = core::ptr::with_exposed_provenance_mut(self.0.virt().get());
        // SAFETY: as in `bytes`; borrowed mutably.
        unsafe { &mut *at }
    }
}

impl Drop for OwnedPage {
    #[inline]
    fn drop(&mut self) {
        free_block(self.0, Order::ZERO);
    }
}

/// Single pages side by side, each by its only reference. They are freed when the value is
/// dropped.
#[derive(PartialEq, Eq, Debug)]
pub struct ContigPages(PfnRange);

impl ContigPages {
    /// The frames.
    #[must_use]
    pub const fn range(&self) -> PfnRange {
        self.0
    }

    /// The pages one by one, the first one on top.
    #[must_use]
    pub fn into_pages(self) -> PageList<OwnedPage> {
        let mut pages = PageList::new();
        for n in (0..self.0.len()).rev() {
            if let Some(frame) = Frame::new(self.0.start() + n) {
                pages.push(OwnedPage(frame));
            }
        }
        core::mem::forget(self);
        pages
    }

    /// Gives up the frames, which are not freed any more:
    /// [`free_contig_range`](super::free_contig_range) or [`from_raw`](Self::from_raw) are for
    /// that.
    #[must_use]
    pub fn into_raw(self) -> PfnRange {
        ManuallyDrop::new(self).0
    }

    /// The owner of single pages.
    ///
    /// # Safety
    /// The caller has the only reference to each page of the range, and no longer uses them.
    #[must_use]
    pub const unsafe fn from_raw(range: PfnRange) -> Self {
        Self(range)
    }
}

impl Drop for ContigPages {
    fn drop(&mut self) {
        free_contig_range(self.0);
    }
}

/// Marks a page as one that its owner can move; the owner's `id` and its own `private`
/// word find the owner's record of it. Cleared when the page is freed.
pub(in crate::mm) fn set_page_movable(page: &OwnedPage, id: usize, private: u32) {
    let page = page.0.page();
    page.set_owner(id);
    page.set_private(private);
    page.add_flags(PageFlags::MOVABLE);
}

/// Takes the mark back.
pub(in crate::mm) fn clear_page_movable(page: &OwnedPage) {
    let page = page.0.page();
    page.remove_flags(PageFlags::MOVABLE);
    page.set_private(0);
    page.set_owner(0);
}
