//! The pages behind a vmalloc area: blocks of pages, linked through their descriptors.
//!
//! A small area has single pages, which every CPU has on a list of its own. A large one has
//! the largest blocks that are to be had without reclaim, so that it can be mapped by
//! blocks of 2 MiB and contiguous entries: fewer entries, fewer TLB misses, and less to give
//! back one by one. (Linux: vm_area_alloc_pages, which splits its blocks.)
//!
//! A chain needs no memory of its own, whatever its length (Linux allocates an array of
//! pointers beside the area, from vmalloc again where it is large). The order of the
//! chain is the order in which the pages are mapped.

use crate::addr::{CONT_PTE_SIZE, Order, PAGE_SIZE, PhysAddr};
use crate::mm::gfp::Gfp;
use crate::mm::mmzone::NodeId;
use crate::mm::page::{Frame, PageFlags, PageType};
use crate::mm::page_alloc::{self, Pages};
use core::mem::ManuallyDrop;

/// Owns pages; gives them back when dropped.
#[derive(Debug)]
pub struct AreaPages {
    head: Option<Frame>,
    len: u32,
}

impl AreaPages {
    /// No pages.
    pub const EMPTY: Self = Self { head: None, len: 0 };

    /// Up to `pages` single pages, as far as this CPU has them at hand.
    #[inline(always)]
    pub(super) fn at_hand(pages: u32, gfp: Gfp) -> Self {
        let (head, len) = page_alloc::alloc_pages_chain(gfp, pages, PageType::Vmalloc);
        Self { head, len }
    }

    /// Single pages until there are `pages`, of `node` first where one is named; or `None`, and
    /// all are given back.
    pub fn fill(mut self, pages: u32, gfp: Gfp, node: Option<NodeId>) -> Option<Self> {
        while self.len < pages {
            self.push(alloc_block(node, gfp, Order::ZERO)?);
        }
        Some(self)
    }

    /// `pages` pages, [`LARGE`] or more, of `node` first where one is named, in blocks that lie in
    /// the chain at multiples of their size; or `None` and none taken.
    pub(super) fn alloc_blocks(pages: u32, gfp: Gfp, node: Option<NodeId>) -> Option<Self> {
        let mut chain = Self::EMPTY;
        // What is pushed last comes first: the largest, and so all are aligned.
        let mut smaller = pages % Order::MAX.pages();
        while smaller != 0 {
            chain.add(Order::new(smaller.trailing_zeros() as u8)?, gfp, node)?;
            smaller &= smaller - 1;
        }
        for _ in 0..pages >> Order::MAX.get() {
            chain.add(Order::MAX, gfp, node)?;
        }
        Some(chain)
    }

    /// Adds as many pages as a block of `order` has, in smaller blocks where there is none.
    fn add(&mut self, order: Order, gfp: Gfp, node: Option<NodeId>) -> Option<()> {
        let (mut left, mut order) = (order.pages(), order);
        while left > 0 {
            let hard = if order == Order::ZERO { gfp } else { (gfp - HARD) | EASY };
            match alloc_block(node, hard, order) {
                Some(block) => {
                    self.push(block);
                    left -= order.pages();
                }
                None => order = order.down()?,
            }
        }
        Some(())
    }

    #[inline(always)]
    fn push(&mut self, block: Pages) {
        let (order, frame) = (block.order(), block.into_raw());
        let page = frame.page();
        page.add_type(PageType::Vmalloc, PageFlags::empty());
        page.set_next(self.head);
        self.head = Some(frame);
        self.len += order.pages();
    }

    /// Puts `other`'s pages before its own. Takes as long as `other` has blocks.
    #[inline(always)]
    pub fn prepend(&mut self, other: Self) {
        let other = ManuallyDrop::new(other);
        let Some(mut last) = other.head else { return };
        for _ in 1..other.len {
            let Some(next) = last.page().next() else { break };
            last = next;
        }
        last.page().set_next(self.head);
        self.head = other.head;
        self.len += other.len;
    }

