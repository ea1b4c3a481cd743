//! Slabs: blocks of pages cut into objects of one cache (Linux: struct slab, mm/slab.h).
//!
//! What is known about it lies in its frame descriptors. They are marked as those of
//! a compound page are: the head with `HEAD`, each tail with `TAIL` and the head in
//! `prev`. All have `SLAB` and the cache in `owner`, so that a free finds its cache
//! from any frame without a detour over the head. The head has the number of objects
//! in use and the first free one in `mapcount`, and the node's list in `next` and `prev`.
//!
//! Free objects form a list by their numbers. A link is stored in the free object,
//! mixed with the cache's key and its own address, so a stray write is found when
//! the link is next followed (Linux: SLAB_FREELIST_HARDENED).

use super::caches::nr_nodes;
use super::debug;
use super::flags::SlabFlags;
use super::freelist;
use super::kmem_cache::{RawCache, mix_link};
use super::memory::{self, EndPadding, Slots};
use super::sheaf::SheafSlot;
use crate::addr::{Order, VirtAddr};
use crate::mm::alloc_pages;
use crate::mm::gfp::Gfp;
use crate::mm::mmzone::NodeId;
use crate::mm::page::{Frame, PageFlags, PageType};
use crate::mm::page_alloc::{self, block_order, compound_head};
use core::panic::Location;

/// The end of a freelist.
pub(super) const END: u16 = u16::MAX;
/// The link word of an object that lies free in a sheaf, in builds that mark those.
const IN_SHEAF: u64 = END as u64 - 1;
/// The link word of an object that is allocated, in builds that mark those. Its user
/// may write any part of it: no byte by itself tells it from a free object's.
const LIVE: u64 = 0x4c49_5645_4c49_5645;

/// A slab, by its head frame.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Slab(Frame);

impl Slab {
    /// The slab that the byte at `at` lies in.
    pub fn containing(at: VirtAddr) -> Option<Self> {
        let frame = Frame::from_virt(at)?;
        let in_slab = frame.page().is_slab();
        in_slab.then(|| Self(compound_head(frame)))
    }

    /// The slab of `cache` that the byte at `at` lies in. Nothing but descriptors is read, so `at`
    /// may be any number, and its page may be freed meanwhile.
    pub fn of_cache(cache: &RawCache, at: VirtAddr) -> Option<Self> {
        Self::containing(at)
            .filter(|slab| slab.0.page().owner() == core::ptr::from_ref(cache).addr())
    }

    /// Makes a slab of `cache`, with all objects free and constructed, on no list; of
    /// `node`'s memory first, if that is given. Falls back to the smallest order where
    /// memory is short. Nobody else may hold a lock; masks and flags must allow what
    /// `gfp` allows.
    pub fn allocate(cache: &'static RawCache, node: Option<NodeId>, gfp: Gfp) -> Option<Self> {
        let layout = cache.layout();
        let gfp = cache.page_gfp(gfp);
        let pages = |gfp: Gfp, order: Order| match node {
            Some(node) => alloc_pages::alloc_pages_node(node, gfp, order),
            None => alloc_pages::alloc_pages(gfp, order),
        };
        let (frame, order) = if layout.order > layout.min_order {
            let light = (gfp | Gfp::__GFP_NOWARN | Gfp::__GFP_NORETRY)
                & !(Gfp::__GFP_NOFAIL | Gfp::__GFP_DIRECT_RECLAIM);
            match pages(light, layout.order) {
                Some(frame) => (frame, layout.order),
                None => (pages(gfp, layout.min_order)?, layout.min_order),
            }
        } else {
            (pages(gfp, layout.order)?, layout.order)
        };
        let owner = memory::to_owner(cache);
        for part in frame.block(order) {
            let page = part.page();
            page.set_owner(owner);
            if part == frame {
                page.add_type(PageType::Slab, PageFlags::HEAD);
            } else {
                page.set_prev(Some(frame));
                page.add_type(PageType::Slab, PageFlags::TAIL);
            }
        }
        let slab = Self(frame);
        let slots = slab.slots(cache);
        if cache.ctor().is_some() || cache.flags().intersects(SlabFlags::DEBUG) {
            (0..slots.count()).for_each(|index| cache.prepare(slab, &slots, index));
            debug::prepare_end(cache, slab);
        }
        let first = freelist::link(cache, &slots);
        slab.set_counters(0, first);
        Some(slab)
    }

