//! Contiguous memory that is given back: by its owner's end, or by its frames.

use super::{Cma, cma_alloc};
use crate::addr::{Order, PAGE_SIZE, Pfn, PfnRange};
use crate::mm::hooks::{are_rare_events_on, points};
use crate::mm::page::Frame;
use crate::mm::page_alloc::free_contig_range;
use core::mem::ManuallyDrop;
use core::sync::atomic::Ordering::Relaxed;

/// Contiguous pages of an area. They are given back when the value is dropped.
///
/// Whoever has the value has the pages: nobody else reads, writes or frees them.
#[derive(Debug)]
pub struct CmaPages {
    area: &'static Cma,
    frame: Frame,
    count: u32,
}

impl CmaPages {
    /// Allocates `count` pages of `area` as [`cma_alloc`] does.
    #[must_use]
    pub fn alloc(area: &'static Cma, count: u32, align: Order) -> Option<Self> {
        cma_alloc(area, count, align).map(|frame| Self { area, frame, count })
    }

    /// The first frame.
    #[must_use]
    pub const fn frame(&self) -> Frame {
        self.frame
    }

    /// The number of pages.
    #[must_use]
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// The area that they are of.
    #[must_use]
    pub const fn area(&self) -> &'static Cma {
        self.area
    }

    /// The frames.
    #[must_use]
    pub fn range(&self) -> PfnRange {
        PfnRange::new(self.frame.pfn(), self.frame.pfn() + self.count)
    }

    /// Frees the first `count` pages, and keeps the others. Returns false, and frees none,
    /// unless some are left and both parts are whole units of the area.
    pub fn release_first(&mut self, count: u32) -> bool {
        let is_part = count > 0 && count < self.count;
        let rest = Frame::new(self.frame.pfn() + count).filter(|_| is_part);
        let Some(rest) = rest.filter(|_| count.is_multiple_of(self.area.order_per_bit().pages()))
        else {
            return false;
        };
        // SAFETY: these pages are the value's until here.
        let ours = unsafe { cma_release(self.area, self.frame, count) };
        assert!(ours, "{self:?} is not of its area");
        self.frame = rest;
        self.count -= count;
        true
    }

    /// The bytes; what they are after allocation is whatever was there.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        let at = core::ptr::with_exposed_provenance(self.frame.virt().get());
        // SAFETY: RAM in the linear map, as long as the pages, which the holder of the value
        // alone may write.
        unsafe { core::slice::from_raw_parts(at, self.count as usize * PAGE_SIZE) }
    }

    /// The bytes, to be written.
    #[must_use]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        let at = core::ptr::with_exposed_provenance_mut(self.frame.virt().get());
        // SAFETY: as in `bytes`; borrowed mutably.
        unsafe { core::slice::from_raw_parts_mut(at, self.count as usize * PAGE_SIZE) }
    }

    /// The first frame, and the pages are not given back any more: [`cma_release`] or
    /// [`from_raw`](Self::from_raw) are for that.
    #[must_use]
    pub fn into_raw(self) -> Frame {
        ManuallyDrop::new(self).frame
    }

    /// The owner of pages.
    ///
    /// # Safety
    /// The `count` pages from `frame` on, whole units of `area`, were allocated from it; the
    /// caller has them to itself and no longer uses them.
    #[must_use]
    pub const unsafe fn from_raw(area: &'static Cma, frame: Frame, count: u32) -> Self {
        Self { area, frame, count }
    }
}

impl Drop for CmaPages {
    fn drop(&mut self) {
        // SAFETY: the pages are the value's, which ends here.
        let ours = unsafe { cma_release(self.area, self.frame, self.count) };
        assert!(ours, "{self:?} is not of its area");
    }
}

/// Frees the `count` pages from `frame` on that [`cma_alloc`] returned, or any part of them in
/// whole units of the area. Returns false if they are not the area's. Pages that others hold too
/// stay in use until the last [`put_page`](crate::mm::page_alloc::put_page), and allocations go
/// around them. Any context (Linux: cma_release).
///
/// # Panics
/// Where one of the pages is not allocated.
///
/// # Safety
/// The pages are the caller's to give back, and nobody uses them any more.
#[track_caller]
pub unsafe fn cma_release(area: &Cma, frame: Frame, count: u32) -> bool {
    let Some(end) = frame.pfn().get().checked_add(count) else { return false };
    let range = PfnRange::new(frame.pfn(), Pfn::new(end));
    if range.is_empty() || !area.range().contains_range(range) {
        return false;
    }
    if are_rare_events_on() {
        points::cma_release(area.name(), frame, count);
    }
    // SAFETY: as the caller says.
    unsafe { free_contig_range(range) };
    area.with_bitmap(|declared, map| {
        let shift = declared.order_per_bit.get();
        let first = (range.start() - declared.range.start()) >> shift;
        let bits = count.div_ceil(declared.order_per_bit.pages());
        map.clear(first as usize..(first + bits) as usize);
    });
    area.pages_released.fetch_add(count.into(), Relaxed);
    true
}
