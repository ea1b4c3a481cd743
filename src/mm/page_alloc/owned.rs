//! Pages that give themselves back.

use super::{accounted, alloc_pages, free_pages};
use crate::addr::{Order, PAGE_SIZE};
use crate::mm::gfp::Gfp;
use crate::mm::page::{Frame, PageFlags};

/// A single page by its only reference. It is freed when dropped.
///
/// Whoever has the value has the page: nobody else reads, writes or frees it.
#[derive(PartialEq, Eq, Debug)]
pub struct OwnedPage(Frame);

impl OwnedPage {
    /// Allocates a page as [`alloc_pages`] does.
    #[must_use]
    pub fn alloc(gfp: Gfp) -> Option<Self> {
        alloc_pages(gfp - Gfp::__GFP_COMP, Order::ZERO).map(Self)
    }

    /// Its frame.
    #[inline]
    #[must_use]
    pub fn frame(&self) -> Frame {
        self.0
    }

    /// Its bytes; what they are after allocation is whatever was there.
    #[inline]
    #[must_use]
    pub fn bytes(&self) -> &[u8; PAGE_SIZE] {
        let at = core::ptr::with_exposed_provenance(self.0.virt().get());
        // SAFETY: RAM in the linear map, which the holder of the value alone may write.
        unsafe { &*at }
    }

    /// Its bytes, to be written.
    #[inline]
    #[must_use]
    pub fn bytes_mut(&mut self) -> &mut [u8; PAGE_SIZE] {
        let at = core::ptr::with_exposed_provenance_mut(self.0.virt().get());
        // SAFETY: as in `bytes`; borrowed mutably.
        unsafe { &mut *at }
    }
}

impl Drop for OwnedPage {
    fn drop(&mut self) {
        free_pages(self.0, Order::ZERO);
    }
}

/// A stack of pages, linked through their descriptors: it takes no memory of its own.
#[derive(Debug)]
pub struct OwnedPages {
    top: Option<Frame>,
    len: u32,
}

impl OwnedPages {
    /// No pages.
    pub const NONE: Self = Self { top: None, len: 0 };

    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> u32 {
        self.len
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Puts a page on the stack.
    pub fn push(&mut self, page: OwnedPage) {
        page.0.page().set_next(self.top);
        self.top = Some(page.0);
        self.len += 1;
        core::mem::forget(page);
    }

    /// Puts the pages of a block on the stack that has just left the free lists, each
    /// with one reference.
    pub(super) fn push_isolated(&mut self, head: Frame, order: Order) {
        for frame in head.block(order) {
            debug_assert!(frame.page().refcount() == 1);
            self.push(OwnedPage(frame));
        }
    }

    /// Takes the page that was put there last.
    #[must_use]
    pub fn pop(&mut self) -> Option<OwnedPage> {
        let frame = self.top?;
        let page = frame.page();
        self.top = page.next();
        page.set_next(None);
        self.len -= 1;
        Some(OwnedPage(frame))
    }
}

impl Drop for OwnedPages {
    fn drop(&mut self) {
        while let Some(page) = self.pop() {
            drop(page);
        }
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

/// Charges `new` for what `old` is charged, in whose place it is.
pub(in crate::mm) fn inherit_charge(old: &OwnedPage, new: &OwnedPage) {
    accounted::inherit(old.0, new.0);
}
