//! Lists of free blocks, linked through the descriptors of their first frames (Linux: struct
//! free_area).
#![deny(unsafe_code)]

use super::{Frame, Link};

/// A list of free blocks of one order and migratetype.
#[derive(Debug)]
pub(in crate::mm) struct FreeList {
    head: Link,
    tail: Link,
    nr_free: u32,
}

impl FreeList {
    /// An empty list.
    pub(in crate::mm) const fn new() -> Self {
        Self { head: Link::new(), tail: Link::new(), nr_free: 0 }
    }

    /// The first block.
    #[inline]
    pub(in crate::mm) fn head(&self) -> Option<Frame> {
        self.head.get()
    }
    /// The last block.
    #[inline]
    pub(in crate::mm) fn tail(&self) -> Option<Frame> {
        self.tail.get()
    }
    /// The number of blocks.
    #[inline]
    pub(in crate::mm) fn nr_free(&self) -> u32 {
        self.nr_free
    }

    /// Adds a block at one end. Returns true if the list was empty.
    #[inline]
    pub(in crate::mm) fn add(&mut self, frame: Frame, last: bool) -> bool {
        let (prev, next) = if last { (self.tail(), None) } else { (None, self.head()) };
        let page = frame.page();
        page.set_prev(prev);
        page.set_next(next);
        match prev {
            Some(prev) => prev.page().next_link().set(Some(frame)),
            None => self.head.set(Some(frame)),
        }
        match next {
            Some(next) => next.page().prev_link().set(Some(frame)),
            None => self.tail.set(Some(frame)),
        }
        self.nr_free += 1;
        self.nr_free == 1
    }

    /// Takes a block off the list: `Some(true)` if the list is empty then, `None`, with nothing
    /// changed, if the block's neighbours don't point at it.
    #[inline]
    pub(in crate::mm) fn del(&mut self, frame: Frame) -> Option<bool> {
        let page = frame.page();
        let (prev, next) = (page.prev(), page.next());
        let (to, back) = (self.link_to_next(prev), self.link_to_prev(next));
        if to.get() != Some(frame) || back.get() != Some(frame) || self.nr_free == 0 {
            return None;
        }
        to.set(next);
        back.set(prev);
        self.nr_free -= 1;
        Some(self.nr_free == 0)
    }

    /// The link to the block after `prev`; without one, to the first.
    #[inline]
    fn link_to_next(&self, prev: Option<Frame>) -> &Link {
        prev.map_or(&self.head, |prev| prev.page().next_link())
    }
    /// The link to the block before `next`; without one, to the last.
    #[inline]
    fn link_to_prev(&self, next: Option<Frame>) -> &Link {
        next.map_or(&self.tail, |next| next.page().prev_link())
    }
}
