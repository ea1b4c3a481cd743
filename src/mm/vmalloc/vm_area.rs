//! The way of an area into use and out of it (Linux: __get_vm_area_node, remove_vm_area).
#![deny(unsafe_code)]

use super::area::{Backing, VmFlags};
use super::mapping;
use super::purge::{Wait, purge};
use super::slot_page::SlotPage;
use super::va_space::VaError;
use super::vmap_areas::{Found, Unmap};
use super::{VMAP, vm_unmap_aliases, with_areas};
use crate::addr::{PAGE_SHIFT, PAGE_SIZE, PhysAddr, VirtAddr, VirtRange};
use crate::arch::irq::{self, with_masked};
use crate::arch::pgtable::MapError;
use crate::mm::gfp::Gfp;
use crate::mm::hooks::are_rare_events_on;
use crate::mm::hooks::points;
use crate::mm::init_mm::{self, TlbFlush};
use core::panic::Location;

/// Flags that an allocation's auxiliary memory inherits: how hard to try, but neither zones nor
/// treatment of the page (Linux: GFP_RECLAIM_MASK).
const RECLAIM_MASK: Gfp = Gfp::__GFP_RECLAIM
    .union(Gfp::__GFP_IO)
    .union(Gfp::__GFP_FS)
    .union(Gfp::__GFP_HIGH)
    .union(Gfp::__GFP_MEMALLOC)
    .union(Gfp::__GFP_NOMEMALLOC)
    .union(Gfp::__GFP_NORETRY)
    .union(Gfp::__GFP_RETRY_MAYFAIL)
    .union(Gfp::__GFP_NOFAIL)
    .union(Gfp::__GFP_NOWARN);

/// Request for an area.
#[derive(Clone, Copy)]
pub struct Request {
    /// Pages to map: the guard page comes on top.
    pub nr_pages: u32,
    /// A multiple of the page size that its address is a multiple of.
    pub align: usize,
    /// Purpose of the area.
    pub flags: VmFlags,
    /// Physical address that a device area maps; else 0.
    pub phys: PhysAddr,
    /// GFP flags of the allocation of the record.
    pub gfp: Gfp,
    /// Location of the request.
    pub caller: &'static Location<'static>,
}

impl Request {
    /// Pages for `flags`, asked for by this function's caller.
    #[inline(always)]
    #[track_caller]
    pub fn new(nr_pages: u32, flags: VmFlags, gfp: Gfp) -> Self {
        let (phys, caller) = (PhysAddr::new(0), Location::caller());
        Self { nr_pages, align: PAGE_SIZE, flags, phys, gfp, caller }
    }

    /// Finds addresses, has `map` map them, and puts the area into use with its
    /// `backing`. Gets memory for records and purges as needed; where it fails, everything
    /// goes back. (Linux: __vmalloc_node_range, get_vm_area.)
    #[inline(always)]
    pub fn map(
        self,
        backing: Backing,
        map: impl Fn(VirtRange) -> Result<(), MapError>,
    ) -> Option<VirtAddr> {
        let found = with_areas(|areas| areas.alloc_pooled(self, backing));
        self.map_found(found, map)
    }

    /// Like [`map`](Self::map), with what [`VmapAreas::alloc_pooled`] found.
    ///
    /// [`VmapAreas::alloc_pooled`]: super::vmap_areas::VmapAreas::alloc_pooled
    #[inline(always)]
    pub fn map_found(
        self,
        found: Result<VirtAddr, Backing>,
        map: impl Fn(VirtRange) -> Result<(), MapError>,
    ) -> Option<VirtAddr> {
        let start = match found {
            Ok(start) => start,
            Err(backing) => self.find(backing)?,
        };
        points::alloc_vmap_area(Some(start), self.nr_pages, self.align);
        let used = VirtRange::from_size(start, (self.nr_pages as usize) << PAGE_SHIFT);
        match or_purge(|| map(used).ok()) {
            Some(()) => Some(start),
            None => undo(start),
        }
    }

