//! Several pages at once (Linux: alloc_pages_bulk).
#![deny(unsafe_code)]

use crate::arch::irq::with_masked;
use crate::mm::gfp::{Gfp, might_alloc};
use crate::mm::page_alloc::{AT_ONCE, OwnedPage, pcp};

/// Fills the empty entries of `pages` with single pages until memory is short, and returns
/// how many entries are full from the start on. Any context that `gfp` is fit for
/// (Linux: alloc_pages_bulk).
pub fn alloc_pages_bulk(gfp: Gfp, pages: &mut [Option<OwnedPage>]) -> usize {
    might_alloc(gfp);
    let plain = !gfp.intersects(Gfp::__GFP_THISNODE | Gfp::__GFP_ZERO);
    let mut full = 0;
    while full < pages.len() {
        if plain {
            let end = pages.len().min(full + AT_ONCE);
            let part = &mut pages[full..end];
            full += with_masked(|irq| pcp::alloc_bulk(irq, gfp, part));
            if full == end {
                continue;
            }
        }
        // What the lists don't have fills them too, for those that follow.
        let entry = &mut pages[full];
        if entry.is_none() {
            *entry = OwnedPage::alloc(gfp);
            if entry.is_none() {
                break;
            }
        }
        full += 1;
    }
    full
}
