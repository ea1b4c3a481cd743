//! The areas of the vmalloc range and what becomes of them: in use, lazily unmapped,
//! pooled, free (Linux: mm/vmalloc.c, struct vmap_node and vmap_pool).
//!
//! A freed area's translations are gone from the tables at once, but TLBs may hold
//! them. It waits on the lazy list until one flush serves for many, and with it wait its
//! addresses and its pages. Then a small area goes into the pool of its size, where the
//! next request of that size finds it at once; others leave the tree.
#![deny(unsafe_code)]

use super::VmFlags;
use super::area::{Backing, State, VmArea, VmallocInfo};
use super::lazy::{Held, SIZED_PAGES, SizedLists};
use super::memtype::Claims;
use super::page_chain::PageChain;
use super::purge::Freed;
use super::slot_page::SlotPage;
use super::slots::NIL;
use super::va_space::{AreaId, VaError, VaRequest, VaSpace};
use super::vm_area::Request;
use super::vmap_block::{BLOCK_PAGES, CurrentBlock};
use crate::addr::{PAGE_SHIFT, PAGE_SIZE, VirtAddr, VirtRange};
use crate::arch::{IrqMasked, NR_CPUS};
use crate::mm::init_mm::{self, TlbFlush};
use core::mem::ManuallyDrop;

/// The largest area that is pooled, the guard page included (Linux: MAX_VA_SIZE_PAGES).
const POOLED_PAGES: usize = 256;
/// Areas that are dealt with in one holding of the lock.
pub const BATCH: usize = 32;
/// Pages that are unmapped under the lock: to take it twice would cost more.
const UNMAP_AT_ONCE: u32 = SIZED_PAGES;

/// When lazily unmapped areas are purged.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Pages of addresses on the lazy list, and in the pools (Linux: lazy_max_pages).
    pub lazy_max_pages: usize,
    /// Pages of memory that stale translations may lead to.
    pub lazy_max_frames: usize,
}

/// Pages in areas, by the state of the area.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct VmallocStat {
    /// Pages mapped in areas in use.
    pub mapped: usize,
    /// Of these, pages of vmalloc (Linux: nr_vmalloc_pages).
    pub allocated: usize,
    /// Pages of addresses, guard pages included, that are lazily unmapped.
    pub lazy: usize,
    /// Pages of memory that stale translations of those may lead to: their own, which wait
    /// with them, or others'.
    pub lazy_frames: usize,
    /// Pages of addresses in the pools.
    pub pooled: usize,
    /// Pages that hold the records of all this.
    pub records: usize,
}

/// Areas on their way from the lazy list, and the flush that they wait for.
pub struct Purge {
    /// The first of those that are dealt with one by one.
    pub others: u32,
    /// To be done before anything else.
    pub owed: TlbFlush,
    /// What the others held, to be given back then.
    pub held: (PageChain, Claims),
}

/// Lazily unmapped areas that are dealt with one by one: large ones, and those with something
/// of their own to give back.
struct Others {
    head: u32,
    /// Pages of addresses, as [`VmallocStat::lazy`].
    lazy: usize,
    /// As [`VmallocStat::lazy_frames`].
    lazy_frames: usize,
}

impl Others {
    const NONE: Self = Self { head: NIL, lazy: 0, lazy_frames: 0 };

    fn push(&mut self, id: AreaId, range: VirtRange, area: &mut VmArea) {
        area.next = core::mem::replace(&mut self.head, id.get());
        self.lazy += range.len() / PAGE_SIZE;
        self.lazy_frames += area.nr_pages as usize;
    }
}

/// Areas of which a purge moves whole lists.
struct Flushing {
    areas: SizedLists,
    /// Pages of addresses, as [`VmallocStat::lazy`].
    lazy: usize,
    /// As [`VmallocStat::lazy_frames`].
    lazy_frames: usize,
}

/// What [`VmapAreas::start_purge`] found.
pub enum PurgeStart {
    /// No area is lazily unmapped.
    Nothing,
    /// Another CPU is at it.
    Busy,
    /// Flush, then [`VmapAreas::reclaim_sized`], and what that asks for.
    Areas(Purge),
}

/// What became of an area that was to be unmapped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unmap {
    /// No such area is in use.
    NotThere,
    /// It waits for a flush.
    Done,
    /// As `Done`, and enough wait now for a purge.
    Due,
    /// The caller is to unmap it.
    Claimed,
}

