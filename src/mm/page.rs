//! Frame descriptors (Linux: struct page, include/linux/mm_types.h).
//!
//! One [`Page`] of 32 bytes describes one frame. A [`Frame`] is the proof that a
//! frame number has a descriptor: it is made by checking, read out of another
//! descriptor, or reached within the aligned block of [`Order::MAX`] that another
//! frame lies in, because descriptors come to life in such blocks ([`super::sparse`]).
//!
//! Who may write what: the owner of an allocated frame writes its flags, reference
//! count, map count, `private`, links and `owner`. The frame's place (zone, node and
//! the order it was allocated with) is the page allocator's; so is the pageblock's
//! migratetype, which it writes while the frame belongs to somebody else: hence a
//! byte of its own. A descriptor of all zeros is that of a reserved frame. Bad memory may
//! be found at any time, whoever owns the frame: so owners add and remove their flags.
//!
//! Outside of `mm` descriptors can be read and not written: a wrong link or count gives a page
//! to two owners.

mod life;

use crate::addr::{Order, PAGE_SHIFT, Pfn, PhysAddr, VirtAddr};
use crate::arch::{self, layout};
use crate::mm::mmzone::{Migratetype, ZoneId};
use crate::mm::pcp_list::PcpColumn;
use crate::mm::sparse;
use bitflags::bitflags;
use core::fmt;
use core::mem::offset_of;
use core::num::NonZeroU32;
use core::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicUsize, Ordering::Relaxed};
use life::Life;
pub(in crate::mm) use life::REFCOUNT_MAX;
#[cfg(test)]
pub(in crate::mm) use life::REFCOUNT_SATURATED;

bitflags! {
    /// What a frame is.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct PageFlags: u16 {
        /// No RAM here: the frame has a descriptor because its neighbours need one.
        const HOLE = 1 << 0;
        /// The head of a free block in a buddy list; `private` is its order.
        const BUDDY = 1 << 1;
        /// Part of a slab; `owner` is its cache.
        const SLAB = 1 << 2;
        /// The head of a compound page.
        const HEAD = 1 << 3;
        /// A tail of a compound page; `prev` is its head.
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
        /// Reserved: holds descriptors, or what finds them (Linux: PageVmemmapSelfHosted).
        const VMEMMAP = 1 << 10;
        /// In a section that is offline: never to be handed out until that is online.
        const OFFLINE = 1 << 11;
        /// A block of several pages, of which some are `HWPOISON`.
        const HAS_HWPOISONED = 1 << 12;
        /// Charged; of a block, its first frame alone.
        const ACCOUNTED = 1 << 13;
    }
}

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
    place: AtomicU8,
    /// Of a pageblock: in its first frame the migratetype and what compaction skips, in its
    /// second the per-CPU lists that its pages are kept on.
    block: AtomicU8,
    mapcount: AtomicU32,
    private: AtomicU32,
    next: Link,
    prev: Link,
    owner: AtomicUsize,
}

const _: () = assert!(size_of::<Page>() == 32);

