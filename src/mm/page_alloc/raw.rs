//! The raw layer: pages that are given back by their frames.
//!
//! A [`Frame`] says where a page is and gives no right to it; anybody may have a copy. Whoever
//! calls a function of this file gives up the right to the pages, and has to have had it: hence
//! they are `unsafe`. The values that keep such a right, and give the pages back when they are
//! dropped, are [`Pages`](super::Pages), [`OwnedPage`](super::OwnedPage) and
//! [`PageList`](super::PageList).

use super::{bulk, chain, compound, contig, free_block, listed};
use crate::addr::{Order, PfnRange};
use crate::mm::page::{Frame, PageType};

/// Gives back the block of `order` at `frame` that [`alloc_pages`](crate::mm::alloc_pages::alloc_pages)
/// returned. Where others hold it too ([`get_page`](super::get_page)), the last
/// [`put_page`] frees it; of a block that is no compound page they hold the first page alone,
/// and the rest is freed now. Any context (Linux: __free_pages).
///
/// # Panics
/// On a double free, a wrong order, a frame that was never allocated, or one that is still in a
/// slab; the message names the frame and its state, and the panic is located at the caller.
///
/// # Safety
/// The block is the caller's to free, who no longer uses it; nor does anybody but those who
/// hold a reference of their own. (Most of what breaks this is found, and ends in a panic; a
/// page that belongs to another owner is not.)
#[inline(always)]
#[track_caller]
pub unsafe fn free_pages(frame: Frame, order: Order) {
    free_block(frame, order);
}

/// Gives back what [`alloc_pages_exact`](crate::mm::alloc_pages::alloc_pages_exact) returned for `bytes`. Any
/// context (Linux: free_pages_exact).
///
/// # Panics
/// As [`free_pages`], for each page.
///
/// # Safety
/// As for [`free_pages`], of each of the pages.
#[track_caller]
pub unsafe fn free_pages_exact(frame: Frame, bytes: usize) {
    bulk::free_pages_exact(frame, bytes);
}

/// Gives a reference back; the last one frees the block. Any context (Linux: put_page).
///
/// # Panics
/// Where nobody holds the page.
///
/// # Safety
/// The reference is the caller's: from [`alloc_pages`](crate::mm::alloc_pages::alloc_pages) or
/// [`get_page`](super::get_page), and not given back before. The caller uses the memory no
/// longer.
#[track_caller]
pub unsafe fn put_page(frame: Frame) {
    compound::put_page(frame);
}

/// Makes 2^order single pages of a block, each to be freed by itself (Linux: split_page).
///
/// # Panics
/// Where `frame` is not the start of an allocated block of `order`, or is a compound page.
///
/// # Safety
/// The block is the caller's, who frees it as single pages from now on.
#[track_caller]
pub unsafe fn split_page(frame: Frame, order: Order) {
    compound::split_page(frame, order);
}

/// Gives single pages back that [`alloc_contig_range`](crate::mm::contig::alloc_contig_range) allocated;
/// any part of what it did. Of a page that others hold too the last [`put_page`] frees it, and a
/// line in the log says how many pages are like that. Any context (Linux: free_contig_range).
///
/// # Panics
/// Where one of them is not an allocated single page.
///
/// # Safety
/// As for [`free_pages`], of each page of the range.
#[track_caller]
pub unsafe fn free_contig_range(range: PfnRange) {
    contig::free_contig_range(range);
}

/// Frees the first pages of a chain of `len`: those of `page_type` without flags and with one
/// reference. Returns the first page not freed and the count remaining; if page hooks are on,
/// frees none. Any context.
///
/// # Safety
/// As for [`free_pages`], of each page of the chain.
#[inline(always)]
pub(in crate::mm) unsafe fn free_pages_chain(
    head: Option<Frame>,
    len: u32,
    page_type: PageType,
) -> (Option<Frame>, u32) {
    chain::free_pages_chain(head, len, page_type)
}

/// Frees the first pages of a long chain of `len` to their zones: those without type and flags and with
/// one reference. Returns the first page not freed and the count remaining; if page hooks are on,
/// frees none. Any context.
///
/// # Safety
/// As for [`free_pages`], of each page of the chain.
pub(in crate::mm) unsafe fn free_chain_to_zones(
    head: Option<Frame>,
    len: u32,
) -> (Option<Frame>, u32) {
    chain::free_chain_to_zones(head, len)
}

/// Frees the block at `frame` to this CPU's lists, if its order is at most
/// [`MAX_PCP`](super::MAX_PCP), it has lists, and it has no flags that need handling. Returns
/// true if it was freed; otherwise the caller frees it with [`free_pages`].
///
/// # Safety
/// As for [`free_pages`].
#[inline(always)]
pub(in crate::mm) unsafe fn free_pcp(frame: Frame) -> bool {
    listed::free_pcp(frame)
}
