//! Compound pages, reference counts, and blocks taken apart (Linux: prep_compound_page,
//! compound_head, get_page, put_page, split_page).
#![deny(unsafe_code)]

use super::check;
use crate::addr::Order;
use crate::mm::debug::split_page_hook;
use crate::mm::page::{Frame, PageFlags};

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
        if page.flags() - PageFlags::HWPOISON != PageFlags::TAIL || page.prev() != Some(head) {
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

/// Takes another reference to a page that the caller holds; of a compound page, to the
/// whole. Any context. Whoever holds one gives it back with [`put_page`](super::put_page).
///
/// # Panics
/// Where nobody holds the page.
#[track_caller]
pub fn get_page(frame: Frame) {
    let head = compound_head(frame);
    let free = head.page().flags().contains(PageFlags::PCP);
    if head.page().refcount_add() == 0 || free {
        head.page().set_refcount(u32::from(free));
        panic!("page allocator: get_page of {frame:?}, which is {}", check::state_of(frame));
    }
}

/// Gives a reference back: what [`put_page`](super::put_page) does.
#[track_caller]
pub(super) fn put_page(frame: Frame) {
    let head = compound_head(frame);
    let order = block_order(head);
    match head.page().refcount_sub() {
        0 => {
            head.page().set_refcount(0);
            check::bad_free(head, order)
        }
        1 => {
            head.page().set_refcount(1);
            super::free_block(head, order);
        }
        _ => {}
    }
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
    let (zone, charged) = (page.zone(), page.flags().contains(PageFlags::ACCOUNTED));
    page.remove_flags(PageFlags::HAS_HWPOISONED);
    split_page_hook(frame, order);
    for single in frame.block(order) {
        if charged {
            single.page().add_flags(PageFlags::ACCOUNTED);
        }
        single.page().set_place(zone, Order::ZERO);
        single.page().set_refcount(1);
    }
}