/// In the first eight bytes as one number: where the flags stand.
const WORD_FLAGS_SHIFT: u32 = 32;
/// And where the order does.
const WORD_ORDER_SHIFT: u32 = 48;
/// And what is not the zone or the pageblock's.
const WORD_OWN: u64 = (1 << 52) - 1;
const _: () = assert!(
    offset_of!(Page, flags) == 4 && offset_of!(Page, place) == 6 && offset_of!(Page, block) == 7
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
    /// How many users hold the frame; 0 where it is free or reserved. What a holder did before it
    /// gave its reference back is earlier than what the caller does next, who finds itself to be
    /// the last one.
    #[inline]
    pub fn refcount(&self) -> u32 {
        self.life().count()
    }
    /// Sets how many users hold the frame.
    #[inline]
    pub(in crate::mm) fn set_refcount(&self, references: u32) {
        self.refcount.store(references, Relaxed);
    }
    field!(
        /// How many page-table entries map it; in a slab, what the slab allocator keeps there.
        mapcount, set_mapcount, u32
    );
    field!(
        /// The order of a free block, or the owner's own.
        private, set_private, u32
    );
    field!(
        /// Who uses it: a slab's cache, a movable page's owner.
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

    /// What the frame is.
    #[inline]
    pub fn flags(&self) -> PageFlags {
        PageFlags::from_bits_retain(self.flags.load(Relaxed))
    }
    /// Says what the frame is, and forgets what it was: for the allocator, while nobody
    /// else has it.
    #[inline]
    pub(in crate::mm) fn set_flags(&self, flags: PageFlags) {
        self.flags.store(flags.bits(), Relaxed);
    }
    /// Adds marks; atomic.
    #[inline]
    pub(in crate::mm) fn add_flags(&self, flags: PageFlags) {
        self.life().mark(flags.bits());
    }
    /// Takes marks away; atomic.
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
    /// Adds one to the reference count if somebody holds the page and the count has room;
    /// whether it did; atomic (Linux: try_get_page, refcount_inc_not_zero).
    pub(in crate::mm) fn refcount_try_add(&self) -> bool {
        self.life().try_get()
    }
    /// Takes one off the reference count and returns what it was; atomic.
    /// What the holders did is earlier than what the last one does next. A saturated count stays
    /// as it is (Linux: refcount_dec_and_test).
    pub(in crate::mm) fn refcount_sub(&self) -> u32 {
        self.life().put()
    }

    /// Gives the block that starts here, which nobody has, its first reference, and no flags.
    #[inline(always)]
    pub(in crate::mm) fn hand_out(&self) {
        self.life().hand_out();
    }

    /// Whether the block that starts here has references; what its allocation stored in the
    /// flags is earlier than what the caller does to them.
    pub(in crate::mm) fn is_in_use(&self) -> bool {
        self.life().is_in_use()
    }

    /// Whether the block that starts here is allocated with `order`, has no marks, and is
    /// held once: all that its holder needs to free it.
    #[inline(always)]
    pub(in crate::mm) fn is_plain(&self, order: Order) -> bool {
        self.is_marked(order, PageFlags::empty())
    }

    /// As [`is_plain`](Self::is_plain) but for `marks`, which it has all of.
    #[inline(always)]
    pub(in crate::mm) fn is_marked(&self, order: Order, marks: PageFlags) -> bool {
        let order = u64::from(order.get()) << WORD_ORDER_SHIFT;
        self.word() & WORD_OWN == 1 | u64::from(marks.bits()) << WORD_FLAGS_SHIFT | order
    }

    /// The order with which the block that starts here is allocated, if it is, has no marks,
    /// and is held once.
    #[inline(always)]
    pub(in crate::mm) fn plain_order(&self) -> Option<Order> {
        let own = self.word() & WORD_OWN;
        let is_plain = own & ((1 << WORD_ORDER_SHIFT) - 1) == 1;
        if is_plain { Order::new((own >> WORD_ORDER_SHIFT) as u8) } else { None }
    }

    /// The first eight bytes.
    /// What a holder did before it gave its reference back is earlier than what the caller does
    /// next, who finds itself to be the last one.
    #[inline(always)]
    fn word(&self) -> u64 {
        // SAFETY: a descriptor is aligned. Of its parts the zone's lock, the owner and who
        // finds bad memory may each write their own meanwhile.
        let word = unsafe { arch::read_parts(core::ptr::from_ref(self).cast()) };
        word.unwrap_or_else(|| {
            u64::from(self.refcount())
                | u64::from(self.flags.load(Relaxed)) << WORD_FLAGS_SHIFT
                | u64::from(self.place.load(Relaxed)) << WORD_ORDER_SHIFT
        })
    }

    /// The zone of the block that starts here; right for heads of blocks alone,
    /// and for the first frame of each aligned block of [`Order::MAX`].
    #[inline]
    pub(in crate::mm) fn zone(&self) -> ZoneId {
        self.place().zone()
    }
    /// The order with which the block that starts here last left the free lists.
    #[inline]
    pub(in crate::mm) fn order(&self) -> u8 {
        self.place().order()
    }
    /// Both.
    #[inline]
    pub(in crate::mm) fn place(&self) -> Place {
        Place(self.place.load(Relaxed))
    }
    /// Sets both.
    #[inline]
    pub(in crate::mm) fn set_place(&self, zone: ZoneId, order: Order) {
        self.place.store(order.get() | zone.bits() << Place::ORDER_BITS, Relaxed);
    }
    /// The migratetype of the pageblock that starts here: `Isolate` while it is being emptied.
    #[inline]
    pub(in crate::mm) fn block_migratetype(&self) -> Migratetype {
        let block = self.block.load(Relaxed);
        if block & BLOCK_ISOLATED != 0 {
            Migratetype::Isolate
        } else {
            Migratetype::from_bits(block)
        }
    }
    /// The migratetype that the pageblock that starts here has when it is not being emptied
    /// (Linux: get_pageblock_migratetype, beside PB_migrate_isolate).
    pub(in crate::mm) fn block_kept_migratetype(&self) -> Migratetype {
        Migratetype::from_bits(self.block.load(Relaxed))
    }
    /// Whether the section of the pageblock that starts here is offline.
    pub(in crate::mm) fn block_is_offline(&self) -> bool {
        self.block.load(Relaxed) & BLOCK_OFFLINE != 0
    }
    /// What compaction did not find in the pageblock that starts here when it was there last:
    /// hints (Linux: PB_migrate_skip, which is one for both).
    pub(in crate::mm) fn block_skip(&self) -> BlockSkip {
        BlockSkip::from_bits_truncate(self.block.load(Relaxed))
    }
    /// Adds to these hints; a new migratetype takes them back.
    pub(in crate::mm) fn add_block_skip(&self, skip: BlockSkip) {
        // Others may set the migratetype meanwhile.
        self.block.fetch_or(skip.bits(), Relaxed);
    }
    /// Takes all these hints back.
    pub(in crate::mm) fn clear_block_skip(&self) {
        self.block.fetch_and(!BlockSkip::all().bits(), Relaxed);
    }
}

bitflags! {
    /// In a pageblock's byte: what compaction does not find there.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub(in crate::mm) struct BlockSkip: u8 {
        /// Pages to move away.
        const SOURCE = 1 << 3;
        /// Free pages to move others to.
        const TARGET = 1 << 4;
    }
}