    /// Gives the pages of an empty slab that is on no list back.
    pub fn release(self) {
        assert!(self.in_use() == 0, "release of {self:?}, which has objects in use");
        let order = self.order();
        self.0.page().set_slab_word(0);
        for part in self.0.block(order) {
            part.page().clear_type(PageFlags::HEAD | PageFlags::TAIL);
            part.page().set_owner(0);
        }
        // SAFETY: allocated as this slab, which has no objects and is on no list.
        unsafe { page_alloc::free_pages(self.0, order) };
    }

    /// Head frame.
    pub fn frame(self) -> Frame {
        self.0
    }

    /// Takes it for a slab: it came off a list of slabs.
    pub fn from_frame(frame: Frame) -> Self {
        debug_assert!(frame.page().is_slab() && frame.page().flags().contains(PageFlags::HEAD));
        Self(frame)
    }

    /// The node whose memory it is; the first where the slab allocator knows no other.
    pub fn node(self) -> NodeId {
        if nr_nodes() == 1 { NodeId::FIRST } else { self.0.zone().node() }
    }

    /// log2 of its pages.
    pub fn order(self) -> Order {
        block_order(self.0)
    }

    /// Cache of the slab, from the head's descriptor.
    pub fn cache(self) -> &'static RawCache {
        // SAFETY: frames are marked SLAB with their owner set, for as long as the
        // cache has slabs; a cache with slabs is not destroyed.
        unsafe { memory::from_owner(self.0.page().owner()) }
    }

    /// Memory of the slab. `cache` is its cache.
    #[inline]
    pub fn slots(self, cache: &RawCache) -> Slots {
        let layout = cache.layout();
        assert!(self.0.page().owner() == core::ptr::from_ref(cache).addr());
        // SAFETY: its pages belong to the slab, whose cache has this layout, and hold
        // that many objects.
        unsafe { Slots::new(self.0.virt(), layout, layout.objects(self.order())) }
    }

    /// The bytes behind the last object. `cache` is its cache.
    pub fn end_padding(self, cache: &RawCache) -> EndPadding {
        assert!(self.0.page().owner() == core::ptr::from_ref(cache).addr());
        let (layout, order) = (cache.layout(), self.order());
        let used = u32::from(layout.objects(order)) * layout.size;
        // SAFETY: its pages belong to the slab, and its objects end there.
        unsafe { EndPadding::new(self.0.virt() + used as usize, order.bytes() as u32 - used) }
    }

    /// Number of allocated objects.
    pub fn in_use(self) -> u16 {
        (self.0.page().slab_word() >> 16) as u16
    }

    /// The first free object; `END` if there is none.
    pub fn first_free(self) -> u16 {
        self.0.page().slab_word() as u16
    }

    fn set_counters(self, in_use: u16, first_free: u16) {
        self.0.page().set_slab_word(u32::from(in_use) << 16 | u32::from(first_free));
    }

    /// Opens it, to take objects or to put some back. The node's lock is held until
    /// `Open::close`, or nobody else knows the slab.
    pub fn open(self, cache: &RawCache) -> Open<'_> {
        Open {
            slab: self,
            cache,
            slots: self.slots(cache),
            key: cache.key(),
            in_use: self.in_use().into(),
            free: self.first_free().into(),
        }
    }

    /// The object after `index` on the freelist.
    pub fn follow(self, cache: &RawCache, slots: &Slots, index: u16) -> u16 {
        let next = cache.decode(slots.address(index), slots.link(index));
        if next < u64::from(slots.count()) || next == u64::from(END) {
            return next as u16;
        }
        let object = slots.address(index);
        panic!(
            "slab {}: freelist of {self:?} corrupted: object {object} holds no link",
            cache.name()
        );
    }

    /// Panics because the freelist is corrupted: it was left with `in_use` objects in use and
    /// `free` as the next free one. Objects that were taken from it still hold their links.
    #[cold]
    #[inline(never)]
    fn corrupted(self, cache: &RawCache, slots: &Slots, in_use: u32, free: u64) -> ! {
        // Names the object that holds no link, if there is one.
        self.is_free(cache, END);
        panic!(
            "slab {}: freelist of {self:?} corrupted: {in_use} of {} objects in use, next free {free}",
            cache.name(),
            slots.count(),
        );
    }

    /// The objects on the freelist, by their numbers; no more than there are. The node's
    /// lock is held.
    pub fn free_objects(self, cache: &RawCache) -> impl Iterator<Item = u16> {
        let slots = self.slots(cache);
        let first = Some(self.first_free()).filter(|&first| first != END);
        core::iter::successors(first, move |&at| {
            Some(self.follow(cache, &slots, at)).filter(|&next| next != END)
        })
        .take(usize::from(slots.count()))
    }

    /// Returns true if the object numbered `index` is on the freelist. The node's lock is held.
    pub fn is_free(self, cache: &RawCache, index: u16) -> bool {
        self.free_objects(cache).any(|free| free == index)
    }
}

