//! Frame descriptors (Linux: struct page, include/linux/mm_types.h).
//!
//! One [`Page`] of 32 bytes describes one frame. A [`Frame`] is the proof that a
//! frame number has a descriptor: it is made by checking, read out of another
//! descriptor, or reached within the aligned block of [`Order::MAX`] that another
//! frame lies in, because descriptors come to life in such blocks ([`super::sparse`]).
//!
//! Who may write what: the owner of an allocated frame writes its type, flags, reference
//! count, map count, `private`, links and `owner`. The order that the frame was allocated
//! with is the page allocator's; so are the pageblock's migratetype and the zone,
//! which it writes while the frame belongs to somebody else: hence a byte of their own.
//! A descriptor of all zeros is that of a reserved frame. Bad memory may
//! be found at any time, whoever owns the frame: so owners add and remove their flags.
//!
//! | field | a free block | a slab | a page of users (`user`) |
//! | --- | --- | --- | --- |
//! | `refcount` | 0 | 1 | references; one for all mappings |
//! | `flags` | type and flags | type and flags | no type; flags of the page cache too |
//! | `mapcount` | 0 | objects in use, first free one | further mappings, [`UserFlags`] |
//! | `private` | order | | swap entry, or the file system's |
//! | `next`, `prev` | free list | list of slabs; a tail's head | LRU list |
//! | `owner` | | cache | [`Mapping`]: object and index |
//!
//! Outside of `mm` descriptors can be read and not written: a wrong link or count gives a page
//! to two owners.

mod flags;
mod frame;
mod free_list;
mod life;
mod pageblock;
#[cfg(test)]
mod tests;
mod user;

pub use flags::{PageFlags, PageMarks, PageType};
pub use frame::Frame;
pub use user::{MAPCOUNT_MAX, Mapping, MappingKind, UserFlags};

use crate::addr::{Order, PAGE_SHIFT, VirtAddr};
use crate::arch::{self, layout};
use core::mem::offset_of;
use core::num::NonZeroU32;
use core::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicUsize, Ordering::Relaxed};
pub(in crate::mm) use free_list::FreeList;
use life::Life;
pub(in crate::mm) use life::REFCOUNT_MAX;
#[cfg(test)]
pub(in crate::mm) use life::REFCOUNT_SATURATED;
pub(in crate::mm) use pageblock::BlockSkip;
use pageblock::{BLOCK_ISOLATED, BLOCK_OFFLINE};

/// A place that remembers a frame or none; atomic, accessed relaxed.
///
/// Only frames are stored, so what comes out is proof again; all zeros is none.
#[derive(Debug)]
#[repr(transparent)]
pub struct Link(AtomicU32);

impl Link {
    /// An empty link.
    #[must_use]
    pub const fn new() -> Self {
        Self(AtomicU32::new(0))
    }
    /// The frame that was stored last.
    #[inline]
    pub fn get(&self) -> Option<Frame> {
        NonZeroU32::new(self.0.load(Relaxed)).map(Frame)
    }
    /// Remembers `frame`.
    #[inline]
    pub fn set(&self, frame: Option<Frame>) {
        self.0.store(frame.map_or(0, |f| f.0.get()), Relaxed);
    }
}

impl Default for Link {
    fn default() -> Self {
        Self::new()
    }
}

/// The descriptor of one frame. All fields are atomics accessed relaxed: plain
/// loads and stores, ordered by the lock or the mask that guards the frame.
///
/// What a free looks at is in the first eight bytes, so that one load gets it all.
#[repr(C, align(32))]
pub struct Page {
    refcount: AtomicU32,
    flags: AtomicU16,
    order: AtomicU8,
    /// State of a pageblock: in its first frame the migratetype and compaction's skip hints, in
    /// its second the per-CPU lists of its pages. In the third frame of a block of the largest
    /// order, its zone.
    block: AtomicU8,
    mapcount: AtomicU32,
    private: AtomicU32,
    next: Link,
    prev: Link,
    owner: AtomicUsize,
}

const _: () = assert!(size_of::<Page>() == 32);

/// Position of type and flags in the first eight bytes, read as one number.
const WORD_FLAGS_SHIFT: u32 = 32;
/// Position of the order in them.
const WORD_ORDER_SHIFT: u32 = 48;
/// Bits of them that do not belong to the pageblock.
const WORD_OWN: u64 = (1 << 52) - 1;
const _: () = assert!(
    offset_of!(Page, flags) == 4 && offset_of!(Page, order) == 6 && offset_of!(Page, block) == 7
);