/// In a pageblock's byte, above its migratetype and what compaction skips: it is being
/// emptied, its pages go straight to the zone.
const BLOCK_ISOLATED: u8 = 1 << 5;
/// In a pageblock's byte, beside that: its section is offline.
const BLOCK_OFFLINE: u8 = 1 << 6;

/// The zone and the order of a block.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::mm) struct Place(u8);

impl Place {
    const ORDER_BITS: u32 = 4;
    #[inline]
    pub(in crate::mm) fn zone(self) -> ZoneId {
        ZoneId::from_bits(self.0 >> Self::ORDER_BITS)
    }
    #[inline]
    pub(in crate::mm) fn order(self) -> u8 {
        self.0 & ((1 << Self::ORDER_BITS) - 1)
    }
}

/// A frame that has a descriptor. Inside is its number plus [`BIAS`], so that an
/// `Option<Frame>` is as small, and blocks are as aligned as by their numbers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Frame(NonZeroU32);

/// Not zero, and a multiple of the largest block.
const BIAS: u32 = Order::MAX.pages();
const _: () = assert!(Pfn::LIMIT.get().checked_add(BIAS - 1).is_some());

impl Frame {
    /// The frame numbered `pfn`, if it has a descriptor (Linux: pfn_valid, pfn_to_page).
    #[inline]
    #[must_use]
    pub fn new(pfn: Pfn) -> Option<Self> {
        if sparse::is_populated(pfn) { Some(Self::assume(pfn)) } else { None }
    }
    /// The frame behind a linear-map address (Linux: virt_to_page).
    #[inline]
    #[must_use]
    pub fn from_virt(va: VirtAddr) -> Option<Self> {
        Self::new(arch::virt_to_phys(va).pfn()?)
    }
    /// As `from_virt`, where the caller knows that there is a descriptor.
    ///
    /// # Safety
    /// `va` is the linear-map address of a byte whose frame has a descriptor.
    #[inline(always)]
    #[must_use]
    pub unsafe fn from_virt_unchecked(va: VirtAddr) -> Self {
        let pa = arch::virt_to_phys(va);
        debug_assert!(pa.get() >> PAGE_SHIFT < 1 << 32, "{va} is not in this machine's linear map");
        let pfn = (pa.get() >> PAGE_SHIFT) as u32;
        // SAFETY: a frame that has a descriptor has a number below `Pfn::LIMIT`.
        Self(unsafe { NonZeroU32::new_unchecked(pfn + BIAS) })
    }
    /// Its number.
    #[inline]
    #[must_use]
    pub const fn pfn(self) -> Pfn {
        Pfn::new(self.0.get() - BIAS)
    }
    /// The physical address of its first byte.
    #[inline]
    #[must_use]
    pub const fn phys(self) -> PhysAddr {
        self.pfn().phys()
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
        // SAFETY: a `Frame` is made only for a number whose descriptor is mapped,
        // which it stays; its fields are atomics, for which any bytes are valid.
        unsafe { &*self.page_ptr() }
    }
    /// Where its descriptor is.
    #[inline(always)]
    fn page_ptr(self) -> *const Page {
        #[cfg(not(target_os = "none"))]
        arch::hosted::check_frame(self.phys());
        // An index into a pointer, so that fields are reached by offsets from one register.
        let before_first = arch::vmemmap_base().wrapping_sub(BIAS as usize * size_of::<Page>());
        let array = core::ptr::with_exposed_provenance::<Page>(before_first);
        array.wrapping_add(self.0.get() as usize)
    }
    /// The frame `n` after this one within a block of `order` that `self` starts.
    #[inline]
    #[must_use]
    pub fn within(self, order: Order, n: u32) -> Self {
        assert!(self.0.get() & (order.pages() - 1) == 0 && n < order.pages());
        self.with_raw(self.0.get() + n)
    }
    /// The first frame of the aligned block of `order` that this one lies in.
    #[inline]
    #[must_use]
    pub const fn align_down(self, order: Order) -> Self {
        self.with_raw(self.0.get() & !(order.pages() - 1))
    }
    /// The other half of the block of `order + 1` that the block at `self` belongs to.
    ///
    /// # Panics
    /// For [`Order::MAX`], whose blocks have no buddy.
    #[inline]
    #[must_use]
    pub fn buddy(self, order: Order) -> Self {
        assert!(order < Order::MAX);
        self.with_raw(self.0.get() ^ order.pages())
    }
    /// The frames of the block of `order` that starts here, rising.
    pub fn block(self, order: Order) -> impl DoubleEndedIterator<Item = Self> {
        (0..order.pages()).map(move |n| self.within(order, n))
    }

