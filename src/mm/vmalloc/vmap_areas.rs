//! The areas of the vmalloc range and what becomes of them: in use, lazily unmapped,
//! pooled, free (Linux: mm/vmalloc.c, struct vmap_node and vmap_pool).
//!
//! A freed area's translations are gone from the tables at once, but TLBs may hold
//! them. It waits on the lazy list until one flush serves for many, and with it wait its
//! addresses and its pages. Then a small area goes into the pool of its size, where the
//! next request of that size finds it at once; others leave the tree.
#![deny(unsafe_code)]

use super::VmFlags;
use super::area::{Backing, State, VmallocInfo, VmapArea};
use super::lazy::{Held, SIZED_PAGES, SizedLists};
use super::mapping;
use super::reclaim::{Flushing, Others};
use super::slot_page::SlotPage;
use super::va_space::{AreaId, VaError, VaRequest, VaSpace};
use super::vm_area::Request;
use super::vmap_block::CurrentBlock;
use crate::addr::{PAGE_SIZE, VirtAddr, VirtRange};
use crate::arch::{IrqMasked, NR_CPUS};
use crate::collections::slots::NIL;
use crate::mm::init_mm::TlbFlush;
use core::mem::ManuallyDrop;

/// The largest area that is pooled, the guard page included (Linux: MAX_VA_SIZE_PAGES).
pub(super) const POOLED_PAGES: usize = 256;
/// Pages that are unmapped under the lock: to take it twice would cost more.
const UNMAP_AT_ONCE: usize = SIZED_PAGES;
/// Pages of addresses that an area has more than it maps.
pub(super) const GUARD_PAGES: usize = 1;

/// Thresholds for purging lazily unmapped areas, and the number kept.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Pages of addresses on the lazy list.
    pub lazy_max_pages: usize,
    /// Pages of memory that wait with them.
    pub lazy_max_frames: usize,
    /// Pages of addresses in the pools (Linux: lazy_max_pages).
    pub pool_max_pages: usize,
}

/// Pages in areas, by the state of the area.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct VmallocStat {
    /// Pages mapped in areas in use.
    pub mapped: usize,
    /// Number of pages, among those, of vmalloc (Linux: nr_vmalloc_pages).
    pub allocated: usize,
    /// Pages of addresses, guard pages included, that are lazily unmapped.
    pub lazy: usize,
    /// Pages of memory that wait with those: their own.
    pub lazy_frames: usize,
    /// Pages of addresses in the pools.
    pub pooled: usize,
    /// Pages that hold the records of all this.
    pub records: usize,
}

/// Result of unmapping an area.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unmap {
    /// The area waits for a flush.
    Done,
    /// Like `Done`, and enough wait now for a purge.
    Due,
    /// No area was unmapped: there is none, or it takes more than is done under the lock.
    NotDone,
}

/// Result of [`VmapAreas::unmap_or_claim`].
pub enum Found {
    /// No such area is in use.
    Nothing,
    /// Area that waits for a flush; there may be enough of them now for a purge.
    Unmapped {
        /// True if they do.
        due: bool,
    },
    /// Area that the caller is to unmap: its range, and its purpose.
    Claimed(AreaId, VirtRange, VmFlags),
}

/// See the module's documentation.
// What is used each time comes first, where a short offset reaches it.
#[repr(C)]
pub struct VmapAreas {
    pub(super) stat: VmallocStat,
    pub(super) limits: Limits,
    /// Flush that the areas on the lazy list wait for. Dropping a flush executes it; this one
    /// ends with the machine.
    pub(super) owed: ManuallyDrop<TlbFlush>,
    pub(super) held: Held,
    pub(super) purging: bool,
    pub(super) lazy: SizedLists,
    pub(super) pools: [u32; POOLED_PAGES],
    pub(super) others: Others,
    pub(super) flushing: Flushing,
    /// Space that ends with the machine.
    pub(super) space: ManuallyDrop<VaSpace<VmapArea>>,
    /// Block that a CPU's next few pages come from, by CPU.
    pub(super) blocks: [Option<CurrentBlock>; NR_CPUS],
}

/// Returns the number of an area's pages that vmalloc allocated: all or none.
#[inline(always)]
pub(super) fn allocated(flags: VmFlags, nr_pages: usize) -> usize {
    if flags.contains(VmFlags::VM_ALLOC) { nr_pages } else { 0 }
}

/// Puts `area`, which maps nothing any more, on the list where it waits.
#[inline(always)]
fn wait(
    (held, lazy, others): (&mut Held, &mut SizedLists, &mut Others),
    id: AreaId,
    area: &mut VmapArea,
    nr_pages: usize,
) {
    area.state = State::Unused;
    if nr_pages <= SIZED_PAGES && held.gather(area) {
        lazy.push(id, area, nr_pages);
    } else {
        others.push(id, area);
    }
}