/// See the module's documentation.
// What is used each time comes first, where a short offset reaches it.
#[repr(C)]
pub struct VmapAreas {
    stat: VmallocStat,
    limits: Limits,
    /// What the areas on the lazy list wait for. A flush that is dropped is done then; this
    /// one ends with the machine.
    owed: ManuallyDrop<TlbFlush>,
    pub(super) held: Held,
    purging: bool,
    lazy: SizedLists,
    pools: [u32; POOLED_PAGES],
    others: Others,
    flushing: Flushing,
    /// By CPU, the block that its next few pages come from.
    pub(super) blocks: [Option<CurrentBlock>; NR_CPUS],
    pub(super) space: VaSpace<VmArea>,
}

/// How many of an area's pages vmalloc allocated: all or none.
#[inline(always)]
fn allocated(flags: VmFlags, nr_pages: u32) -> usize {
    if flags.contains(VmFlags::VM_ALLOC) { nr_pages as usize } else { 0 }
}

impl VmapAreas {
    /// No areas in `range`.
    pub const fn new(range: VirtRange, limits: Limits) -> Self {
        Self {
            space: VaSpace::new(range),
            held: Held::new(),
            lazy: SizedLists::new(),
            others: Others::NONE,
            flushing: Flushing { areas: SizedLists::new(), lazy: 0, lazy_frames: 0 },
            owed: ManuallyDrop::new(TlbFlush::NONE),
            pools: [NIL; POOLED_PAGES],
            stat: VmallocStat {
                mapped: 0,
                allocated: 0,
                lazy: 0,
                lazy_frames: 0,
                pooled: 0,
                records: 0,
            },
            limits,
            purging: false,
            blocks: [None; NR_CPUS],
        }
    }

    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// How many pages of addresses may wait for a purge.
    pub fn lazy_max(&self) -> usize {
        self.limits.lazy_max_pages
    }

    /// What a purge is about: how many areas, and from where to where they lie. `others` is
    /// the first of those that it deals with one by one.
    pub fn purging(&self, others: u32) -> (VirtRange, usize) {
        let (mut start, mut end, mut count) = (None::<VirtAddr>, None::<VirtAddr>, 0);
        let sized = self.flushing.areas.iter().map(|(_, list)| list.head);
        for head in sized.chain([others]) {
            let each = |range: VirtRange, _: &VmArea| {
                start = Some(start.map_or(range.start(), |at| at.min(range.start())));
                end = end.max(Some(range.end()));
            };
            count += self.each_of(head, each).0;
        }
        let start = start.unwrap_or(VirtAddr::new(0));
        (VirtRange::new(start, end.unwrap_or(start)), count)
    }

    pub fn stat(&self) -> VmallocStat {
        VmallocStat { records: self.space.pages_held(), ..self.stat }
    }

    /// Takes addresses of just that size from their pool for an area with `backing`; where it
    /// starts, or the backing.
    #[inline(always)]
    pub fn alloc_pooled(&mut self, want: Request, backing: Backing) -> Result<VirtAddr, Backing> {
        // By pages, the guard page included, less one.
        let Some(pool) = self.pools.get_mut(want.nr_pages as usize) else { return Err(backing) };
        let Some(id) = AreaId::new(*pool) else { return Err(backing) };
        let (range, area) = self.space.get_mut(id);
        // Areas of one size mostly ask for the same alignment.
        if !range.start().is_aligned(want.align) {
            return Err(backing);
        }
        *pool = area.next;
        area.flags = want.flags;
        area.state = State::Busy;
        area.nr_pages = want.nr_pages;
        area.dirty = 0;
        area.phys = want.phys;
        area.caller = want.caller;
        let none = core::mem::replace(&mut area.backing, backing);
        // `reclaim` took what was in it.
        core::mem::forget(none);
        self.space.note(id, range.start());
        self.stat.pooled -= want.nr_pages as usize + 1;
        self.stat.mapped += want.nr_pages as usize;
        self.stat.allocated += allocated(want.flags, want.nr_pages);
        Ok(range.start())
    }

