//! Areas of user memory in which files are mapped, found by file (Linux: `i_mmap` of struct
//! address_space, mm/interval_tree.c).
//!
//! One tree has the areas of all files, ordered by file and offset. An address space registers each
//! area that maps a file, private ones too, and changes areas only while it holds [`i_mmap_lock`]:
//! so who holds it can have pages of a file unmapped.
#![deny(unsafe_code)]

use super::AddressSpace;
use crate::addr::{PAGE_SHIFT, UserAddr, UserRange};
use crate::arch::irq::with_masked;
use crate::collections::slots::NIL;
use crate::collections::tree::{Item, Side, Tree};
use crate::machine_local;
use crate::mm::alloc::AllocError;
use crate::mm::gfp::Gfp;
use crate::mm::page::Mapping;
use crate::mm::vmalloc::slot_page::SlotPage;
use crate::sched::{Mutex, MutexGuard};
use crate::sync::{Once, Rank, SleepRank, SpinLock};

/// An area that maps pages of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MmapArea {
    /// Number of the address space, of its owner's choice.
    pub mm: u64,
    /// First address, that of a page.
    pub start: UserAddr,
    /// Offset in the file of what is mapped there, in pages.
    pub pgoff: u64,
    /// Number of pages.
    pub pages: u64,
}

/// Function of the room that has users' page tables.
pub trait UnmapMapping: Sync {
    /// Unmaps the pages of file `object` in `range` of address space `mm`, and with `even_cows`
    /// private copies of them too. Called with [`i_mmap_lock`] held, so that `mm` has a file's
    /// area there; it can't take the lock of `mm`, which comes first.
    fn zap(&self, mm: u64, range: UserRange, object: u32, even_cows: bool);
}

/// Position of the file in an item's key, which has the page offset below it.
const OBJECT_SHIFT: u32 = Mapping::INDICES.ilog2();

/// An area in the tree.
#[derive(PartialEq, Eq)]
struct Entry {
    /// File and offset.
    key: usize,
    area: MmapArea,
}

impl Item for Entry {
    /// The highest end, in units of keys.
    type Sum = usize;
    const EMPTY: usize = 0;
    fn key(&self) -> usize {
        self.key
    }
    fn sum(&self, left: usize, right: usize) -> usize {
        (self.key + self.area.pages as usize).max(left).max(right)
    }
}

machine_local! {
    static AREAS: SpinLock<Tree<Entry, SlotPage>> = SpinLock::new(Rank::PageCache, Tree::new());
    static LOCK: Mutex = Mutex::new(SleepRank::IMmap);
    static UNMAP: Once<&'static dyn UnmapMapping> = Once::new();
}

/// Sets the function that unmaps pages. The first call counts.
pub fn register_unmap(unmap: &'static dyn UnmapMapping) {
    UNMAP.call_once(|| unmap);
}

/// The right to change areas that map files.
pub struct IMmap {
    _lock: MutexGuard<'static>,
}

/// Takes the lock of all areas that map files; sleeps while another has it. Process context, after
/// the locks of address spaces and of files' contents (Linux: i_mmap_lock_write).
#[must_use]
pub fn i_mmap_lock() -> IMmap {
    IMmap { _lock: LOCK.lock() }
}

impl IMmap {
    /// Adds an area that maps pages of `mapping`.
    ///
    /// # Errors
    /// Memory is short; nothing has changed.
    ///
    /// # Panics
    /// The area reaches beyond the offsets that a file can have.
    pub fn insert(&mut self, mapping: &AddressSpace, area: MmapArea) -> Result<(), AllocError> {
        let key = key(mapping.object(), area.pgoff);
        assert!(area.pgoff < Mapping::INDICES && area.pages <= Mapping::INDICES - area.pgoff);
        loop {
            let inserted =
                with_masked(|irq| AREAS.lock(irq).insert(Entry { key, area }, |_| ()).is_some());
            if inserted {
                return Ok(());
            }
            let page = SlotPage::alloc(Gfp::GFP_KERNEL).ok_or(AllocError)?;
            let back = with_masked(|irq| AREAS.lock(irq).donate(page));
            // A page that the tree has no use for means that it is as large as it can be.
            back.map_err(|_| AllocError)?;
        }
    }

