//! Frame descriptors (Linux: struct page, include/linux/mm_types.h).
//!
//! One [`Page`] of 32 bytes describes one frame. A [`Frame`] is the proof that a
//! frame number has a descriptor: it is made by checking, or read out of another
//! descriptor, so following a link needs no check.

use crate::addr::{Order, PAGE_SHIFT, Pfn, PhysAddr, VirtAddr};
use crate::arch;
use bitflags::bitflags;
use core::fmt;
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed};

bitflags! {
    /// What a frame is (the low 16 bits of its flags word).
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct PageFlags: u32 {
        /// Not the allocator's: firmware, the image, or taken before the allocator was up.
        const RESERVED = 1 << 0;
        /// The head of a free block in a buddy list; `private` is its order.
        const BUDDY = 1 << 1;
        /// Part of a slab; `owner` is its cache.
        const SLAB = 1 << 2;
        /// The head of a compound page; `private` is its order.
        const HEAD = 1 << 3;
        /// A tail of a compound page; `private` is its head's frame number.
        const TAIL = 1 << 4;
        /// On a per-CPU list.
        const PCP = 1 << 5;
        /// An owner is registered who can move it.
        const MOVABLE = 1 << 6;
        /// Bad memory: never to be handed out.
        const HWPOISON = 1 << 7;
        /// Holds a page table.
        const TABLE = 1 << 8;
        /// Backs part of the vmalloc area.
        const VMALLOC = 1 << 9;
    }
}

/// The descriptor of one frame. All fields are atomics accessed relaxed: plain
/// loads and stores, ordered by the lock or the mask that guards the frame.
#[repr(C, align(32))]
pub struct Page {
    flags: AtomicU32,
    refcount: AtomicU32,
    mapcount: AtomicU32,
    private: AtomicU32,
    next: AtomicU32,
    prev: AtomicU32,
    owner: AtomicUsize,
}

const _: () = assert!(size_of::<Page>() == 32);

macro_rules! field {
    ($(#[$doc:meta])* $name:ident, $set:ident, $ty:ty) => {
        $(#[$doc])*
        #[inline]
        pub fn $name(&self) -> $ty {
            self.$name.load(Relaxed)
        }
        /// Sets it.
        #[inline]
        pub fn $set(&self, value: $ty) {
            self.$name.store(value, Relaxed);
        }
    };
}

impl Page {
    field!(
        /// How many users hold the frame; 0 means that it is free.
        refcount, set_refcount, u32
    );
    field!(
        /// How many page-table entries map it; in a slab, what the slab allocator keeps there.
        mapcount, set_mapcount, u32
    );
    field!(
        /// The order of a free or compound block, a tail's head, or the owner's own.
        private, set_private, u32
    );
    field!(
        /// Who uses it: a slab's cache, a movable page's owner.
        owner, set_owner, usize
    );

    /// What the frame is.
    #[inline]
    pub fn flags(&self) -> PageFlags {
        PageFlags::from_bits_truncate(self.flags.load(Relaxed))
    }
    /// Says what the frame is; the other bits of the word stay.
    #[inline]
    pub fn set_flags(&self, flags: PageFlags) {
        let kept = self.flags.load(Relaxed) & !PageFlags::all().bits();
        self.flags.store(kept | flags.bits(), Relaxed);
    }
    /// The next frame of the list that this one is on.
    #[inline]
    pub fn next(&self) -> Option<Frame> {
        Frame::from_link(self.next.load(Relaxed))
    }
    /// Links the next frame.
    #[inline]
    pub fn set_next(&self, next: Option<Frame>) {
        self.next.store(Frame::to_link(next), Relaxed);
    }
    /// The frame before this one on its list.
    #[inline]
    pub fn prev(&self) -> Option<Frame> {
        Frame::from_link(self.prev.load(Relaxed))
    }
    /// Links the frame before.
    #[inline]
    pub fn set_prev(&self, prev: Option<Frame>) {
        self.prev.store(Frame::to_link(prev), Relaxed);
    }
}

/// A frame that has a descriptor.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Frame(Pfn);

impl Frame {
    const NULL: u32 = u32::MAX;

    /// The frame numbered `pfn`, if it has a descriptor (Linux: pfn_valid, pfn_to_page).
    #[must_use]
    pub fn new(pfn: Pfn) -> Option<Self> {
        crate::mm::page_alloc::has_descriptor(pfn).then_some(Self(pfn))
    }
    /// The frame behind a linear-map address (Linux: virt_to_page).
    #[must_use]
    pub fn from_virt(va: VirtAddr) -> Option<Self> {
        Self::new(arch::virt_to_phys(va).pfn()?)
    }
    /// Its number.
    #[inline]
    #[must_use]
    pub const fn pfn(self) -> Pfn {
        self.0
    }
    /// The physical address of its first byte.
    #[inline]
    #[must_use]
    pub const fn phys(self) -> PhysAddr {
        self.0.phys()
    }
    /// Its first byte in the linear map (Linux: page_address).
    #[inline]
    #[must_use]
    pub fn virt(self) -> VirtAddr {
        arch::phys_to_virt(self.phys())
    }
    /// Its descriptor.
    #[inline]
    #[must_use]
    pub fn page(self) -> &'static Page {
        let at = arch::vmemmap_base().wrapping_add(self.0.get() as usize * size_of::<Page>());
        // SAFETY: a `Frame` is made only for a number whose descriptor is mapped,
        // which it stays; its fields are atomics, for which any bytes are valid.
        unsafe { &*core::ptr::with_exposed_provenance::<Page>(at) }
    }
    /// The frame `n` after this one within a block of `order` that `self` starts.
    /// Descriptors come to life in aligned blocks of the largest order, so it has one.
    #[inline]
    #[must_use]
    pub fn within(self, order: Order, n: u32) -> Self {
        assert!(self.0.is_aligned(order) && n < order.pages());
        Self(self.0 + n)
    }

    #[inline]
    fn from_link(link: u32) -> Option<Self> {
        if link == Self::NULL {
            None
        } else {
            Some(Self(Pfn::new(link)))
        }
    }
    #[inline]
    fn to_link(frame: Option<Self>) -> u32 {
        frame.map_or(Self::NULL, |f| f.0.get())
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Frame({:#x})", u64::from(self.0.get()) << PAGE_SHIFT)
    }
}
