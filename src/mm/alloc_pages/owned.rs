//! Allocation of pages that give themselves back.

use super::{alloc_pages, alloc_pages_node};
use crate::addr::Order;
use crate::mm::gfp::Gfp;
use crate::mm::mmzone::NodeId;
use crate::mm::page_alloc::{OwnedPage, Pages};

impl Pages {
    /// Allocates a block of `order` as [`alloc_pages`] does.
    #[inline]
    #[must_use]
    #[track_caller]
    pub fn alloc(gfp: Gfp, order: Order) -> Option<Self> {
        let frame = alloc_pages(gfp, order)?;
        // SAFETY: the reference that was allocated.
        Some(unsafe { Self::from_raw(frame, order) })
    }

    /// Allocates a block of `order` on `node` as [`alloc_pages_node`] does.
    #[inline]
    #[must_use]
    #[track_caller]
    pub fn alloc_node(node: NodeId, gfp: Gfp, order: Order) -> Option<Self> {
        let frame = alloc_pages_node(node, gfp, order)?;
        // SAFETY: as above.
        Some(unsafe { Self::from_raw(frame, order) })
    }
}

impl OwnedPage {
    /// Allocates a page as [`alloc_pages`] does.
    #[inline]
    #[must_use]
    #[track_caller]
    pub fn alloc(gfp: Gfp) -> Option<Self> {
        let frame = alloc_pages(gfp - Gfp::__GFP_COMP, Order::ZERO)?;
        // SAFETY: as above.
        Some(unsafe { Self::from_raw(frame) })
    }
}
