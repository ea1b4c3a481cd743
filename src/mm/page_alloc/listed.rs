//! Inlined PCP-only alloc and free for kmalloc, which has its own out-of-line slow path.
#![deny(unsafe_code)]

use super::{are_watched, pcp};
use crate::addr::Order;
use crate::arch::IrqMasked;
use crate::arch::irq::with_masked;
use crate::mm::gfp::{Gfp, might_alloc};
use crate::mm::page::Frame;

/// GFP flags that [`alloc_pcp`] does not support.
pub(in crate::mm) const NO_PCP_FLAGS: Gfp =
    Gfp::__GFP_ZERO.union(Gfp::__GFP_COMP).union(Gfp::__GFP_THISNODE);

/// The largest order that is allocated and freed here; the rows of the lists have a gap above.
pub(in crate::mm) const MAX_PCP: Order = pcp::ORDERS[5];
const _: () = assert!(MAX_PCP.get() == 5);

/// Allocates a block of at most [`MAX_PCP`] from this CPU's lists. `None` if they have no
/// such block, or the order is higher. `gfp` must have none of [`NO_PCP_FLAGS`]; otherwise as
/// [`alloc_pages`](crate::mm::alloc_pages::alloc_pages).
#[inline(always)]
#[track_caller]
pub(in crate::mm) fn alloc_pcp(gfp: Gfp, order: Order) -> Option<Frame> {
    might_alloc(gfp);
    if order > MAX_PCP {
        return None;
    }
    with_masked(|irq| pcp::alloc_fast(irq, gfp, order))
}

/// Frees the block at `frame` to this CPU's lists, if its order is at most [`MAX_PCP`], it
/// has lists, and it has no flags that need handling. Returns true if it was freed; otherwise
/// the caller frees it with [`free_block`](super::free_block).
#[inline(always)]
pub(super) fn free_pcp(frame: Frame) -> bool {
    if are_watched() {
        return false;
    }
    let put = |irq: &IrqMasked| {
        // In the masked section, as `pcp::free` says.
        let order = frame.page().plain_order().filter(|&order| order <= MAX_PCP)?;
        Some((pcp::put(irq, frame, order), order))
    };
    match with_masked(put) {
        Some((pcp::FreeResult::Done, _)) => true,
        Some((pcp::FreeResult::ListFull, order)) => {
            pcp::free_pcppages_bulk(frame, order);
            true
        }
        _ => false,
    }
}
