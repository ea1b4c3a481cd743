//! What is asked of every allocator here.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};

/// An allocator, shared by the threads that use it.
pub trait Contender: Sync {
    /// How the lines call it.
    const NAME: &'static str;
    /// Whether what was never freed comes back when it is dropped.
    const GIVES_ALL_BACK: bool;
    /// What it hands out.
    type Object: Copy + Send;

    /// One that can hand out about `bytes` bytes at a time, as nearly as many as its manner of
    /// using memory allows.
    fn new(bytes: usize) -> Self;

    /// What RAM the machine needs for one that can hand out `bytes`.
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

    /// Where `object` lies.
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

/// What regions are aligned to.
const PAGE: usize = 4096;
