//! Parts of the per-CPU page lists: the words that hold a list's top, and links to lists.
//! `page_alloc::pcp` has the policy.

use crate::addr::Order;
use crate::mm::ids::PcpColumn;
use crate::mm::page::{Frame, PageType};
use core::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};

/// A stack of free blocks through the descriptors' `next`, and how many pages more it may
/// hold, in one word. Changed by its CPU alone, with interrupts masked; others may look.
pub(in crate::mm) struct PcpList(AtomicU64);

/// Value of a [`PcpList`] at some moment: the raw top in the high half, the room in the low one,
/// where adding to it clears the other.
#[derive(Clone, Copy)]
pub(in crate::mm) struct Top(u64);

impl Top {
    /// The block that was put on it last.
    #[inline(always)]
    pub(in crate::mm) fn frame(self) -> Option<Frame> {
        // SAFETY: only frames are stored, or none.
        unsafe { Frame::from_raw((self.0 >> u32::BITS) as u32) }
    }

    /// Returns the number of pages that there is room for; negative where the list holds too
    /// many.
    #[inline(always)]
    pub(in crate::mm) fn room(self) -> i32 {
        self.0 as i32
    }

    /// Returns the word with another block at the top, and room for `pages` more.
    #[inline(always)]
    pub(in crate::mm) fn after(self, frame: Option<Frame>, pages: i32) -> Self {
        let room = (self.0 as u32).wrapping_add_signed(pages);
        Self(u64::from(frame.map_or(0, Frame::to_raw)) << u32::BITS | u64::from(room))
    }
}

impl PcpList {
    /// Creates an empty list with room for nothing.
    pub(in crate::mm) const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Reads the list's word.
    #[inline(always)]
    pub(in crate::mm) fn get(&self) -> Top {
        Top(self.0.load(Relaxed))
    }

    /// Makes it hold that.
    #[inline(always)]
    pub(in crate::mm) fn set(&self, top: Top) {
        self.0.store(top.0, Relaxed);
    }

    /// Makes room for `pages` more, or less.
    pub(in crate::mm) fn add_room(&self, pages: i32) {
        let top = self.get();
        self.set(top.after(top.frame(), pages));
    }

    /// Takes the block of `order` that was put on it last.
    #[inline(always)]
    pub(in crate::mm) fn pop(&self, order: Order) -> Option<Frame> {
        let top = self.get();
        let frame = top.frame()?;
        self.set(top.after(frame.page().next(), order.pages() as i32));
        Some(frame)
    }

    /// Puts a block of `order` on the list. Returns false if the list now exceeds its room.
    #[inline(always)]
    pub(in crate::mm) fn push(&self, frame: Frame, order: Order) -> bool {
        let top = self.get();
        let page = frame.page();
        page.set_next(top.frame());
        page.set_type(PageType::Pcp);
        let top = top.after(Some(frame), -(order.pages() as i32));
        self.set(top);
        top.room() >= 0
    }
}

/// A place that remembers a column, or none.
pub(in crate::mm) struct ColumnLink(AtomicU8);

impl ColumnLink {
    /// Creates a link to no column.
    pub(in crate::mm) const fn new() -> Self {
        Self(AtomicU8::new(PcpColumn::to_byte(None)))
    }

    /// The column that was stored last.
    #[inline(always)]
    pub(in crate::mm) fn get(&self) -> Option<PcpColumn> {
        // SAFETY: `set` alone stores here.
        unsafe { PcpColumn::from_byte(self.0.load(Relaxed)) }
    }

    /// Remembers a column, or none.
    pub(in crate::mm) fn set(&self, column: Option<PcpColumn>) {
        self.0.store(PcpColumn::to_byte(column), Relaxed);
    }
}
