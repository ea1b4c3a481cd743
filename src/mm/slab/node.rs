//! A cache's share of a node: partial slabs and spare sheaves (Linux: struct
//! kmem_cache_node, mm/slab.h).
//!
//! Slabs with free objects are on the partial list, empty ones among them; full
//! slabs are on no list and come back with their first free; of caches that keep something
//! beside their objects, on a list of their own. All of it is guarded by the node's lock, which
//! CPUs take for a batch of objects at a time.
#![deny(unsafe_code)]

use super::barn::Barn;
use super::flags::SlabFlags;
use super::kmem_cache::RawCache;
use super::sheaf::SheafSlot;
use super::slab::{Counts, END, Open, Slab};
use crate::addr::VirtAddr;
use crate::mm::page::Frame;
use core::panic::Location;

/// A doubly linked list of slabs through their head frames.
pub(super) struct SlabList {
    first: Option<Frame>,
    last: Option<Frame>,
    len: usize,
}

impl SlabList {
    pub const fn new() -> Self {
        Self { first: None, last: None, len: 0 }
    }

    pub fn first(&self) -> Option<Slab> {
        self.first.map(Slab::from_frame)
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn push_back(&mut self, slab: Slab) {
        let frame = slab.frame();
        frame.page().set_next(None);
        frame.page().set_prev(self.last);
        match self.last {
            Some(last) => last.page().set_next(Some(frame)),
            None => self.first = Some(frame),
        }
        self.last = Some(frame);
        self.len += 1;
    }

    pub fn remove(&mut self, slab: Slab) {
        let page = slab.frame().page();
        let (next, prev) = (page.next(), page.prev());
        let here = Some(slab.frame());
        let linked = match prev {
            Some(prev) => prev.page().next() == here,
            None => self.first == here,
        } && match next {
            Some(next) => next.page().prev() == here,
            None => self.last == here,
        };
        assert!(linked, "slab {}: list corrupted at {slab:?}", slab.cache().name());
        match prev {
            Some(prev) => prev.page().set_next(next),
            None => self.first = next,
        }
        match next {
            Some(next) => next.page().set_prev(prev),
            None => self.last = prev,
        }
        page.set_next(None);
        page.set_prev(None);
        self.len -= 1;
    }

    pub fn pop(&mut self) -> Option<Slab> {
        let slab = self.first()?;
        self.remove(slab);
        Some(slab)
    }

    pub fn iter(&self) -> impl Iterator<Item = Slab> + use<> {
        core::iter::successors(self.first, |frame| frame.page().next()).map(Slab::from_frame)
    }
}

/// See the module's documentation.
pub(super) struct Node {
    pub partial: SlabList,
    /// Full slabs, of caches with `DEBUG_METADATA`, so that all objects can be checked (Linux:
    /// CONFIG_SLUB_DEBUG).
    pub full: SlabList,
    pub barn: Barn,
    /// Slabs, partial, full and empty.
    pub slabs: usize,
    /// Objects in all slabs, in use and free.
    pub total: usize,
    /// Objects that are out of their slabs: allocated, or in a sheaf.
    pub in_use: usize,
}

impl Node {
    pub const fn new() -> Self {
        let (partial, full) = (SlabList::new(), SlabList::new());
        Self { partial, full, barn: Barn::new(), slabs: 0, total: 0, in_use: 0 }
    }

    /// Takes one object from a partial slab.
    pub fn take_one(&mut self, cache: &RawCache) -> Option<VirtAddr> {
        let mut open = self.partial.first()?.open(cache);
        let object = open.take();
        self.close_taken(cache, open);
        object
    }

    /// Fills `sheaf` from partial slabs as far as they reach.
    pub fn refill(&mut self, cache: &RawCache, sheaf: &SheafSlot) {
        while sheaf.room() > 0
            && let Some(slab) = self.partial.first()
        {
            let mut open = slab.open(cache);
            open.fill(sheaf);
            self.close_taken(cache, open);
        }
    }

    /// Closes the first partial slab, which gave objects.
    fn close_taken(&mut self, cache: &RawCache, open: Open<'_>) {
        let (slab, Counts { was, now, total }) = open.close();
        assert!(now > was, "slab {}: full {slab:?} on the partial list", cache.name());
        self.in_use += (now - was) as usize;
        if now == total {
            self.partial.remove(slab);
            self.keep_full(cache, slab);
        }
    }