    /// Addresses that no area has; where they start.
    #[inline(never)]
    fn find(self, backing: Backing) -> Option<VirtAddr> {
        let start = self.search(backing);
        if start.is_none() {
            points::alloc_vmap_area(None, self.nr_pages, self.align);
        }
        start
    }

    #[inline(always)]
    fn search(&self, mut backing: Backing) -> Option<VirtAddr> {
        let (mut page, mut purged) = (None, false);
        loop {
            let (refused, found) = with_areas(|areas| {
                let refused = page.take().map(|page| areas.donate(page));
                (refused, areas.alloc(self, &mut backing))
            });
            match found {
                Ok(start) => return Some(start),
                // The table of records has reached its largest size.
                Err(VaError::NeedsPage) if matches!(refused, Some(Err(_))) => return None,
                Err(VaError::NeedsPage) => {
                    let gfp = self.gfp.intersection(RECLAIM_MASK);
                    page = Some(or_purge(|| SlotPage::alloc(gfp))?);
                }
                Err(VaError::NoSpace) if !purged => {
                    vm_unmap_aliases();
                    purged = true;
                }
                Err(VaError::NoSpace | VaError::Invalid) => return None,
            }
        }
    }
}

/// Calls `get`, and once more after a purge if it returned nothing, since pages that wait for a
/// flush may make up for missing ones.
#[inline(always)]
pub fn or_purge<T>(get: impl Fn() -> Option<T>) -> Option<T> {
    let mut purged = false;
    loop {
        match get() {
            // One place where it is asked, so that it is compiled into that.
            None if !purged && purge(Wait::Yes) => purged = true,
            got => break got,
        }
    }
}

/// Gives back an area that could not be mapped; `None`.
#[cold]
#[inline(never)]
fn undo(start: VirtAddr) -> Option<VirtAddr> {
    unmap_area(start, VmFlags::all());
    // Memory is short: nothing of the attempt stays behind.
    purge(Wait::Yes);
    None
}

/// Unmaps the area of one of `kinds` that starts at `va`. Returns false if there is none.
#[inline(never)]
pub fn unmap_area(va: VirtAddr, kinds: VmFlags) -> bool {
    if are_rare_events_on() {
        trace_unmap(va);
    }
    match with_masked(|irq| VMAP.lock(irq).unmap(irq, va, kinds)) {
        Unmap::Done => true,
        Unmap::Due => purge_if_possible(),
        // Tail call, so the fast path needs no stack frame.
        Unmap::NotDone => unmap_slowly(va, kinds),
    }
}

#[cold]
#[inline(never)]
fn trace_unmap(va: VirtAddr) {
    let (info, lazy, most) =
        with_areas(|areas| (areas.info(va), areas.stat().lazy, areas.lazy_max()));
    if let Some(info) = info.filter(|info| info.range.start() == va) {
        points::free_vmap_area_noflush(va, lazy + info.nr_pages as usize + 1, most);
    }
}

/// Like [`unmap_area`], whatever that takes, for a large area without the lock of all.
#[inline(never)]
fn unmap_slowly(va: VirtAddr, kinds: VmFlags) -> bool {
    let found = with_masked(|irq| VMAP.lock(irq).unmap_or_claim(irq, va, kinds));
    let (id, used, flags) = match found {
        Found::Nothing => return false,
        Found::Unmapped { due: false } => return true,
        Found::Unmapped { due: true } => return purge_if_possible(),
        Found::Claimed(id, used, flags) => (id, used, flags),
    };
    let mut owed = TlbFlush::NONE;
    if flags.contains(VmFlags::VM_FLUSH_RESET_PERMS) {
        owed = init_mm::reset_linear_alias(used);
    }
    let owed = owed.merge(mapping::unmap(used));
    if with_areas(|areas| areas.retire(id, owed)) {
        purge_if_possible();
    }
    true
}

/// A purge is due; it waits for the next caller where interrupts are masked. `true`.
#[cold]
#[inline(never)]
fn purge_if_possible() -> bool {
    if !irq::is_masked() {
        purge(Wait::No);
    }
    true
}
