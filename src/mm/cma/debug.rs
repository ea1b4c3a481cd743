//! Memory that is allocated from an area by hand, to try the area (Linux: mm/cma_debug.c).
#![deny(unsafe_code)]

use super::{Cma, CmaPages};
use crate::addr::Order;
use crate::arch::irq::with_masked;
use crate::mm::alloc::{AllocError, KBox};
use crate::mm::gfp::Gfp;
use core::mem::ManuallyDrop;

/// A run of pages that was allocated so (Linux: struct cma_mem).
pub(super) struct CmaMem {
    pages: CmaPages,
    /// The run that was allocated before.
    next: Option<Last>,
}

/// The run that was allocated last. A static outlives the machine of a test, and its memory.
pub(super) type Last = ManuallyDrop<KBox<CmaMem>>;

impl Cma {
    /// Allocates `count` contiguous pages, which stay until [`Cma::free_mem`]. For threads with
    /// interrupts on (Linux: cma_alloc_mem).
    ///
    /// # Errors
    /// There is no room for them, or no memory for a note of it.
    pub fn alloc_mem(&'static self, count: u32) -> Result<(), AllocError> {
        let room = KBox::new_uninit(Gfp::GFP_KERNEL)?;
        let pages = CmaPages::alloc(self, count, Order::ZERO).ok_or(AllocError)?;
        self.push_mem(KBox::write(room, CmaMem { pages, next: None }));
        Ok(())
    }

    /// Frees up to `count` pages that [`Cma::alloc_mem`] allocated, the latest run first, and
    /// returns their number. A run is freed in parts only if the area is allocated in single
    /// pages. For threads (Linux: cma_free_mem).
    pub fn free_mem(&self, count: u32) -> u32 {
        let mut freed = 0;
        while freed < count {
            let Some(mut run) = self.pop_mem() else { break };
            let (left, size) = (count - freed, run.pages.count());
            if size <= left {
                drop(run);
                freed += size;
                continue;
            }
            if self.order_per_bit() == Order::ZERO && run.pages.release_first(left) {
                freed = count;
            } else {
                log::debug!("cma: {}: no part of a run can be released", self.name());
            }
            self.push_mem(run);
            break;
        }
        freed
    }

    fn push_mem(&self, mut run: KBox<CmaMem>) {
        with_masked(|irq| {
            let mut last = self.mem.lock(irq);
            run.next = last.take();
            *last = Some(ManuallyDrop::new(run));
        });
    }

    fn pop_mem(&self) -> Option<KBox<CmaMem>> {
        with_masked(|irq| {
            let mut last = self.mem.lock(irq);
            let mut run = ManuallyDrop::into_inner(last.take()?);
            *last = run.next.take();
            Some(run)
        })
    }
}