    /// Takes an area out.
    ///
    /// # Panics
    /// It is not there.
    #[track_caller]
    pub fn remove(&mut self, mapping: &AddressSpace, area: &MmapArea) {
        let key = key(mapping.object(), area.pgoff);
        let _page = with_masked(|irq| {
            let mut areas = AREAS.lock(irq);
            let mut at = first(&areas, key, key + 1);
            while let Some(number) = at {
                let entry = &areas.node(number).item;
                if entry.key == key && entry.area == *area {
                    return areas.remove(number, |_| ()).1;
                }
                at = after(&areas, number, key, key + 1);
            }
            panic!("{area:?} of file {} is not there", mapping.object());
        });
        // The last one leaves no page behind.
        while with_masked(|irq| {
            let mut areas = AREAS.lock(irq);
            if areas.len() == 0 { areas.shrink() } else { None }
        })
        .is_some()
        {}
    }

    /// Unmaps pages `first..=last` of a file everywhere, with `even_cows` private copies of them
    /// too (Linux: unmap_mapping_range).
    fn unmap(&mut self, mapping: &AddressSpace, first_page: u64, last_page: u64, even_cows: bool) {
        let Some(unmap) = UNMAP.get() else { return };
        let (object, last_page) = (mapping.object(), last_page.min(Mapping::INDICES - 1));
        if first_page > last_page {
            return;
        }
        let (low, high) = (key(object, first_page), key(object, last_page) + 1);
        let mut seen = None;
        while let Some((number, area)) = with_masked(|irq| {
            let areas = AREAS.lock(irq);
            // Nobody else changes the tree, so that the number of the last one is good.
            let next = match seen {
                None => first(&areas, low, high),
                Some(number) => after(&areas, number, low, high),
            }?;
            Some((next, areas.node(next).item.area))
        }) {
            seen = Some(number);
            let begin = first_page.max(area.pgoff) - area.pgoff;
            let end = (last_page + 1).min(area.pgoff + area.pages) - area.pgoff;
            let range = area.start.checked_add((begin as usize) << PAGE_SHIFT).and_then(|start| {
                UserRange::from_size(start, ((end - begin) as usize) << PAGE_SHIFT)
            });
            if let Some(range) = range {
                unmap.zap(area.mm, range, object, even_cows);
            }
        }
    }
}

/// Unmaps pages `first..=last` of a file everywhere, with `even_cows` private copies of them too.
/// Process context (Linux: unmap_mapping_range).
pub(super) fn unmap_mapping_range(mapping: &AddressSpace, first: u64, last: u64, even_cows: bool) {
    i_mmap_lock().unmap(mapping, first, last, even_cows);
}

fn key(object: u32, pgoff: u64) -> usize {
    (object as usize) << OBJECT_SHIFT | pgoff as usize
}

/// The first entry in order that overlaps `low..high`.
fn first(areas: &Tree<Entry, SlotPage>, low: usize, high: usize) -> Option<u32> {
    below(areas, areas.root().top, low, high, None)
}

/// The entry after `number` in order that overlaps `low..high`.
fn after(areas: &Tree<Entry, SlotPage>, number: u32, low: usize, high: usize) -> Option<u32> {
    let place = (areas.node(number).item.key, number);
    below(areas, areas.root().top, low, high, Some(place))
}

/// The first entry below `top` that overlaps `low..high` and comes after `place`.
fn below(
    areas: &Tree<Entry, SlotPage>,
    top: u32,
    low: usize,
    high: usize,
    place: Option<(usize, u32)>,
) -> Option<u32> {
    if top == NIL {
        return None;
    }
    let node = areas.node(top);
    let (left, right) = (node.link(Side::Left), node.link(Side::Right));
    let item = &node.item;
    let is_after = place.is_none_or(|place| (item.key, top) > place);
    // Where this one does not come after the place, none on its left does.
    if is_after && left.sum > low {
        let found = below(areas, left.top, low, high, place);
        if found.is_some() {
            return found;
        }
    }
    if item.key >= high {
        return None;
    }
    if is_after && item.key + item.area.pages as usize > low {
        return Some(top);
    }
    if right.sum > low { below(areas, right.top, low, high, place) } else { None }
}

/// Number of areas that map files.
#[must_use]
pub fn nr_areas() -> usize {
    with_masked(|irq| AREAS.lock(irq).len())
}
