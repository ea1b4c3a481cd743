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
#![deny(unsafe_code)]

use crate::addr::{CONT_PTE_SIZE, Order, PAGE_SIZE, PhysAddr};
use crate::mm::gfp::Gfp;
use crate::mm::mmzone::NodeId;
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

    /// `pages` pages, of `node` first where one is named; or `None` and none taken. Blocks
    /// lie in the chain at multiples of their size.
    pub fn alloc(pages: u32, gfp: Gfp, node: Option<NodeId>) -> Option<Self> {
        let mut chain = Self::EMPTY;
        if pages < LARGE {
            for _ in 0..pages {
                chain.push(alloc_block(node, gfp, Order::ZERO)?, Order::ZERO);
            }
            return Some(chain);
        }
        // What is pushed last comes first: the largest, and so all are aligned.
        for order in Order::ZERO.and_up() {
            let above = pages >> order.get();
            let blocks = if order == Order::MAX { above } else { above & 1 };
            for _ in 0..blocks {
                chain.add(order, gfp, node)?;
            }
        }
        Some(chain)
    }

    /// As many pages as a block of `order` has, in smaller blocks where there is none.
    fn add(&mut self, order: Order, gfp: Gfp, node: Option<NodeId>) -> Option<()> {
        let (mut left, mut order) = (order.pages(), order);
        while left > 0 {
            let hard = if order == Order::ZERO { gfp } else { (gfp - HARD) | EASY };
            match alloc_block(node, hard, order) {
                Some(frame) => {
                    self.push(frame, order);
                    left -= order.pages();
                }
                None => order = order.down()?,
            }
        }
        Some(())
    }

    fn push(&mut self, frame: Frame, order: Order) {
        let page = frame.page();
        page.set_flags(PageFlags::VMALLOC);
        page.set_next(self.head);
        self.head = Some(frame);
        self.len += order.pages();
    }

    /// The number of pages.
    pub const fn len(&self) -> u32 {
        self.len
    }

    /// Whether all its blocks are single pages.
    pub const fn is_single_pages(&self) -> bool {
        self.len < LARGE
    }

    /// The first pages of the blocks in their order, good while the chain lives.
    pub const fn heads(&self) -> Frames {
        Frames(self.head)
    }

    /// The blocks in their order: where each starts, and how many bytes it has.
    pub fn blocks(&self) -> impl Iterator<Item = (PhysAddr, usize)> + Clone + use<> {
        self.heads().map(|frame| (frame.phys(), order_of(frame).bytes()))
    }
}

/// Pages from which on an area has blocks: as many as a contiguous set maps.
pub const LARGE: u32 = (CONT_PTE_SIZE / PAGE_SIZE) as u32;
/// A block is not worth waiting for, nor a report, where smaller ones will do.
const HARD: Gfp = Gfp::__GFP_RECLAIM.union(Gfp::__GFP_NOFAIL).union(Gfp::__GFP_RETRY_MAYFAIL);
const EASY: Gfp = Gfp::__GFP_NORETRY.union(Gfp::__GFP_NOWARN);

fn alloc_block(node: Option<NodeId>, gfp: Gfp, order: Order) -> Option<Frame> {
    match node {
        None => page_alloc::alloc_pages(gfp, order),
        Some(node) => page_alloc::alloc_pages_node(node, gfp, order),
    }
}

fn order_of(head: Frame) -> Order {
    Order::new(head.page().order()).unwrap_or(Order::ZERO)
}

/// The first pages of a chain's blocks.
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
            if page.flags() != PageFlags::VMALLOC || self.len == 0 {
                not_ours(frame);
            }
            next = page.next();
            page.set_flags(PageFlags::empty());
            page.set_next(None);
            let order = order_of(frame);
            page_alloc::free_pages(frame, order);
            self.len = self.len.wrapping_sub(order.pages());
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