    /// Finds addresses for an area. It takes `backing` over where it succeeds; where it starts.
    pub fn alloc(&mut self, want: &Request, backing: &mut Backing) -> Result<VirtAddr, VaError> {
        match self.alloc_pooled(*want, core::mem::take(backing)) {
            Ok(start) => return Ok(start),
            Err(unused) => *backing = unused,
        }
        let size = (want.nr_pages as usize + 1) * PAGE_SIZE;
        let request = VaRequest { size, align: want.align, range: self.space.range() };
        let (_, range) = self.space.alloc(request, || VmArea {
            flags: want.flags,
            state: State::Busy,
            next: NIL,
            nr_pages: want.nr_pages,
            dirty: 0,
            phys: want.phys,
            caller: want.caller,
            backing: core::mem::take(backing),
        })?;
        self.stat.mapped += want.nr_pages as usize;
        self.stat.allocated += allocated(want.flags, want.nr_pages);
        Ok(range.start())
    }

    /// Takes a page for records (see [`VaSpace::donate`]).
    pub fn donate(&mut self, page: SlotPage) -> Result<(), SlotPage> {
        self.space.donate(page)
    }

    /// Gives back a page that holds no record.
    pub fn shrink(&mut self) -> Option<SlotPage> {
        self.space.shrink()
    }

    /// Unmaps the area in use that starts at `va` and is one of `kinds`, and puts it on the
    /// lazy list. A large one is claimed instead: the caller, the only one who gets
    /// it, unmaps it without this lock and [retires](Self::retire) it.
    #[inline(always)]
    pub fn unmap(&mut self, irq: &IrqMasked, va: VirtAddr, kinds: VmFlags) -> Unmap {
        let Some((id, range, area)) = self.space.starting(va) else { return Unmap::NotThere };
        if area.state != State::Busy || !area.flags.intersects(kinds) {
            return Unmap::NotThere;
        }
        if area.nr_pages > UNMAP_AT_ONCE || area.flags.contains(VmFlags::VM_FLUSH_RESET_PERMS) {
            area.state = State::Unmapping;
            return Unmap::Claimed;
        }
        area.state = State::Unused;
        if self.held.gather(area) {
            self.lazy.push(id, area);
        } else {
            self.others.push(id, range, area);
        }
        let nr_pages = area.nr_pages as usize;
        let allocated = allocated(area.flags, area.nr_pages);
        let used = VirtRange::from_size(va, nr_pages << PAGE_SHIFT);
        self.owed.absorb(init_mm::unmap_masked(irq, used));
        if self.count_lazy(range.len() / PAGE_SIZE, nr_pages, allocated) {
            Unmap::Due
        } else {
            Unmap::Done
        }
    }

    /// The claimed area that starts at `va`.
    pub fn claimed(&mut self, va: VirtAddr) -> Option<(AreaId, VirtRange, VmFlags)> {
        let (id, range, area) = self.space.starting(va)?;
        (area.state == State::Unmapping).then_some((id, range, area.flags))
    }

    /// Adds `flags` to the area of vmalloc in use that maps all of `range`; whether there is
    /// one.
    pub fn mark(&mut self, range: VirtRange, flags: VmFlags) -> bool {
        let Some(id) = self.space.find(range.start()) else { return false };
        let (whole, area) = self.space.get_mut(id);
        let used = VirtRange::new(whole.start(), whole.end() - PAGE_SIZE);
        let found = area.state == State::Busy
            && area.flags.contains(VmFlags::VM_ALLOC)
            && used.contains_range(range);
        if found {
            area.flags |= flags;
        }
        found
    }

    /// Puts an area whose tables are cleared on the lazy list; whether that is
    /// long enough now for a purge.
    pub fn retire(&mut self, id: AreaId, owed: TlbFlush) -> bool {
        let (range, area) = self.space.get_mut(id);
        area.state = State::Unused;
        self.others.push(id, range, area);
        let nr_pages = area.nr_pages as usize;
        self.owed.absorb(owed);
        let allocated = allocated(area.flags, area.nr_pages);
        self.count_lazy(range.len() / PAGE_SIZE, nr_pages, allocated)
    }

    /// An area of `pages` pages, of which `mapped` were mapped and `allocated` are its own, is
    /// lazily unmapped; whether a purge is due.
    #[inline(always)]
    fn count_lazy(&mut self, pages: usize, mapped: usize, allocated: usize) -> bool {
        let VmallocStat { mapped: all, allocated: own, lazy, lazy_frames, .. } = &mut self.stat;
        *all -= mapped;
        *own -= allocated;
        *lazy += pages;
        *lazy_frames += mapped;
        *lazy > self.limits.lazy_max_pages || *lazy_frames > self.limits.lazy_max_frames
    }