    /// The descriptors of the block of `order` that starts here, rising.
    #[inline]
    pub(in crate::mm) fn pages(self, order: Order) -> &'static [Page] {
        assert!(self.align_down(order) == self);
        // SAFETY: the descriptors of an aligned block of at most the largest order are mapped
        // together, one after the other, as `page` says of each.
        unsafe { core::slice::from_raw_parts(self.page_ptr(), order.pages() as usize) }
    }

    /// The per-CPU lists that pages of the pageblock around it are kept on; `None` where
    /// they go straight to the zone.
    #[inline(always)]
    pub(in crate::mm) fn pcp_column(self) -> Option<PcpColumn> {
        // SAFETY: `set_block` alone writes it, and a fresh descriptor is zero.
        unsafe {
            PcpColumn::from_byte(self.align_down(Order::PAGEBLOCK).after().block.load(Relaxed))
        }
    }
    /// Says that the section of the pageblock that starts here is offline, until the
    /// pageblock's migratetype is set. It will be `Movable` then.
    pub(in crate::mm) fn set_block_offline(self) {
        self.set_block(Migratetype::Movable as u8 | BLOCK_ISOLATED | BLOCK_OFFLINE, None);
    }
    /// Sets the migratetype of the pageblock that starts here, and the per-CPU lists with it.
    /// With `Isolate` the pageblock keeps the type that it had beside. The zone of the block
    /// of the largest order is set before.
    pub(in crate::mm) fn set_block_migratetype(self, mt: Migratetype) {
        let block = match mt {
            Migratetype::Isolate => self.page().block_kept_migratetype() as u8 | BLOCK_ISOLATED,
            mt => mt as u8,
        };
        let zone = self.align_down(Order::MAX).page().zone();
        self.set_block(block, PcpColumn::new(zone, mt));
    }
    fn set_block(self, block: u8, column: Option<PcpColumn>) {
        debug_assert!(self.align_down(Order::PAGEBLOCK) == self);
        self.page().block.store(block, Relaxed);
        self.after().block.store(PcpColumn::to_byte(column), Relaxed);
    }
    /// The descriptor after its own, which is the start of a block of several.
    #[inline(always)]
    fn after(self) -> &'static Page {
        // SAFETY: as `page`, of the second frame of the block.
        unsafe { &*self.page_ptr().wrapping_add(1) }
    }

    /// What is inside, to be stored where `None` is 0.
    #[inline(always)]
    pub(in crate::mm) const fn inside(self) -> u32 {
        self.0.get()
    }
    /// The frame, or none, that was stored so.
    ///
    /// # Safety
    /// `raw` is the `inside` of a frame, or 0.
    #[inline(always)]
    pub(in crate::mm) const unsafe fn from_inside(raw: u32) -> Option<Self> {
        match NonZeroU32::new(raw) {
            Some(raw) => Some(Self(raw)),
            None => None,
        }
    }

    /// The frame numbered `pfn`, which the caller knows to have a descriptor.
    #[inline]
    const fn assume(pfn: Pfn) -> Self {
        match NonZeroU32::new(pfn.get().wrapping_add(BIAS)) {
            Some(raw) => Self(raw),
            None => unreachable!(),
        }
    }

    /// The frame whose inside is `raw`, in the same block of the largest order.
    #[inline]
    const fn with_raw(self, raw: u32) -> Self {
        // SAFETY: the blocks of the largest order start at multiples of it, none at zero.
        Self(unsafe { NonZeroU32::new_unchecked(raw) })
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Frame({:#x})", u64::from(self.pfn().get()) << PAGE_SHIFT)
    }
}
