//! The address allocator: which part of a range of virtual addresses is whose.
//!
//! A B+tree holds the ranges of the areas and bounds of the gaps between them, so the lowest gap
//! that fits is found in one descent, however many areas there are. Free space needs no memory
//! of its own, and neighbouring free ranges are one gap by construction. What is kept with an
//! area lies in a table of slots, where it never moves.
//!
//! Linux keeps free ranges in a tree beside the tree of areas (mm/vmalloc.c,
//! `find_vmap_lowest_match`); the search gives the same addresses.
#![deny(unsafe_code)]

use super::slot_page::SlotPage;
use crate::addr::{PAGE_SIZE, VirtAddr, VirtRange};
use crate::collections::range_tree::RangeTree;
use crate::collections::slots::{NIL, SlotTable};
use core::fmt;

/// Names an area of a [`VaSpace`] for as long as it is allocated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(transparent)]
pub struct AreaId(u32);

impl AreaId {
    /// Number of the area, never 0.
    pub const fn get(self) -> u32 {
        self.0
    }
    /// The area with this number; `None` for 0.
    pub const fn new(number: u32) -> Option<Self> {
        if number == NIL { None } else { Some(Self(number)) }
    }
}

/// Reason why no addresses were allocated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum VaError {
    /// Size 0 or not of whole pages, or an alignment that is no power of two or below a page.
    Invalid,
    /// No gap fits.
    NoSpace,
    /// A page must be donated first ([`VaSpace::donate`]).
    NeedsPage,
}

impl fmt::Display for VaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Invalid => "a size or an alignment that no area can have",
            Self::NoSpace => "no gap is large enough",
            Self::NeedsPage => "a page for records has to be given first",
        })
    }
}

impl core::error::Error for VaError {}

/// Parameters of [`VaSpace::alloc`].
#[derive(Clone, Copy, Debug)]
pub struct VaRequest {
    /// Bytes, a multiple of the page size.
    pub size: usize,
    /// Bytes, a power of two of a page at least.
    pub align: usize,
    /// The area lies within it.
    pub range: VirtRange,
}

struct Area<T> {
    range: VirtRange,
    data: T,
}

/// Areas that are found by their first address without a walk.
const RECENT: usize = 1024;

/// A range of addresses and the areas in it. See the module's documentation.
pub struct VaSpace<T> {
    range: VirtRange,
    areas: SlotTable<Area<T>, SlotPage>,
    /// Ranges of the areas by pages of `range`, with their numbers.
    tree: RangeTree<SlotPage>,
    /// Recently used areas: the last one noted for each [`recent_slot`] of a first address,
    /// which may be gone.
    recent: [u32; RECENT],
}

/// Index in `recent` of areas that start at `start`. Consecutive areas of one size use all
/// entries, also if that size is even.
#[inline]
const fn recent_slot(start: VirtAddr) -> usize {
    let page = start.get() / PAGE_SIZE;
    (page + page / RECENT) % RECENT
}

impl<T> VaSpace<T> {
    /// A space that is all free. `range` is of whole pages.
    pub const fn new(range: VirtRange) -> Self {
        let tree = RangeTree::new((range.len() / PAGE_SIZE) as u64);
        Self { range, areas: SlotTable::new(), tree, recent: [NIL; RECENT] }
    }

    /// All its addresses.
    pub const fn range(&self) -> VirtRange {
        self.range
    }

    /// The pages that hold areas and nodes.
    pub fn pages_held(&self) -> usize {
        self.areas.pages_held() + self.tree.pages_held()
    }

    /// Takes a page for areas or nodes: what to do on [`VaError::NeedsPage`], before asking again.
    /// `Err` gives the page back: there is room, or the tables can't grow further.
    pub fn donate(&mut self, page: SlotPage) -> Result<(), SlotPage> {
        if self.areas.has_room() { self.tree.donate(page) } else { self.areas.donate(page) }
    }

    /// Gives back a page that holds no area and no node; call until `None`.
    pub fn shrink(&mut self) -> Option<SlotPage> {
        self.areas.shrink().or_else(|| self.tree.shrink())
    }

    /// Returns the number of the page that `va` lies in; of a lower address, that of the first.
    #[inline(always)]
    fn page(&self, va: VirtAddr) -> u64 {
        (va.get().saturating_sub(self.range.start().get()) / PAGE_SIZE) as u64
    }

    /// Allocates the lowest addresses that fit, in a number of steps that is
    /// logarithmic in the number of areas, and keeps `data()` with them.
    ///
    /// For an alignment above a page a gap is sought that fits however it lies, which
    /// is `align - PAGE_SIZE` longer; where `range` is just as long as `size`, just that
    /// place is tried. (Linux: `adjust_search_size`.)
    pub fn alloc(
        &mut self,
        request: VaRequest,
        data: impl FnOnce() -> T,
    ) -> Result<(AreaId, VirtRange), VaError> {
        let VaRequest { size, align, .. } = request;
        let whole_pages = size != 0 && size.is_multiple_of(PAGE_SIZE);
        if !whole_pages || !align.is_power_of_two() || align < PAGE_SIZE {
            return Err(VaError::Invalid);
        }
        let range = request.range.intersect(self.range);
        let slack = if range.len() == size { 0 } else { align - PAGE_SIZE };
        let length = size.checked_add(slack).ok_or(VaError::NoSpace)?;
        let (length, all) = ((length / PAGE_SIZE) as u64, self.page(self.range.end()));
        let gap = self.tree.lowest_gap(length, self.page(range.start())..all);
        let gap = gap.ok_or(VaError::NoSpace)?;
        let [start, end] =
            [gap.pages.start, gap.pages.end].map(|n| self.range.start() + n as usize * PAGE_SIZE);
        let start = start.align_up(align).ok_or(VaError::NoSpace)?;
        if VirtRange::new(start, end.min(range.end())).len() < size {
            return Err(VaError::NoSpace);
        }
        if !self.areas.has_room() || !self.tree.has_room() {
            return Err(VaError::NeedsPage);
        }
        let range = VirtRange::from_size(start, size);
        let number = self.areas.insert(Area { range, data: data() });
        let number = number.expect("there is room, as seen above");
        self.tree.insert(&gap, self.page(start)..self.page(range.end()), number);
        self.note(AreaId(number), start);
        Ok((AreaId(number), range))
    }