    /// Takes all areas off the lazy lists.
    pub fn start_purge(&mut self) -> PurgeStart {
        if self.purging {
            return PurgeStart::Busy;
        }
        if self.lazy.are_empty() && self.others.head == NIL && self.owed.is_none() {
            return PurgeStart::Nothing;
        }
        self.purging = true;
        let others = core::mem::replace(&mut self.others, Others::NONE);
        let flushing = &mut self.flushing;
        flushing.lazy = self.stat.lazy - others.lazy;
        flushing.lazy_frames = self.stat.lazy_frames - others.lazy_frames;
        while let Some(list) = self.lazy.take() {
            flushing.areas.put(list);
        }
        let owed = core::mem::replace(&mut *self.owed, TlbFlush::NONE);
        PurgeStart::Areas(Purge { others: others.head, owed, held: self.held.take() })
    }

    /// Reclaims the areas after the flush that wait in lists by size: moves the lists into the
    /// pools or, where those would hold too much, puts them before `others`. Whether
    /// that was all; the purge is over then. Else [`reclaim`](Self::reclaim) comes next.
    pub fn reclaim_sized(&mut self, others: &mut u32) -> bool {
        let Flushing { areas, lazy, lazy_frames } = &mut self.flushing;
        let fit = self.stat.pooled + *lazy <= self.limits.lazy_max_pages;
        while let Some((pages, list)) = areas.take() {
            let before = if fit { &mut self.pools[pages] } else { &mut *others };
            if let Some(tail) = AreaId::new(list.tail) {
                self.space.get_mut(tail).1.next = core::mem::replace(before, list.head);
            }
        }
        if fit {
            self.stat.lazy -= *lazy;
            self.stat.lazy_frames -= *lazy_frames;
            self.stat.pooled += *lazy;
        }
        self.purging = *others != NIL;
        !self.purging
    }

    /// Reclaims the other areas after that, a few at a time; what they held is put into
    /// `out`. Whether areas are left; after the last, and once that is given back,
    /// [`end_purge`](Self::end_purge).
    pub fn reclaim(&mut self, head: &mut u32, out: &mut Freed) -> bool {
        let VmallocStat { mut lazy, mut lazy_frames, mut pooled, .. } = self.stat;
        let (mut at, mut left) = (AreaId::new(*head), BATCH);
        while let Some(id) = at
            && left > 0
        {
            left -= 1;
            let (range, area) = self.space.get_mut(id);
            let pages = range.len() / PAGE_SIZE;
            at = AreaId::new(area.next);
            out.add(core::mem::take(&mut area.backing));
            lazy_frames -= area.nr_pages as usize;
            lazy -= pages;
            if pages <= POOLED_PAGES && pooled + pages <= self.limits.lazy_max_pages {
                area.next = core::mem::replace(&mut self.pools[pages - 1], id.get());
                pooled += pages;
            } else {
                drop(self.space.free(id));
            }
        }
        self.stat = VmallocStat { lazy, lazy_frames, pooled, ..self.stat };
        *head = at.map_or(NIL, AreaId::get);
        at.is_some()
    }

    /// The purge is over.
    pub fn end_purge(&mut self) {
        self.purging = false;
    }

    /// Frees pooled addresses, a few at a time. Whether some are left.
    pub fn drain_pools(&mut self) -> bool {
        let mut budget = BATCH;
        for pages in 1..=POOLED_PAGES {
            while let Some(id) = AreaId::new(self.pools[pages - 1]) {
                if budget == 0 {
                    return true;
                }
                budget -= 1;
                let (area, _page) = self.space.free(id);
                self.pools[pages - 1] = area.next;
                self.stat.pooled -= pages;
            }
        }
        false
    }

    /// Adds to what the next flush is for.
    #[inline(always)]
    pub(super) fn owe(&mut self, owed: TlbFlush) {
        self.owed.absorb(owed);
    }

    /// The area in use that maps `va` to pages that may be read, and its last address: what
    /// [`vread`](super::vread) may look at.
    pub fn readable(&self, va: VirtAddr) -> Option<VirtRange> {
        let id = self.space.find(va)?;
        let (range, area) = (self.space.area(id), self.space.get(id));
        let memory = VmFlags::VM_ALLOC | VmFlags::VM_MAP | VmFlags::VM_MAP_RAM;
        (area.state == State::Busy && area.flags.intersects(memory)).then_some(range)
    }

