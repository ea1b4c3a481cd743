//! Single pages of one owner, chained through their descriptors' `next`.
//!
//! A CPU's list of pages is such a chain too: its upper part is cut off as it is, and a chain
//! that is freed is put on top of it as it is. Each page is touched once, for its check and its
//! mark.
#![deny(unsafe_code)]

use super::batch::{self, Chunk};
use super::{are_watched, pcp};
use crate::addr::Order;
use crate::arch::IrqMasked;
use crate::arch::irq::with_masked;
use crate::mm::gfp::{Gfp, might_alloc};
use crate::mm::page::{Frame, PageType};

/// Pages that are freed in one go, with interrupts masked.
const AT_ONCE: u32 = 64;

/// Takes a chain of up to `most` single pages, a few, off this CPU's list, and sets the flags
/// `marks` on each. Returns the first page and their number. They are none if the list is empty,
/// or `gfp` asks for more than it has (zeros, a node): the caller then goes to
/// [`alloc_pages`](crate::mm::alloc_pages::alloc_pages). Any context that `gfp` allows.
#[inline(always)]
pub(in crate::mm) fn alloc_pages_chain(
    gfp: Gfp,
    most: u32,
    page_type: PageType,
) -> (Option<Frame>, u32) {
    might_alloc(gfp);
    if gfp.intersects(Gfp::__GFP_THISNODE | Gfp::__GFP_ZERO) {
        return (None, 0);
    }
    with_masked(|irq| take(irq, gfp, most, page_type))
}

#[inline(always)]
fn take(irq: &IrqMasked, gfp: Gfp, most: u32, page_type: PageType) -> (Option<Frame>, u32) {
    let Some(list) = pcp::preferred_list(irq, gfp) else { return (None, 0) };
    let top = list.get();
    let (mut next, mut last, mut count) = (top.frame(), None, 0);
    while let Some(frame) = next
        && count < most
    {
        let page = frame.page();
        page.set_type(page_type);
        (next, last) = (page.next(), Some(page));
        count += 1;
    }
    let Some(last) = last else { return (None, 0) };
    last.set_next(None);
    list.set(top.after(next, count as i32));
    (top.frame(), count)
}

/// Frees the first pages of a chain of `len`: those that have the flags `marks` and no others,
/// and one reference. Returns the first page not freed and the count remaining; if page hooks
/// are on, frees none. Any context.
#[inline(always)]
pub(super) fn free_pages_chain(
    mut head: Option<Frame>,
    mut len: u32,
    page_type: PageType,
) -> (Option<Frame>, u32) {
    if are_watched() {
        return (head, len);
    }
    while let Some(first) = head
        && len > 0
    {
        let (next, count, is_full) =
            with_masked(|irq| put(irq, first, len.min(AT_ONCE), page_type));
        (head, len) = (next, len - count);
        if is_full {
            pcp::free_pcppages_bulk(first, Order::ZERO);
        }
        if count == 0 {
            break;
        }
    }
    (head, len)
}

/// Puts up to `most` pages of the chain from `first` on this CPU's list, those of one pageblock.
/// Returns the page after them, their number, and whether the list is full.
#[inline(always)]
fn put(
    irq: &IrqMasked,
    first: Frame,
    most: u32,
    page_type: PageType,
) -> (Option<Frame>, u32, bool) {
    let Some(list) = pcp::list_of(irq, first) else { return (Some(first), 0, false) };
    let pageblock = first.align_down(Order::PAGEBLOCK);
    let (mut next, mut last, mut count) = (Some(first), None, 0);
    while let Some(frame) = next
        && frame.align_down(Order::PAGEBLOCK) == pageblock
        && count < most
    {
        let page = frame.page();
        if !page.is_plain_of(Order::ZERO, page_type) {
            break;
        }
        page.set_type(PageType::Pcp);
        (next, last) = (page.next(), Some(page));
        count += 1;
    }
    let Some(last) = last else { return (next, 0, false) };
    let top = list.get();
    last.set_next(top.frame());
    let top = top.after(Some(first), -(count as i32));
    list.set(top);
    (next, count, top.room() < 0)
}

/// Frees the first pages of a chain of `len` to their zones: those without type and flags and with one
/// reference. More than a CPU's lists have room for would go there too, by way of the lists. Returns the
/// first page not freed and the count remaining; if page hooks are on, frees none. Any context.
pub(super) fn free_chain_to_zones(mut head: Option<Frame>, mut len: u32) -> (Option<Frame>, u32) {
    if are_watched() {
        return (head, len);
    }
    while let Some(first) = head
        && len > 0
    {
        let (next, count) = with_masked(|irq| give_back(irq, first, len.min(TO_ZONE)));
        (head, len) = (next, len - count);
        if count == 0 {
            break;
        }
    }
    (head, len)
}

/// Pages that are freed under one hold of a zone's lock.
const TO_ZONE: u32 = 256;

/// Frees up to `most` pages of the chain from `first` on, those of its zone. Returns the page after
/// them, and their number.
fn give_back(irq: &IrqMasked, first: Frame, most: u32) -> (Option<Frame>, u32) {
    let id = first.zone();
    let mut zone = id.zone().lock(irq);
    let mut chunk = Chunk::new();
    let (mut next, mut count) = (Some(first), 0);
    let mut block = first.align_down(Order::MAX);
    while let Some(frame) = next
        && count < most
    {
        // Bad memory is marked under the zone's lock.
        if !frame.page().is_plain(Order::ZERO) {
            break;
        }
        if frame.align_down(Order::MAX) != block {
            block = frame.align_down(Order::MAX);
            if frame.zone() != id {
                break;
            }
        }
        next = frame.page().next();
        batch::give_back(&mut chunk, &mut zone, frame, Order::ZERO);
        count += 1;
    }
    chunk.flush(&mut zone);
    (next, count)
}