    /// Remembers a full slab if the cache asks for that.
    fn keep_full(&mut self, cache: &RawCache, slab: Slab) {
        if cache.flags().intersects(SlabFlags::DEBUG_METADATA) {
            self.full.push_back(slab);
        }
    }

    /// Takes in a new slab, of which the maker may have taken objects.
    pub fn add(&mut self, cache: &RawCache, slab: Slab) {
        self.slabs += 1;
        self.total += usize::from(slab.slots(cache).count());
        self.in_use += usize::from(slab.in_use());
        if slab.first_free() != END {
            self.partial.push_back(slab);
        } else {
            self.keep_full(cache, slab);
        }
    }

    /// Takes `object` back into its slab. If that leaves more empty slabs than the
    /// cache keeps, the slab goes to `discard`.
    pub fn put(
        &mut self,
        cache: &RawCache,
        object: VirtAddr,
        caller: &'static Location<'static>,
        discard: &mut SlabList,
    ) {
        let mut open = open_for(cache, object, caller);
        if !open.put(object, caller) {
            super::report::invalid_free(cache, object, caller)
        }
        self.close_put(cache, open, discard);
    }

    /// Puts objects of this node's out of `sheaf` back into their slabs, until `rest` are
    /// left. Those of one slab that come in a row find it open, so that it is looked up and
    /// put on its list once for all of them.
    pub fn flush(
        &mut self,
        cache: &RawCache,
        sheaf: &SheafSlot,
        rest: u32,
        caller: &'static Location<'static>,
        discard: &mut SlabList,
    ) {
        let mut left = sheaf.count();
        while left > rest
            && let Some(object) = sheaf.top()
        {
            let mut open = open_for(cache, object, caller);
            sheaf.drain(|object| open.put(object, caller));
            let before = left;
            left = sheaf.count();
            if left == before {
                super::report::invalid_free(cache, object, caller)
            }
            self.close_put(cache, open, discard);
        }
    }

    /// Closes a slab that took objects back.
    fn close_put(&mut self, cache: &RawCache, open: Open<'_>, discard: &mut SlabList) {
        let (slab, Counts { was, now, total }) = open.close();
        self.in_use -= (was - now) as usize;
        let was_full = was == total;
        if was_full && cache.flags().intersects(SlabFlags::DEBUG_METADATA) {
            self.full.remove(slab);
        }
        if now == 0 && self.partial.len() >= cache.layout().min_partial() {
            if !was_full {
                self.partial.remove(slab);
            }
            self.discard(slab, total, discard);
        } else if was_full {
            self.partial.push_back(slab);
        }
    }

    /// Moves all empty slabs to `discard`.
    pub fn discard_empty(&mut self, cache: &RawCache, discard: &mut SlabList) {
        let mut at = self.partial.first;
        while let Some(frame) = at {
            at = frame.page().next();
            let slab = Slab::from_frame(frame);
            if slab.in_use() == 0 {
                self.partial.remove(slab);
                self.discard(slab, slab.slots(cache).count().into(), discard);
            }
        }
    }

    fn discard(&mut self, slab: Slab, total: u32, discard: &mut SlabList) {
        self.slabs -= 1;
        self.total -= total as usize;
        discard.push_back(slab);
    }
}

/// Opens the slab of `cache` that `object`, which `caller` freed, lies in.
fn open_for<'a>(
    cache: &'a RawCache,
    object: VirtAddr,
    caller: &'static Location<'static>,
) -> Open<'a> {
    let slab = Slab::of_cache(cache, object);
    let Some(slab) = slab else { super::report::invalid_free(cache, object, caller) };
    slab.open(cache)
}

/// Gives the slabs on `discard` back to the page allocator. No lock of a higher rank
/// than the node's may be held, nor that.
#[inline]
pub(super) fn release_all(discard: SlabList) {
    if discard.first.is_some() {
        release_some(discard);
    }
}

#[cold]
#[inline(never)]
fn release_some(mut discard: SlabList) {
    while let Some(slab) = discard.pop() {
        if slab.cache().flags().contains(SlabFlags::TYPESAFE_BY_RCU) {
            super::typesafe::release_later(slab);
        } else {
            slab.release();
        }
    }
}
