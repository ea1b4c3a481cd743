//! Compound pages, reference counts, and blocks taken apart (Linux: prep_compound_page,
//! compound_head, get_page, put_page, split_page).
#![deny(unsafe_code)]

use super::check;
use crate::addr::Order;
use crate::mm::hooks::split_page_hook;
use crate::mm::page::{Frame, PageFlags, PageType, REFCOUNT_MAX};

/// Makes the block of `order` at `head` one compound page.
pub(super) fn prep_compound(head: Frame, order: Order) {
    head.page().add_flags(PageFlags::HEAD);
    for tail in head.block(order).skip(1) {
        let page = tail.page();
        page.add_flags(PageFlags::TAIL);
        page.set_prev(Some(head));
    }
}

/// Takes the compound page at `head` apart again.
#[track_caller]
pub(super) fn unprep_compound(head: Frame, order: Order) {
    for tail in head.block(order).skip(1) {
        let page = tail.page();
        let flags = page.flags() - PageFlags::HWPOISON;
        let is_tail = flags == PageFlags::TAIL && page.is_type(PageType::None);
        if !is_tail || page.prev() != Some(head) {
            check::bad_free(tail, order);
        }
        page.remove_flags(PageFlags::TAIL);
    }
    head.page().remove_flags(PageFlags::HEAD);
}

/// The head of the compound page that `frame` is part of, or itself
/// (Linux: compound_head).
#[inline]
#[must_use]
pub fn compound_head(frame: Frame) -> Frame {
    let page = frame.page();
    if page.flags().contains(PageFlags::TAIL) { page.prev().unwrap_or(frame) } else { frame }
}

/// The order of the allocated block that starts at `frame` (Linux: compound_order).
#[inline]
#[must_use]
pub fn block_order(frame: Frame) -> Order {
    Order::new(frame.page().order()).unwrap_or(Order::ZERO)
}

/// Takes another reference to a page that the caller holds; of a compound page, to the whole.
/// Any context. It is dropped with [`put_page`](super::put_page).
///
/// A page that has had more than 2^31 - 1 references is never freed, and a line in the log says
/// so.
///
/// # Panics
/// Where nobody holds the page.
#[track_caller]
pub fn get_page(frame: Frame) {
    let head = compound_head(frame);
    let free = head.page().is_type(PageType::Pcp);
    let was = head.page().refcount_add();
    if was == 0 || free {
        head.page().set_refcount(u32::from(free));
        panic!("page allocator: get_page of {frame:?}, which is {}", check::state_of(frame));
    }
    if was == REFCOUNT_MAX {
        log::warn!("page allocator: too many references to {head:?}, which is never freed");
    }
}

/// Takes another reference as [`get_page`] does if the page is in use and its count has room.
/// Returns true if it did. The page may have been freed and be another's by then: a caller that
/// did not hold it checks again what it is. Any context (Linux: try_get_page).
#[must_use]
pub fn try_get_page(frame: Frame) -> bool {
    let page = compound_head(frame).page();
    !page.is_type(PageType::Pcp) && page.refcount_try_add()
}

/// Gives a reference back: what [`put_page`](super::put_page) does.
#[track_caller]
pub(super) fn put_page(frame: Frame) {
    put(compound_head(frame));
}

#[track_caller]
fn put(head: Frame) {
    match head.page().refcount_sub() {
        0 => {
            head.page().set_refcount(0);
            check::bad_free(head, block_order(head))
        }
        1 => {
            head.page().set_refcount(1);
            super::free_block(head, block_order(head));
        }
        _ => {}
    }
}

/// Gives the owner's reference to a block back that others hold too. Of a block that is no
/// compound page they hold the first page alone: the others are freed now (Linux:
/// ___free_pages).
#[track_caller]
pub(super) fn put_shared(head: Frame, order: Order) {
    if order > Order::ZERO && !head.page().flags().contains(PageFlags::HEAD) {
        make_single_pages(head, order);
        for tail in head.block(order).skip(1) {
            tail.page().set_refcount(1);
            super::free_block(tail, Order::ZERO);
        }
    }
    put(head);
}

/// Makes 2^order single pages of a block: what [`split_page`](super::split_page) does.
#[track_caller]
pub(super) fn split_page(frame: Frame, order: Order) {
    let page = frame.page();
    let whole = page.refcount() == 1 && block_order(frame) == order;
    assert!(
        whole && !page.flags().intersects(PageFlags::HEAD | PageFlags::TAIL),
        "page allocator: split of {frame:?} as order {order}, which is {}",
        check::state_of(frame)
    );
    make_single_pages(frame, order);
    for tail in frame.block(order).skip(1) {
        tail.page().set_refcount(1);
    }
}

/// Makes the pages of a block single ones, of which the first alone has references.
fn make_single_pages(frame: Frame, order: Order) {
    let page = frame.page();
    page.remove_flags(PageFlags::HAS_HWPOISONED);
    split_page_hook(frame, order);
    for single in frame.block(order) {
        single.page().set_order(Order::ZERO);
    }
}