impl VmapAreas {
    /// No areas in `range`.
    pub const fn new(range: VirtRange, limits: Limits) -> Self {
        Self {
            space: ManuallyDrop::new(VaSpace::new(range)),
            held: Held::NONE,
            lazy: SizedLists::new(),
            others: Others::NONE,
            flushing: Flushing::NONE,
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

    /// Returns the number of pages of addresses that may wait for a purge.
    pub fn lazy_max(&self) -> usize {
        self.limits.lazy_max_pages
    }

    /// Returns the range and the number of the areas that a purge will flush. `others` is the
    /// first of those that it deals with one by one.
    pub fn purging(&self, others: u32) -> (VirtRange, usize) {
        let (mut start, mut end, mut count) = (None::<VirtAddr>, None::<VirtAddr>, 0);
        let sized = self.flushing.areas.iter().map(|(_, list)| list.head);
        for head in sized.chain([others]) {
            let each = |range: VirtRange, _: &VmapArea| {
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
        self.stat.allocated += allocated(want.flags, want.nr_pages as usize);
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
        let (_, range) = self.space.alloc(request, || VmapArea {
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
        self.stat.allocated += allocated(want.flags, want.nr_pages as usize);
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
    /// lazy list, where that is soon done: it is small and noted, and its table remembered.
    #[inline(always)]
    pub fn unmap(&mut self, irq: &IrqMasked, va: VirtAddr, kinds: VmFlags) -> Unmap {
        let Some((id, area)) = self.space.noted(va) else { return Unmap::NotDone };
        let (flags, nr_pages) = (area.flags, area.nr_pages as usize);
        if area.state != State::Busy
            || !flags.intersects(kinds)
            || flags.contains(VmFlags::VM_FLUSH_RESET_PERMS)
            || nr_pages > UNMAP_AT_ONCE
            || !mapping::unmap_cached(irq, va, nr_pages, &mut self.owed)
        {
            return Unmap::NotDone;
        }
        let lists = (&mut self.held, &mut self.lazy, &mut self.others);
        wait(lists, id, area, nr_pages);
        if self.count_lazy(nr_pages, flags) { Unmap::Due } else { Unmap::Done }
    }

    /// Like [`unmap`](Self::unmap), however long it takes to find the area and its table. A
    /// large one is claimed instead: the caller, the only one who gets it, unmaps it without
    /// this lock and [retires](Self::retire) it.
    pub fn unmap_or_claim(&mut self, irq: &IrqMasked, va: VirtAddr, kinds: VmFlags) -> Found {
        let Some((id, range, area)) = self.space.starting(va) else { return Found::Nothing };
        let (flags, nr_pages) = (area.flags, area.nr_pages as usize);
        if area.state != State::Busy || !flags.intersects(kinds) {
            return Found::Nothing;
        }
        if nr_pages > UNMAP_AT_ONCE || flags.contains(VmFlags::VM_FLUSH_RESET_PERMS) {
            area.state = State::Unmapping;
            return Found::Claimed(id, VirtRange::new(va, range.end() - PAGE_SIZE), flags);
        }
        mapping::unmap_pages(irq, va, nr_pages, &mut self.owed);
        let lists = (&mut self.held, &mut self.lazy, &mut self.others);
        wait(lists, id, area, nr_pages);
        Found::Unmapped { due: self.count_lazy(nr_pages, flags) }
    }

    /// Adds `flags` to the area of vmalloc in use that maps all of `range`. Returns false if
    /// there is none.
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

    /// Puts an area whose tables are cleared on the lazy list. Returns true if that is long
    /// enough for a purge.
    pub fn retire(&mut self, id: AreaId, owed: TlbFlush) -> bool {
        let (_, area) = self.space.get_mut(id);
        let (flags, nr_pages) = (area.flags, area.nr_pages as usize);
        let lists = (&mut self.held, &mut self.lazy, &mut self.others);
        wait(lists, id, area, nr_pages);
        self.owed.absorb(owed);
        self.count_lazy(nr_pages, flags)
    }

    /// Counts an area of `nr_pages` pages that is lazily unmapped. Returns true if a purge is
    /// due.
    #[inline(always)]
    fn count_lazy(&mut self, nr_pages: usize, flags: VmFlags) -> bool {
        let VmallocStat { mapped, allocated: own, lazy, lazy_frames, .. } = &mut self.stat;
        let allocated = allocated(flags, nr_pages);
        *mapped -= nr_pages;
        *own -= allocated;
        *lazy += nr_pages + GUARD_PAGES;
        *lazy_frames += allocated;
        *lazy > self.limits.lazy_max_pages || *lazy_frames > self.limits.lazy_max_frames
    }

    /// Adds to what the next flush is for.
    #[inline(always)]
    pub(super) fn owe(&mut self, owed: TlbFlush) {
        self.owed.absorb(owed);
    }

    /// The area in use that maps `va` to pages that may be read, and its last address: what
    /// [`vread`](fn@super::vread) may look at.
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
                let VmapArea { flags, nr_pages, phys, caller, .. } = *area;
                return Some(VmallocInfo { range, flags, nr_pages, phys, caller });
            }
            id = self.space.at_or_above(range.end())?;
        }
    }
}