    /// Frees area `id`; returns what was kept with it. Pages that are not needed any more go back
    /// to the page allocator.
    ///
    /// # Panics
    /// Where there is no such area.
    #[track_caller]
    pub fn free(&mut self, id: AreaId) -> T {
        let (Area { range, data }, _page) = self.areas.remove(id.0);
        let noted = &mut self.recent[recent_slot(range.start())];
        if *noted == id.0 {
            *noted = NIL;
        }
        let first = self.page(range.start());
        let number = self.tree.remove(first, drop);
        assert_eq!(number, id.0, "area at {:?}", range.start());
        data
    }

    /// Notes area `id`, which starts at `start` and goes into use, for [`VaSpace::noted`].
    #[inline]
    pub fn note(&mut self, id: AreaId, start: VirtAddr) {
        self.recent[recent_slot(start)] = id.0;
    }

    /// The area that starts at `va`, where it is the last that was noted in its place.
    #[inline(always)]
    pub fn noted(&mut self, va: VirtAddr) -> Option<(AreaId, &mut T)> {
        let id = AreaId::new(self.recent[recent_slot(va)])?;
        let (range, data) = self.get_mut(id);
        if range.start() == va { Some((id, data)) } else { None }
    }

    /// The area that starts at `va`; it is noted from then on.
    pub fn starting(&mut self, va: VirtAddr) -> Option<(AreaId, VirtRange, &mut T)> {
        let starts = |id: &AreaId| self.area(*id).start() == va;
        let noted = AreaId::new(self.recent[recent_slot(va)]);
        let id = noted.filter(starts).or_else(|| self.find(va).filter(starts))?;
        self.note(id, va);
        let (range, data) = self.get_mut(id);
        Some((id, range, data))
    }

    /// The area that `va` lies in.
    pub fn find(&self, va: VirtAddr) -> Option<AreaId> {
        if !self.range.contains(va) {
            return None;
        }
        self.tree.find(self.page(va)).map(|entry| AreaId(entry.value))
    }

    /// The first area that starts at `va` or above: with its end as the next `va`,
    /// all areas in order.
    pub fn at_or_above(&self, va: VirtAddr) -> Option<AreaId> {
        let page = self.page(va.align_up(PAGE_SIZE)?);
        self.tree.at_or_above(page).map(|entry| AreaId(entry.value))
    }

    /// The addresses of area `id`. Panics where there is none.
    #[inline(always)]
    #[track_caller]
    pub fn area(&self, id: AreaId) -> VirtRange {
        self.areas.get(id.0).range
    }

    /// Returns the data kept with area `id`. Panics if there is no such area.
    #[track_caller]
    pub fn get(&self, id: AreaId) -> &T {
        &self.areas.get(id.0).data
    }

    /// The addresses of area `id` and what is kept with it, to change it. Panics where
    /// there is none.
    #[inline(always)]
    #[track_caller]
    pub fn get_mut(&mut self, id: AreaId) -> (VirtRange, &mut T) {
        let area = self.areas.get_mut(id.0);
        (area.range, &mut area.data)
    }

    /// All areas in order.
    pub fn iter(&self) -> impl Iterator<Item = (AreaId, VirtRange, &T)> {
        let mut from = Some(self.range.start());
        core::iter::from_fn(move || {
            let id = self.at_or_above(from.take()?)?;
            let area = self.areas.get(id.0);
            from = Some(area.range.end());
            Some((id, area.range, &area.data))
        })
    }

    /// Checks that tree and table have the same areas, which lie apart within the space.
    ///
    /// # Panics
    /// Where an invariant is broken.
    pub fn validate(&self) {
        self.areas.validate();
        let mut count = 0;
        self.tree.validate(|entry| {
            let area = self.areas.get(entry.value);
            assert!(
                area.range.start().is_aligned(PAGE_SIZE) && self.range.contains_range(area.range)
            );
            let pages = self.page(area.range.start())..self.page(area.range.end());
            assert_eq!(pages, entry.pages, "pages of {:?}", area.range);
            count += 1;
        });
        assert_eq!(count, self.areas.len(), "areas that are not in the tree");
        for (slot, number) in self.recent.iter().enumerate() {
            if let Some(id) = AreaId::new(*number) {
                assert_eq!(recent_slot(self.area(id).start()), slot, "{id:?} is noted elsewhere");
            }
        }
    }

    #[cfg(test)]
    pub(super) fn steps(&self) -> usize {
        self.tree.steps.take()
    }
}

impl<T> Drop for VaSpace<T> {
    /// Drops what is kept with the areas, and gives the pages back.
    fn drop(&mut self) {
        self.areas.clear();
        self.tree.clear();
    }
}