    /// The number of pages.
    pub const fn len(&self) -> u32 {
        self.len
    }

    /// Returns whether all its blocks are single pages.
    #[inline(always)]
    pub const fn is_single_pages(&self) -> bool {
        self.len < LARGE
    }

    /// The first pages of the blocks in their order, good while the chain lives.
    pub const fn heads(&self) -> Frames {
        Frames(self.head)
    }
}

/// Pages from which on an area has blocks: as many as a contiguous set maps.
pub const LARGE: u32 = (CONT_PTE_SIZE / PAGE_SIZE) as u32;
/// A block is not worth waiting for, nor a report, where smaller ones will do.
const HARD: Gfp = Gfp::__GFP_RECLAIM.union(Gfp::__GFP_NOFAIL).union(Gfp::__GFP_RETRY_MAYFAIL);
const EASY: Gfp = Gfp::__GFP_NORETRY.union(Gfp::__GFP_NOWARN);

#[inline(always)]
fn alloc_block(node: Option<NodeId>, gfp: Gfp, order: Order) -> Option<Pages> {
    match node {
        None => Pages::alloc(gfp, order),
        Some(node) => Pages::alloc_node(node, gfp, order),
    }
}

fn order_of(head: Frame) -> Order {
    Order::new(head.page().order()).unwrap_or(Order::ZERO)
}

/// The first pages of a chain's blocks.
#[derive(Clone, Copy)]
pub struct Frames(Option<Frame>);

impl Frames {
    /// Returns the start and the bytes of each block.
    pub fn blocks(self) -> impl Iterator<Item = (PhysAddr, usize)> {
        self.map(|frame| (frame.phys(), order_of(frame).bytes()))
    }
}

impl Iterator for Frames {
    type Item = Frame;

    #[inline]
    fn next(&mut self) -> Option<Frame> {
        let frame = self.0?;
        self.0 = frame.page().next();
        Some(frame)
    }
}

impl Iterator for AreaPages {
    type Item = Pages;

    /// Takes the first block out.
    ///
    /// # Panics
    /// Where it was given to somebody else meanwhile.
    #[inline(always)]
    fn next(&mut self) -> Option<Pages> {
        let frame = self.head?;
        let page = frame.page();
        let order = if page.order() == 0 { Order::ZERO } else { order_of(frame) };
        if !page.is_type(PageType::Vmalloc) || self.len < order.pages() {
            // Whose the rest is can't be told any more.
            core::mem::forget(core::mem::replace(self, Self::EMPTY));
            not_ours(frame);
        }
        self.head = page.next();
        self.len -= order.pages();
        page.clear_type(PageFlags::empty());
        // SAFETY: the chain had the block, and has it no longer.
        Some(unsafe { Pages::from_raw(frame, order) })
    }
}

impl Drop for AreaPages {
    /// # Panics
    /// Where a page of the chain was given to somebody else meanwhile.
    fn drop(&mut self) {
        self.by_ref().for_each(drop);
        assert!(self.len == 0, "a vmalloc area's pages end {} too soon", self.len);
    }
}

/// Gives single pages back; what [`AreaPages`]'s drop does, in less time.
///
/// # Panics
/// As that does.
#[inline(never)]
pub fn free_singles(mut chain: AreaPages) {
    loop {
        let (head, len) = (chain.head, chain.len);
        // SAFETY: the pages are the chain's, and what is freed of them leaves it.
        let left = unsafe { page_alloc::free_pages_chain(head, len, PageType::Vmalloc) };
        (chain.head, chain.len) = left;
        // One that takes more than a place on a list, or is not ours.
        let Some(page) = chain.next() else { break };
        drop(page);
    }
}

#[cold]
#[inline(never)]
fn not_ours(frame: Frame) -> ! {
    panic!(
        "{frame:?} backs a vmalloc area and was freed or used behind its back: {:?}",
        frame.page().marks()
    );
}
