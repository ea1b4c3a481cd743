//! Contents of each pageblock, from a walk of the descriptors, block by block.
//!
//! No lock is held, so a page that changes hands meanwhile may count as either; each page
//! counts once.

use crate::addr::{Order, Pfn, PfnRange};
use crate::mm::mmzone::{Migratetype, ZoneId};
use crate::mm::page::{Frame, Page, PageFlags, PageType};
use crate::mm::page_alloc::{State, state_of};

/// Use of a page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Fill {
    /// Page on a CPU's own list.
    PerCpu,
    /// Page of a slab.
    Slab,
    /// A page table.
    PageTable,
    /// Mapped in the vmalloc area, of its own pages.
    Vmalloc,
    /// Allocated by an owner who can move it.
    Movable,
    /// Allocated from a CMA area as contiguous memory.
    Cma,
    /// Allocated by somebody who does not say what for.
    Allocated,
    /// Descriptors of frames, and what finds them.
    Vmemmap,
    /// Never the allocator's, for another reason.
    Reserved,
    /// No RAM.
    Hole,
    /// Bad memory.
    Poisoned,
    /// Page of a section that is offline.
    Offline,
}

impl Fill {
    /// Number of uses.
    pub const COUNT: usize = 12;
    /// All, by their numbers.
    pub const ALL: [Self; Self::COUNT] = [
        Self::PerCpu,
        Self::Slab,
        Self::PageTable,
        Self::Vmalloc,
        Self::Movable,
        Self::Cma,
        Self::Allocated,
        Self::Vmemmap,
        Self::Reserved,
        Self::Hole,
        Self::Poisoned,
        Self::Offline,
    ];

    /// Returns the name in a snapshot.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::PerCpu => "pcp",
            Self::Slab => "slab",
            Self::PageTable => "page_table",
            Self::Vmalloc => "vmalloc",
            Self::Movable => "movable",
            Self::Cma => "cma",
            Self::Allocated => "allocated",
            Self::Vmemmap => "vmemmap",
            Self::Reserved => "reserved",
            Self::Hole => "hole",
            Self::Poisoned => "poisoned",
            Self::Offline => "offline",
        }
    }
}

/// A pageblock's contents, in pages: all of them together are a pageblock's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pageblock {
    /// Migratetype of the pageblock.
    pub migratetype: Migratetype,
    /// Free pages, by the order of the block they are in.
    pub free: [u32; Order::COUNT],
    /// The others, by [`Fill`].
    pub fill: [u32; Fill::COUNT],
}

impl Pageblock {
    /// Examines the pageblock that starts at `first`.
    fn of(first: Frame) -> Self {
        let migratetype = first.page().block_migratetype();
        let mut this = Self { migratetype, free: [0; Order::COUNT], fill: [0; Fill::COUNT] };
        let mut at = 0;
        while at < Order::PAGEBLOCK.pages() {
            let frame = first.within(Order::PAGEBLOCK, at);
            at += this.count(frame, Order::PAGEBLOCK.pages() - at);
        }
        this
    }

    /// Counts the rest of the block that `frame` is in, at most `left` pages; returns how many.
    fn count(&mut self, frame: Frame, left: u32) -> u32 {
        // What is left of a block from this frame on.
        let rest = |head: Frame, order: Order| {
            (order.pages() - (frame.pfn().get() - head.pfn().get())).min(left)
        };
        let (fill, pages) = match state_of(frame) {
            State::Free { head, order } => {
                let pages = rest(head, order);
                self.free[order.index()] += pages;
                return pages;
            }
            State::PerCpu { head, order } => (Fill::PerCpu, rest(head, order)),
            State::Allocated { head, order, .. } => {
                // The marks of a block stand on its first page.
                (self.in_use(head.page()), rest(head, order))
            }
            State::Hole => (Fill::Hole, 1),
            State::Poisoned => (Fill::Poisoned, 1),
            State::Offline => (Fill::Offline, 1),
            State::Reserved if frame.page().is_type(PageType::Vmemmap) => (Fill::Vmemmap, 1),
            State::Reserved => (Fill::Reserved, 1),
        };
        self.fill[fill as usize] += pages;
        pages
    }

    /// Returns the use of an allocated block, by its marks.
    fn in_use(&self, page: &Page) -> Fill {
        match page.page_type() {
            PageType::Slab => Fill::Slab,
            PageType::Table => Fill::PageTable,
            PageType::Vmalloc => Fill::Vmalloc,
            _ if page.flags().contains(PageFlags::MOVABLE) => Fill::Movable,
            _ if self.migratetype == Migratetype::Cma => Fill::Cma,
            _ => Fill::Allocated,
        }
    }
}

/// Pageblocks of a zone with the same contents, one after the other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Run {
    /// Their frames.
    pub range: PfnRange,
    /// Contents of each pageblock of the run.
    pub each: Pageblock,
}

/// The pageblocks of a zone that have descriptors, rising, in runs. Walks all of them: process
/// context.
pub fn runs(zone: ZoneId, span: PfnRange) -> impl Iterator<Item = Run> {
    let pages = Order::PAGEBLOCK.pages();
    let numbers = span.start().get() / pages..span.end().get().div_ceil(pages);
    let mut blocks = numbers.filter_map(move |n| {
        let first = Frame::new(Pfn::new(n * pages))?;
        let is_own = first.zone() == zone;
        is_own.then(|| (first.pfn(), Pageblock::of(first)))
    });
    let mut next = blocks.next();
    core::iter::from_fn(move || {
        let (start, each) = next?;
        let mut end = start + pages;
        loop {
            next = blocks.next();
            match next {
                Some((at, other)) if at == end && other == each => end = end + pages,
                _ => return Some(Run { range: PfnRange::new(start, end), each }),
            }
        }
    })
}
