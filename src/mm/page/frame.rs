//! Frames: numbers of pages that have a descriptor.

use super::{BLOCK_ISOLATED, BLOCK_OFFLINE, Page};
use crate::addr::{Order, PAGE_SHIFT, Pfn, PhysAddr, VirtAddr};
use crate::arch;
use crate::mm::ids::{Migratetype, PcpColumn, ZoneId};
use core::fmt;
use core::num::NonZeroU32;
use core::sync::atomic::Ordering::Relaxed;

/// A frame that has a descriptor. Inside is its number plus `BIAS`, so that an
/// `Option<Frame>` is as small, and blocks are as aligned as by their numbers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Frame(pub(super) NonZeroU32);

/// Not zero, and a multiple of the largest block.
const BIAS: u32 = Order::MAX.pages();
const _: () = assert!(Pfn::LIMIT.get().checked_add(BIAS - 1).is_some());

impl Frame {
    /// Variant of `from_virt` for a caller that knows that there is a descriptor.
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
    /// Number of the frame.
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
    /// Address of its first byte in the linear map (Linux: page_address).
    #[inline]
    #[must_use]
    pub fn virt(self) -> VirtAddr {
        arch::phys_to_virt(self.phys())
    }
    /// Descriptor of the frame.
    #[inline]
    #[must_use]
    pub fn page(self) -> &'static Page {
        // SAFETY: a `Frame` is made only for a number whose descriptor is mapped,
        // which it stays; its fields are atomics, for which any bytes are valid.
        unsafe { &*self.page_ptr() }
    }
    /// Address of its descriptor.
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
            PcpColumn::from_byte(self.align_down(Order::PAGEBLOCK).after::<1>().block.load(Relaxed))
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
        self.set_block(block, PcpColumn::new(self.zone(), mt));
    }
    fn set_block(self, block: u8, column: Option<PcpColumn>) {
        debug_assert!(self.align_down(Order::PAGEBLOCK) == self);
        self.page().block.store(block, Relaxed);
        self.after::<1>().block.store(PcpColumn::to_byte(column), Relaxed);
    }
    /// The descriptor `N` after that of the frame, which is the first of a pageblock.
    #[inline(always)]
    fn after<const N: usize>(self) -> &'static Page {
        const { assert!(N < Order::PAGEBLOCK.pages() as usize) }
        debug_assert!(self.align_down(Order::PAGEBLOCK) == self);
        // SAFETY: as `page`, of another frame of the pageblock.
        unsafe { &*self.page_ptr().wrapping_add(N) }
    }

    /// Returns the zone that the frame lies in (Linux: page_zonenum, page_to_nid).
    #[inline]
    pub(crate) fn zone(self) -> ZoneId {
        ZoneId::from_bits(self.align_down(Order::MAX).after::<2>().block.load(Relaxed))
    }
    /// Sets the zone of the block of the largest order that starts here. Before any of its frames
    /// is the allocator's.
    pub(in crate::mm) fn set_zone(self, zone: ZoneId) {
        debug_assert!(self.align_down(Order::MAX) == self);
        self.after::<2>().block.store(zone.bits(), Relaxed);
    }

    /// Number by which it is stored, where `None` is 0.
    #[inline(always)]
    pub(in crate::mm) const fn to_raw(self) -> u32 {
        self.0.get()
    }
    /// Frame that was stored as `raw`; `None` for 0.
    ///
    /// # Safety
    /// `raw` came from [`Frame::to_raw`], or is 0.
    #[inline(always)]
    pub(in crate::mm) const unsafe fn from_raw(raw: u32) -> Option<Self> {
        match NonZeroU32::new(raw) {
            Some(raw) => Some(Self(raw)),
            None => None,
        }
    }

    /// The frame numbered `pfn`.
    ///
    /// # Safety
    /// It has a descriptor.
    #[inline]
    pub(in crate::mm) const unsafe fn new_unchecked(pfn: Pfn) -> Self {
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
