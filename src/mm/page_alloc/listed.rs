//! What passes by the zones, by itself: for callers that go the long way out of line.
#![deny(unsafe_code)]

use super::{are_watched, pcp};
use crate::addr::Order;
use crate::arch::IrqMasked;
use crate::arch::irq::with_masked;
use crate::mm::gfp::{Gfp, might_alloc};
use crate::mm::page::Frame;

/// What is done for an allocation that asks for one of these, [`alloc_listed`] does not.
pub(in crate::mm) const LONG_WAY: Gfp =
    Gfp::__GFP_ZERO.union(Gfp::__GFP_COMP).union(Gfp::__GFP_ACCOUNT).union(Gfp::__GFP_THISNODE);

/// The largest order that is had and freed here: above, the rows of the lists have a gap.
pub(in crate::mm) const MAX_LISTED: Order = pcp::ORDERS[5];
const _: () = assert!(MAX_LISTED.get() == 5);

/// As [`alloc_pages`](super::alloc_pages) without [`LONG_WAY`], of this CPU's own lists, where
/// they have such a block of at most [`MAX_LISTED`].
#[inline(always)]
#[track_caller]
pub(in crate::mm) fn alloc_listed(gfp: Gfp, order: Order) -> Option<Frame> {
    might_alloc(gfp);
    if order > MAX_LISTED {
        return None;
    }
    with_masked(|irq| pcp::alloc_fast(irq, gfp, order))
}

/// Frees the block at `frame` as [`free_block`](super::free_block) does, of the order that it has,
/// if that is at most [`MAX_LISTED`], it goes to this CPU's own lists and nothing is wrong
/// with it; whether it did.
#[inline(always)]
pub(super) fn free_listed(frame: Frame) -> bool {
    if are_watched() {
        return false;
    }
    let put = |irq: &IrqMasked| {
        // In the masked section, as `pcp::free` says.
        let order = frame.page().plain_order().filter(|&order| order <= MAX_LISTED)?;
        Some((pcp::put(irq, frame, order), order))
    };
    match with_masked(put) {
        Some((pcp::Left::Nothing, _)) => true,
        Some((pcp::Left::Spill, order)) => {
            pcp::spill(frame, order);
            true
        }
        _ => false,
    }
}
