//! Lists of pages that are owned (Linux: struct list_head of struct page.lru).

use super::owned::{OwnedPage, Pages};
use crate::addr::Order;
use crate::mm::page::Frame;
use core::marker::PhantomData;

/// Owner of the block of pages at a frame: [`OwnedPage`] or [`Pages`].
///
/// # Safety
/// [`PageOwner::into_frame`] returns the first frame of pages to which the value has the only
/// reference, so that their descriptors may be linked.
pub unsafe trait PageOwner: Sized {
    /// Gives up the first frame.
    fn into_frame(self) -> Frame;

    /// Takes the block back that [`PageOwner::into_frame`] gave up.
    ///
    /// # Safety
    /// `frame` came from that function of the same type, and no other owner was made of it since.
    unsafe fn from_frame(frame: Frame) -> Self;
}

// SAFETY: the page is the value's by its only reference.
unsafe impl PageOwner for OwnedPage {
    fn into_frame(self) -> Frame {
        self.into_raw()
    }
    unsafe fn from_frame(frame: Frame) -> Self {
        // SAFETY: as the caller says.
        unsafe { Self::from_raw(frame) }
    }
}

// SAFETY: the block is the value's by its only reference.
unsafe impl PageOwner for Pages {
    fn into_frame(self) -> Frame {
        self.into_raw()
    }
    unsafe fn from_frame(frame: Frame) -> Self {
        // SAFETY: as the caller says; the descriptor of a block in use has its order.
        unsafe { Self::from_raw(frame, super::compound::block_order(frame)) }
    }
}

/// A stack of pages or blocks, linked through their descriptors: it takes no memory of its own.
/// They are freed when the list is dropped.
#[derive(Debug)]
pub struct PageList<T: PageOwner> {
    top: Option<Frame>,
    len: u32,
    of: PhantomData<T>,
}

impl<T: PageOwner> PageList<T> {
    /// An empty list.
    #[must_use]
    pub const fn new() -> Self {
        Self { top: None, len: 0, of: PhantomData }
    }

    /// Number of pages or blocks.
    #[must_use]
    pub const fn len(&self) -> u32 {
        self.len
    }

    /// Returns true if there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Puts a page or block on top.
    pub fn push(&mut self, owner: T) {
        let frame = owner.into_frame();
        frame.page().set_next(self.top);
        self.top = Some(frame);
        self.len += 1;
    }

    /// Takes the page or block that is on top.
    #[must_use]
    pub fn pop(&mut self) -> Option<T> {
        let frame = self.top?;
        let page = frame.page();
        self.top = page.next();
        page.set_next(None);
        self.len -= 1;
        // SAFETY: `push` has put it there, and it leaves the list here.
        Some(unsafe { T::from_frame(frame) })
    }
}

impl PageList<OwnedPage> {
    /// Puts the pages of a block on the list that has just left the free lists, each with one
    /// reference.
    pub(super) fn push_isolated(&mut self, head: Frame, order: Order) {
        for frame in head.block(order) {
            debug_assert!(frame.page().refcount() == 1);
            self.push(OwnedPage::of(frame));
        }
    }
}

impl<T: PageOwner> Default for PageList<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: PageOwner> Drop for PageList<T> {
    fn drop(&mut self) {
        while let Some(owner) = self.pop() {
            drop(owner);
        }
    }
}
