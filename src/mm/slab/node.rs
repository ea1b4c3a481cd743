//! A cache's share of a node: partial slabs and spare sheaves (Linux: struct
//! kmem_cache_node, mm/slab.h).
//!
//! Slabs with free objects are on the partial list, empty ones among them; full
//! slabs are on no list and come back with their first free; of caches that remember
//! their users, on a list of their own. All of it is guarded by the node's lock, which
//! CPUs take for a batch of objects at a time.
#![deny(unsafe_code)]

use super::barn::Barn;
use super::flags::SlabFlags;
use super::kmem_cache::RawCache;
use super::sheaf::Sheaf;
use super::slab::{END, Open, Slab};
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
    /// Full slabs, of caches that remember their users (Linux: CONFIG_SLUB_DEBUG).
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
        let mut object = None;
        self.take(cache, 1, |o| object = Some(o));
        object
    }

    /// Fills `sheaf` from partial slabs as far as they reach.
    pub fn refill(&mut self, cache: &RawCache, sheaf: &Sheaf) {
        self.take(cache, sheaf.room(), |object| assert!(sheaf.push(object)));
    }

    fn take(&mut self, cache: &RawCache, want: u32, mut give: impl FnMut(VirtAddr)) {
        let mut left = want;
        while left > 0
            && let Some(slab) = self.partial.first()
        {
            let taken = slab.take(cache, left, &mut give);
            assert!(taken > 0, "slab {}: full {slab:?} on the partial list", cache.name());
            self.in_use += taken as usize;
            left -= taken;
            if slab.first_free() == END {
                self.partial.remove(slab);
                self.keep_full(cache, slab);
            }
        }
    }

    /// Remembers a full slab if the cache asks for that.
    fn keep_full(&mut self, cache: &RawCache, slab: Slab) {
        if cache.flags().contains(SlabFlags::STORE_USER) {
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
        let mut returns = Returns::new(self, cache, caller, discard);
        returns.put(object);
        returns.finish();
    }

    /// Takes a slab back that took `taken` objects.
    fn close(&mut self, cache: &RawCache, open: Open<'_>, discard: &mut SlabList) {
        let (slab, taken) = open.close();
        self.in_use -= usize::from(taken);
        let in_use = slab.in_use();
        let was_full = in_use + taken == slab.slots(cache).count();
        if was_full && cache.flags().contains(SlabFlags::STORE_USER) {
            self.full.remove(slab);
        }
        if in_use == 0 && self.partial.len() >= cache.layout().min_partial() {
            if !was_full {
                self.partial.remove(slab);
            }
            self.discard(cache, slab, discard);
        } else if was_full {
            self.partial.push_back(slab);
        }
    }

    /// Puts all of `sheaf` back into slabs.
    pub fn flush(
        &mut self,
        cache: &RawCache,
        sheaf: &Sheaf,
        caller: &'static Location<'static>,
        discard: &mut SlabList,
    ) {
        let mut returns = Returns::new(self, cache, caller, discard);
        while let Some(object) = sheaf.pop() {
            returns.put(object);
        }
        returns.finish();
    }

    /// Moves all empty slabs to `discard`.
    pub fn discard_empty(&mut self, cache: &RawCache, discard: &mut SlabList) {
        let mut at = self.partial.first;
        while let Some(frame) = at {
            at = frame.page().next();
            let slab = Slab::from_frame(frame);
            if slab.in_use() == 0 {
                self.partial.remove(slab);
                self.discard(cache, slab, discard);
            }
        }
    }

    fn discard(&mut self, cache: &RawCache, slab: Slab, discard: &mut SlabList) {
        self.slabs -= 1;
        self.total -= usize::from(slab.slots(cache).count());
        discard.push_back(slab);
    }
}

/// Objects on their way back into a node's slabs. Those of one slab that come in a row
/// find it open, so that it is looked up and put on its list once for all of them.
pub(super) struct Returns<'a> {
    node: &'a mut Node,
    cache: &'a RawCache,
    caller: &'static Location<'static>,
    discard: &'a mut SlabList,
    open: Option<Open<'a>>,
}

impl<'a> Returns<'a> {
    /// None so far; `finish` must follow. Slabs that are too many go to `discard`.
    pub fn new(
        node: &'a mut Node,
        cache: &'a RawCache,
        caller: &'static Location<'static>,
        discard: &'a mut SlabList,
    ) -> Self {
        Self { node, cache, caller, discard, open: None }
    }

    /// Takes `object` back into its slab.
    #[inline]
    pub fn put(&mut self, object: VirtAddr) {
        let caller = self.caller;
        if !self.open.as_mut().is_some_and(|open| open.put(object, caller)) {
            self.put_elsewhere(object);
        }
    }

    #[inline(never)]
    fn put_elsewhere(&mut self, object: VirtAddr) {
        self.close();
        let Self { cache, caller, .. } = *self;
        let slab = Slab::containing(object).filter(|slab| core::ptr::eq(slab.cache(), cache));
        let Some(slab) = slab else { super::report::invalid_free(cache, object, caller) };
        let open = self.open.insert(slab.open(cache));
        if !open.put(object, caller) {
            super::report::invalid_free(cache, object, caller)
        }
    }

    fn close(&mut self) {
        if let Some(open) = self.open.take() {
            self.node.close(self.cache, open, self.discard);
        }
    }

    /// Ends it: what the slabs hold is as the node says again.
    pub fn finish(mut self) {
        self.close();
    }
}

/// Gives the slabs on `discard` back to the page allocator. No lock of a higher rank
/// than the node's may be held, nor that.
pub(super) fn release_all(mut discard: SlabList) {
    while let Some(slab) = discard.pop() {
        slab.release();
    }
}
