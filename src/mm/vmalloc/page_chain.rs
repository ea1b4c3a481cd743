//! The pages behind a vmalloc area: single pages, linked through their descriptors.
//!
//! A chain needs no memory of its own, whatever its length (Linux allocates an array of
//! pointers beside the area, from vmalloc again where it is large). The order of the
//! chain is the order in which the pages are mapped.
#![deny(unsafe_code)]

use crate::addr::Order;
use crate::mm::gfp::Gfp;
use crate::mm::page::{Frame, PageFlags};
use crate::mm::page_alloc;

/// Owns pages; gives them back when dropped.
#[derive(Debug)]
pub struct PageChain {
    head: Option<Frame>,
    len: u32,
}

impl PageChain {
    /// No pages.
    pub const EMPTY: Self = Self { head: None, len: 0 };

    /// `pages` pages, or `None` and none taken.
    pub fn alloc(pages: u32, gfp: Gfp) -> Option<Self> {
        let mut chain = Self::EMPTY;
        for _ in 0..pages {
            let frame = page_alloc::alloc_pages(gfp, Order::ZERO)?;
            let page = frame.page();
            page.add_flags(PageFlags::VMALLOC);
            page.set_next(chain.head);
            chain.head = Some(frame);
            chain.len += 1;
        }
        Some(chain)
    }

    /// The number of pages.
    pub const fn len(&self) -> u32 {
        self.len
    }

    /// The pages in their order, good while the chain lives.
    pub const fn iter(&self) -> Frames {
        Frames(self.head)
    }
}

/// The pages of a chain.
#[derive(Clone, Copy)]
pub struct Frames(Option<Frame>);

impl Iterator for Frames {
    type Item = Frame;

    #[inline]
    fn next(&mut self) -> Option<Frame> {
        let frame = self.0?;
        self.0 = frame.page().next();
        Some(frame)
    }
}

impl Drop for PageChain {
    /// # Panics
    /// Where a page of the chain was given to somebody else meanwhile.
    fn drop(&mut self) {
        let mut next = self.head.take();
        while let Some(frame) = next {
            let page = frame.page();
            if !page.flags().contains(PageFlags::VMALLOC) || self.len == 0 {
                not_ours(frame);
            }
            next = page.next();
            page.remove_flags(PageFlags::VMALLOC);
            page.set_next(None);
            page_alloc::free_pages(frame, Order::ZERO);
            self.len -= 1;
        }
        assert!(self.len == 0, "a vmalloc area's pages end {} too soon", self.len);
    }
}

#[cold]
#[inline(never)]
fn not_ours(frame: Frame) -> ! {
    panic!(
        "{frame:?} backs a vmalloc area and was freed or used behind its back: {:?}",
        frame.page().flags()
    );
}
