//! The page allocator (a first-fit stand-in until the buddy lands).

use crate::addr::{Order, Pfn, PhysRange};
use crate::arch::irq::with_masked;
use crate::machine_local;
use crate::mm::gfp::Gfp;
use crate::mm::page::Frame;
use crate::sync::{Rank, SpinLock};
use alloc::collections::BTreeMap;

machine_local! {
    static FREE: SpinLock<BTreeMap<u32, bool>> = SpinLock::new(Rank::Zone, BTreeMap::new());
}

/// Hands RAM to the allocator.
pub fn init(ram: &[PhysRange]) {
    with_masked(|irq| {
        let mut free = FREE.lock(irq);
        for r in ram {
            for pfn in r.whole_pages().iter() {
                free.insert(pfn.get(), true);
            }
        }
    });
}

/// Whether the frame has a descriptor.
pub fn has_descriptor(pfn: Pfn) -> bool {
    with_masked(|irq| FREE.lock(irq).contains_key(&pfn.get()))
}

/// Allocates 2^order contiguous frames; the head frame, or `None`.
pub fn alloc_pages(gfp: Gfp, order: Order) -> Option<Frame> {
    let pfn = with_masked(|irq| {
        let mut free = FREE.lock(irq);
        let n = order.pages();
        let pfn = free
            .keys()
            .copied()
            .find(|&p| p % n == 0 && (p..p + n).all(|q| free.get(&q) == Some(&true)))?;
        for q in pfn..pfn + n {
            free.insert(q, false);
        }
        Some(Pfn::new(pfn))
    })?;
    let frame = Frame::new(pfn)?;
    for i in 0..order.pages() {
        frame
            .within(order, i)
            .page()
            .set_refcount(u32::from(i == 0));
        if gfp.contains(Gfp::__GFP_ZERO) {
            // SAFETY: just allocated.
            unsafe { crate::arch::clear_page((pfn + i).phys()) }
        }
    }
    Some(frame)
}

/// Gives back what `alloc_pages` returned for `order`.
pub fn free_pages(frame: Frame, order: Order) {
    frame.page().set_refcount(0);
    with_masked(|irq| {
        let mut free = FREE.lock(irq);
        for i in 0..order.pages() {
            let was = free.insert((frame.pfn() + i).get(), true);
            assert_eq!(was, Some(false), "double free");
        }
    });
}