/// Slab that is open for a series of allocations or frees. Its counts are written back when it
/// is closed.
pub(super) struct Open<'a> {
    slab: Slab,
    cache: &'a RawCache,
    slots: Slots,
    key: u64,
    in_use: u32,
    /// The next object to give. Anything else than a number and `END` was no link.
    free: u64,
}

impl Open<'_> {
    /// Takes an object out of it, if it has one.
    pub fn take(&mut self) -> Option<VirtAddr> {
        let object = self.next()?;
        self.in_use += 1;
        Some(object)
    }

    /// Fills `sheaf` out of it, as far as both reach.
    #[inline(always)]
    pub fn fill(&mut self, sheaf: &SheafSlot) {
        self.in_use += sheaf.fill(|| self.next());
    }

    #[inline(always)]
    fn next(&mut self) -> Option<VirtAddr> {
        if self.free >= u64::from(self.slots.count()) {
            return None;
        }
        let index = self.free as u16;
        let object = self.slots.address(index);
        self.free = mix_link(self.key, object, self.slots.link(index));
        Some(object)
    }

    /// Takes `object` back, and says whether it is one of this slab's.
    #[inline(always)]
    pub fn put(&mut self, object: VirtAddr, caller: &'static Location<'static>) -> bool {
        let Some(found) = self.slots.find(object) else { return false };
        if u64::from(found.index) == self.free || self.in_use == 0 {
            super::report::double_free(self.cache, object, caller)
        }
        self.slots.set_link_of(&found, mix_link(self.key, object, self.free));
        self.in_use -= 1;
        self.free = found.index.into();
        true
    }

    /// Writes down what the slab has now; the slab, and what it had before and has now.
    #[inline(always)]
    pub fn close(self) -> (Slab, Counts) {
        let Self { slab, cache, slots, in_use, free, .. } = self;
        let total = u32::from(slots.count());
        let none_left = free == u64::from(END);
        if none_left != (in_use == total) || free >= u64::from(total) && !none_left {
            slab.corrupted(cache, &slots, in_use, free);
        }
        let counts = Counts { was: slab.in_use().into(), now: in_use, total };
        slab.set_counters(in_use as u16, free as u16);
        (slab, counts)
    }
}

/// Numbers of allocated objects of a slab: before it was opened, now, and at most.
#[derive(Clone, Copy)]
pub(super) struct Counts {
    pub was: u32,
    pub now: u32,
    pub total: u32,
}

impl core::fmt::Debug for Slab {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "slab at {}", self.0.virt())
    }
}

/// Marks in the link words of objects outside of slabs, for builds with debug
/// assertions: an object is free in a sheaf, or allocated. They make every double
/// free certain to be found, and find writes to the word after free.
pub(super) mod mark {
    use super::{END, IN_SHEAF, LIVE, Location, RawCache, Slab, VirtAddr};
    use crate::mm::slab::report;

    /// `object` comes out of a sheaf or slab.
    pub fn allocated(cache: &RawCache, object: VirtAddr) {
        let Some(slab) = Slab::containing(object) else { report::lost_object(cache, object) };
        let slots = slab.slots(cache);
        let Some(index) = slots.index_of(object) else { report::lost_object(cache, object) };
        if cache.decode(object, slots.link(index)) > u64::from(END) {
            report::modified_after_free(cache, object);
        }
        slots.set_link(index, cache.encode(object, LIVE));
    }

    /// `object` is freed by `caller`, and has not been put anywhere yet.
    pub fn freed(cache: &RawCache, object: VirtAddr, caller: &'static Location<'static>) {
        let index = Slab::of_cache(cache, object)
            .and_then(|slab| Some((slab.slots(cache), slab.slots(cache).index_of(object)?)));
        let Some((slots, index)) = index else { report::invalid_free(cache, object, caller) };
        let link = slots.link_or_data(index).map(|word| cache.decode(object, word));
        if link.is_some_and(|link| link <= u64::from(END)) {
            report::double_free(cache, object, caller);
        }
        slots.set_link(index, cache.encode(object, IN_SHEAF));
    }
}
