//! Granule's allocators.

use crate::contender::Contender;
use granule::addr::{Order, PAGE_SIZE, VirtAddr, VirtRange};
use granule::mm::alloc_pages::alloc_pages;
use granule::mm::gfp::Gfp;
use granule::mm::page::Frame;
use granule::mm::page_alloc::free_pages;
use granule::mm::slab::{kfree, kmalloc};
use granule::mm::vmalloc::slot_page::SlotPage;
use granule::mm::vmalloc::va_space::{VaError, VaRequest, VaSpace};
use std::alloc::Layout;
use std::sync::{Mutex, PoisonError};

const GFP: Gfp = Gfp::GFP_KERNEL;

/// kmalloc of the machine that this thread is a CPU of.
pub struct Kmalloc;

impl Contender for Kmalloc {
    const NAME: &'static str = "granule";
    const GIVES_ALL_BACK: bool = false;
    type Object = usize;

    fn machine_bytes(bytes: usize) -> usize {
        2 * bytes
    }
    fn new(_: usize) -> Self {
        Self
    }
    #[inline]
    fn alloc(&self, layout: Layout) -> Option<usize> {
        Some(kmalloc(layout.size(), GFP)?.as_ptr().expose_provenance())
    }
    #[inline]
    unsafe fn free(&self, object: usize, _: Layout) {
        // SAFETY: as the caller says.
        unsafe { kfree(core::ptr::with_exposed_provenance(object)) }
    }
    fn address(object: usize) -> usize {
        object
    }
}

/// The page allocator of that machine.
pub struct Pages;

impl Contender for Pages {
    const NAME: &'static str = "granule";
    const GIVES_ALL_BACK: bool = false;
    type Object = Frame;

    fn machine_bytes(bytes: usize) -> usize {
        bytes
    }
    fn new(_: usize) -> Self {
        Self
    }
    #[inline]
    fn alloc(&self, layout: Layout) -> Option<Frame> {
        alloc_pages(GFP, Order::for_bytes(layout.size())?)
    }
    #[inline]
    unsafe fn free(&self, object: Frame, layout: Layout) {
        let order = Order::for_bytes(layout.size()).expect("as it was allocated");
        // SAFETY: allocated here, and nobody uses it any more.
        unsafe { free_pages(object, order) };
    }
    fn address(object: Frame) -> usize {
        object.virt().get()
    }
}

/// vmalloc's address allocator, with a range of its own; its nodes are the page allocator's.
pub struct Addresses {
    space: Mutex<VaSpace<()>>,
    range: VirtRange,
}

impl Contender for Addresses {
    const NAME: &'static str = "granule";
    const GIVES_ALL_BACK: bool = false;
    type Object = VirtAddr;

    fn machine_bytes(bytes: usize) -> usize {
        // A node and its links for a page of addresses.
        bytes / 32
    }
    fn new(bytes: usize) -> Self {
        // Where nothing is touched, nothing need be: vmalloc's own range is as good as any.
        let range =
            VirtRange::from_size(VirtAddr::new(0xffff_8001_0000_0000), 4 * bytes + (64 << 20));
        Self { space: Mutex::new(VaSpace::new(range)), range }
    }
    #[inline]
    fn alloc(&self, layout: Layout) -> Option<VirtAddr> {
        let request = VaRequest { size: layout.size(), align: PAGE_SIZE, range: self.range };
        let mut space = self.space.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match space.alloc(request, || ()) {
                Ok((_, range)) => return Some(range.start()),
                Err(VaError::NeedsPage) => {
                    // Refused only where there is room, and then it is asked again.
                    let _ = space.donate(SlotPage::alloc(GFP)?);
                }
                Err(_) => return None,
            }
        }
    }
    #[inline]
    unsafe fn free(&self, object: VirtAddr, _: Layout) {
        let mut space = self.space.lock().unwrap_or_else(PoisonError::into_inner);
        let (id, ..) = space.starting(object).expect("an area starts there");
        space.free(id);
    }
    fn address(object: VirtAddr) -> usize {
        object.get()
    }
}

impl Drop for Addresses {
    fn drop(&mut self) {
        let space = self.space.get_mut().unwrap_or_else(PoisonError::into_inner);
        space.validate();
        while space.shrink().is_some() {}
    }
}