macro_rules! field {
    ($(#[$doc:meta])* $name:ident, $set:ident, $ty:ty) => {
        $(#[$doc])*
        #[inline]
        pub fn $name(&self) -> $ty {
            self.$name.load(Relaxed)
        }
        /// Sets it.
        #[inline]
        pub(in crate::mm) fn $set(&self, value: $ty) {
            self.$name.store(value, Relaxed);
        }
    };
}

impl Page {
    /// Number of references to the frame; 0 if it is free or reserved. The read is an acquire:
    /// what another holder did before it dropped its reference comes before what the caller does
    /// if it finds itself to be the last.
    #[inline]
    pub fn refcount(&self) -> u32 {
        self.life().count()
    }
    /// Sets how many users hold the frame.
    #[inline]
    pub(in crate::mm) fn set_refcount(&self, references: u32) {
        self.refcount.store(references, Relaxed);
    }
    /// Word of the slab allocator in a slab's head, where a page of users has its map count.
    #[inline]
    pub(in crate::mm) fn slab_word(&self) -> u32 {
        self.mapcount.load(Relaxed)
    }
    /// Sets it.
    #[inline]
    pub(in crate::mm) fn set_slab_word(&self, word: u32) {
        self.mapcount.store(word, Relaxed);
    }
    field!(
        /// The order of a free block, or the owner's own.
        private, set_private, u32
    );
    field!(
        /// Owner of the frame: a slab's cache, a movable page's owner, a user page's [`Mapping`].
        owner, set_owner, usize
    );

    /// The descriptor of the frame behind a linear-map address (Linux: virt_to_page), where
    /// the caller knows that there is one.
    ///
    /// # Safety
    /// `va` is the linear-map address of a byte whose frame has a descriptor.
    #[inline(always)]
    #[must_use]
    pub unsafe fn of_virt_unchecked(va: VirtAddr) -> &'static Self {
        let at = if cfg!(target_os = "none") {
            // Where the linear map and the descriptors lie makes this the sum below.
            const SHIFT: u32 = PAGE_SHIFT - size_of::<Page>().ilog2();
            const _: () = assert!(
                (layout::LINEAR.start().get() as isize >> SHIFT) as usize
                    == layout::VMEMMAP.start().get()
            );
            (va.get() as isize >> SHIFT) as usize & !(size_of::<Self>() - 1)
        } else {
            let pfn = (arch::virt_to_phys(va).get() >> PAGE_SHIFT) as usize;
            arch::vmemmap_base() + pfn * size_of::<Self>()
        };
        // SAFETY: as the caller says; and see `Frame::page`.
        unsafe { &*core::ptr::with_exposed_provenance::<Self>(at) }
    }

    /// Type and flags of the page, read at once.
    #[inline(always)]
    pub fn marks(&self) -> PageMarks {
        PageMarks(self.flags.load(Relaxed))
    }
    /// Flags of the page.
    #[inline(always)]
    pub fn flags(&self) -> PageFlags {
        self.marks().flags()
    }
    /// Type of the page.
    #[inline]
    pub fn page_type(&self) -> PageType {
        self.marks().page_type()
    }
    /// Returns true if the page is of `page_type`.
    #[inline(always)]
    pub fn is_type(&self, page_type: PageType) -> bool {
        self.marks().is_type(page_type)
    }
    /// Returns true if the page is part of a slab.
    #[inline(always)]
    pub fn is_slab(&self) -> bool {
        self.is_type(PageType::Slab)
    }
    /// Makes the page one of `page_type` without flags: for the allocator, while nobody else has
    /// the page.
    #[inline]
    pub(in crate::mm) fn set_type(&self, page_type: PageType) {
        self.flags.store(page_type as u16, Relaxed);
    }
    /// Makes the page one with `flags` and without a type: for the allocator, while nobody else
    /// has the page.
    #[inline]
    pub(in crate::mm) fn set_flags(&self, flags: PageFlags) {
        self.flags.store(flags.bits(), Relaxed);
    }
    /// Gives a page without a type `page_type`, and adds `flags`; atomic.
    #[inline]
    pub(in crate::mm) fn add_type(&self, page_type: PageType, flags: PageFlags) {
        debug_assert!(self.is_type(PageType::None), "{page_type:?} page is {:?}", self.marks());
        self.life().mark(page_type.with(flags));
    }
    /// Takes the type and `flags` away; atomic.
    #[inline]
    pub(in crate::mm) fn clear_type(&self, flags: PageFlags) {
        self.life().unmark(flags::TYPE_MASK | flags.bits());
    }
    /// Adds flags; atomic.
    #[inline]
    pub(in crate::mm) fn add_flags(&self, flags: PageFlags) {
        self.life().mark(flags.bits());
    }
    /// Takes flags away; atomic.
    #[inline]
    pub(in crate::mm) fn remove_flags(&self, flags: PageFlags) {
        self.life().unmark(flags.bits());
    }
    #[inline(always)]
    fn life(&self) -> Life<'_> {
        Life { refcount: &self.refcount, flags: &self.flags }
    }
    /// The next frame of the list that this one is on.
    #[inline]
    pub fn next(&self) -> Option<Frame> {
        self.next.get()
    }
    /// Links the next frame.
    #[inline]
    pub(in crate::mm) fn set_next(&self, next: Option<Frame>) {
        self.next.set(next);
    }
    /// The frame before this one on its list.
    #[inline]
    pub fn prev(&self) -> Option<Frame> {
        self.prev.get()
    }
    /// The link to the next frame of the list that the frame is on.
    #[inline]
    pub(in crate::mm) fn next_link(&self) -> &Link {
        &self.next
    }
    /// The link to the frame before.
    #[inline]
    pub(in crate::mm) fn prev_link(&self) -> &Link {
        &self.prev
    }
    /// Links the frame before.
    #[inline]
    pub(in crate::mm) fn set_prev(&self, prev: Option<Frame>) {
        self.prev.set(prev);
    }

    /// Adds one to the reference count and returns what it was; atomic.
    /// A count that is too large becomes [`life::REFCOUNT_SATURATED`] (Linux: refcount_inc).
    pub(in crate::mm) fn refcount_add(&self) -> u32 {
        self.life().get()
    }
    /// Adds one to the reference count if the page is in use and the count has room. Returns
    /// true if it did; atomic (Linux: try_get_page, refcount_inc_not_zero).
    pub(in crate::mm) fn refcount_try_add(&self) -> bool {
        self.life().try_get()
    }
    /// Takes one off the reference count and returns what it was; atomic. Everything that the
    /// holders did comes before what the last one does next. A saturated count stays as it is
    /// (Linux: refcount_dec_and_test).
    pub(in crate::mm) fn refcount_sub(&self) -> u32 {
        self.life().put()
    }

    /// Gives the block that starts here, which nobody has, its first reference, and no flags.
    #[inline(always)]
    pub(in crate::mm) fn hand_out(&self) {
        self.life().hand_out();
    }

    /// Returns true if the block that starts here has references. The read is an acquire: what
    /// its allocation stored in the flags comes before what the caller does to them.
    pub(in crate::mm) fn is_in_use(&self) -> bool {
        self.life().is_in_use()
    }

    /// Returns true if the block that starts here is allocated with `order`, has no type and no
    /// flags, and has one reference: then its holder can free it.
    #[inline(always)]
    pub(in crate::mm) fn is_plain(&self, order: Order) -> bool {
        self.is_plain_of(order, PageType::None)
    }

    /// Returns true if the block that starts here is allocated with `order`, is of `page_type`,
    /// has no flags, and has one reference.
    #[inline(always)]
    pub(in crate::mm) fn is_plain_of(&self, order: Order, page_type: PageType) -> bool {
        let order = u64::from(order.get()) << WORD_ORDER_SHIFT;
        self.word() & WORD_OWN == 1 | (page_type as u64) << WORD_FLAGS_SHIFT | order
    }

    /// The order with which the block that starts here is allocated, if it is, has no marks,
    /// and is held once.
    #[inline(always)]
    pub(in crate::mm) fn plain_order(&self) -> Option<Order> {
        let own = self.word() & WORD_OWN;
        let is_plain = own & ((1 << WORD_ORDER_SHIFT) - 1) == 1;
        if is_plain { Order::new((own >> WORD_ORDER_SHIFT) as u8) } else { None }
    }

    /// The first eight bytes. The read is an acquire: what another holder did before it dropped
    /// its reference comes before what the caller does if it finds itself to be the last.
    #[inline(always)]
    fn word(&self) -> u64 {
        // SAFETY: a descriptor is aligned. Of its parts the zone's lock, the owner and who
        // finds bad memory may each write their own meanwhile.
        let word = unsafe { arch::read_parts(core::ptr::from_ref(self).cast()) };
        word.unwrap_or_else(|| {
            u64::from(self.refcount())
                | u64::from(self.flags.load(Relaxed)) << WORD_FLAGS_SHIFT
                | u64::from(self.order()) << WORD_ORDER_SHIFT
        })
    }

    /// The order with which the block that starts here last left the free lists.
    #[inline]
    pub(in crate::mm) fn order(&self) -> u8 {
        self.order.load(Relaxed)
    }
    /// Sets it.
    #[inline]
    pub(in crate::mm) fn set_order(&self, order: Order) {
        self.order.store(order.get(), Relaxed);
    }
}
