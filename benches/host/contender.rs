//! Interface of the allocators that are compared.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};

/// An allocator, shared by the threads that use it.
pub trait Contender: Sync {
    /// Name in the output's lines.
    const NAME: &'static str;
    /// True if dropping it frees the objects that were never freed.
    const GIVES_ALL_BACK: bool;
    /// Object that it allocates.
    type Object: Copy + Send;

    /// Creates one that can allocate about `bytes` bytes at a time, as nearly as its use of
    /// memory allows.
    fn new(bytes: usize) -> Self;

    /// RAM that the machine needs for one that can allocate `bytes`.
    fn machine_bytes(_bytes: usize) -> usize {
        0
    }

    /// Memory of `layout`; `None` where it is short.
    fn alloc(&self, layout: Layout) -> Option<Self::Object>;

    /// Frees `object`.
    ///
    /// # Safety
    /// It was allocated here with `layout`, and this is its only free.
    unsafe fn free(&self, object: Self::Object, layout: Layout);

    /// Address of `object`.
    fn address(object: Self::Object) -> usize;
}

/// Memory of the host, which takes it when it is touched. Given back when dropped.
pub struct Region {
    start: usize,
    layout: Layout,
}

impl Region {
    /// `bytes` bytes, aligned to a page.
    pub fn new(bytes: usize) -> Self {
        // Aligned by hand: the host's malloc would touch all of it to zero what is aligned.
        let layout = Layout::from_size_align(bytes + PAGE, 16).expect("a sane size");
        // SAFETY: the size is not zero.
        let start = unsafe { alloc_zeroed(layout) };
        if start.is_null() {
            handle_alloc_error(layout);
        }
        Self { start: start.expose_provenance(), layout }
    }

    /// The first byte.
    pub fn start(&self) -> usize {
        self.start.next_multiple_of(PAGE)
    }

    /// The first byte, to read and write.
    pub fn as_ptr(&self) -> *mut u8 {
        core::ptr::with_exposed_provenance_mut(self.start())
    }

    /// Bytes in it.
    pub fn len(&self) -> usize {
        self.layout.size() - PAGE
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout.
        unsafe { dealloc(core::ptr::with_exposed_provenance_mut(self.start), self.layout) }
    }
}

/// Alignment of regions.
const PAGE: usize = 4096;