    /// The first area in use that starts at `va` or above.
    pub fn info(&self, va: VirtAddr) -> Option<VmallocInfo> {
        let mut id = self.space.at_or_above(va)?;
        loop {
            let (range, area) = (self.space.area(id), self.space.get(id));
            if area.state == State::Busy {
                let VmArea { flags, nr_pages, phys, caller, .. } = *area;
                return Some(VmallocInfo { range, flags, nr_pages, phys, caller });
            }
            id = self.space.at_or_above(range.end())?;
        }
    }

    /// Checks the space, the lists and the counts, while no purge is under way.
    ///
    /// # Panics
    /// Where an invariant is broken.
    pub fn validate(&self) {
        self.space.validate();
        assert!(!self.purging, "validate during a purge");
        let mut stat = VmallocStat::default();
        let mut unused = 0;
        for (_, range, area) in self.space.iter() {
            let pages = range.len() / PAGE_SIZE;
            assert!((area.nr_pages as usize) < pages, "{range:?} has no guard page");
            match area.state {
                State::Busy | State::Unmapping => {
                    stat.mapped += area.nr_pages as usize;
                    if area.flags.contains(VmFlags::VM_ALLOC) {
                        stat.allocated += area.nr_pages as usize;
                    }
                }
                State::Unused => unused += 1,
            }
            match &area.backing {
                Backing::Pages(chain) => {
                    let bytes: usize = chain.heads().blocks().map(|(_, bytes)| bytes).sum();
                    assert_eq!(bytes, chain.len() as usize * PAGE_SIZE);
                    assert_eq!(chain.len(), area.nr_pages, "pages of {range:?}");
                }
                Backing::Io(_) => assert!(area.flags.contains(VmFlags::VM_IOREMAP)),
                Backing::None => {}
            }
        }
        let others = self.each_of(self.others.head, |range, area| {
            stat.lazy += range.len() / PAGE_SIZE;
            stat.lazy_frames += area.nr_pages as usize;
        });
        assert_eq!((stat.lazy, stat.lazy_frames), (self.others.lazy, self.others.lazy_frames));
        let (mut lazy, mut pooled, mut held) = (others.0, 0, 0);
        for (pages, list) in self.lazy.iter() {
            let (len, last) = self.each_of(list.head, |range, area| {
                assert_eq!((range.len() / PAGE_SIZE, area.nr_pages as usize), (pages + 1, pages));
                assert!(matches!(area.backing, Backing::None), "{range:?} kept what it held");
                stat.lazy += pages + 1;
                stat.lazy_frames += pages;
                held += allocated(area.flags, area.nr_pages);
            });
            assert_eq!(last, list.tail, "the end of the list of {pages} pages");
            lazy += len;
        }
        assert_eq!(held, self.held.pages().heads().count(), "pages that wait");
        assert_eq!(held, self.held.pages().len() as usize, "pages that wait, as counted");
        assert!(self.flushing.areas.are_empty(), "a purge left areas behind");
        for (i, head) in self.pools.iter().enumerate() {
            let (len, _) = self.each_of(*head, |range, area| {
                assert_eq!(range.len(), (i + 1) * PAGE_SIZE, "in the pool of another size");
                assert!(matches!(area.backing, Backing::None), "{range:?} in a pool");
                stat.pooled += i + 1;
            });
            pooled += len;
        }
        assert_eq!(lazy + pooled, unused, "areas on no list");
        assert_eq!(stat, self.stat);
        let used = self.space.iter().any(|(.., area)| area.dirty > 0);
        assert!(lazy > 0 || used || self.owed.is_none(), "a flush is owed for what was unmapped");
        for block in self.blocks.iter().flatten() {
            let area = self.space.get(block.id);
            assert!(area.flags.contains(VmFlags::VM_MAP_RAM) && area.state == State::Busy);
            assert!(area.dirty <= block.next && block.next <= BLOCK_PAGES, "{block:?}");
        }
    }

    /// Calls `each` with the areas of the list that begins with `head`; how many they are, and
    /// the last.
    fn each_of(&self, mut head: u32, mut each: impl FnMut(VirtRange, &VmArea)) -> (usize, u32) {
        let (mut len, mut last) = (0, NIL);
        while let Some(id) = AreaId::new(head) {
            let area = self.space.get(id);
            assert_eq!(area.state, State::Unused, "{id:?} is on a list");
            each(self.space.area(id), area);
            len += 1;
            (last, head) = (head, area.next);
        }
        (len, last)
    }
}
