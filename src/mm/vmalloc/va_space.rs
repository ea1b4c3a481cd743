//! The address allocator: which part of a range of virtual addresses is whose.
//!
//! One tree of the areas in use, each with the free gap below it; links carry the
//! largest gap of their subtree, so the lowest gap that fits is found in
//! one descent, however many areas there are. Free space needs no memory of its own,
//! and neighbouring free ranges are one gap by construction.
//!
//! Linux keeps free ranges in a tree beside the tree of areas (mm/vmalloc.c,
//! `find_vmap_lowest_match`); the search gives the same addresses.
#![deny(unsafe_code)]

use super::slot_page::SlotPage;
use crate::addr::{PAGE_SIZE, VirtAddr, VirtRange};
use crate::collections::slots::NIL;
use crate::collections::tree::{Item, Link, Side, Tree};
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
    /// Free bytes below `range`.
    gap: usize,
    data: T,
}

impl<T> Item for Area<T> {
    type Sum = usize;
    const EMPTY: usize = 0;
    #[inline]
    fn key(&self) -> usize {
        self.range.start().get()
    }
    #[inline]
    fn sum(&self, left: usize, right: usize) -> usize {
        self.gap.max(left).max(right)
    }
}

impl<T> Area<T> {
    /// The free range below the area, from `low` on.
    fn gap_from(&self, low: VirtAddr) -> VirtRange {
        let start = self.range.start();
        VirtRange::new(low.max(start - self.gap), start)
    }
}

/// Areas that are found by their first address without a walk.
const RECENT: usize = 1024;

/// A range of addresses and the areas in it. See the module's documentation.
pub struct VaSpace<T> {
    range: VirtRange,
    tree: Tree<Area<T>, SlotPage>,
    /// End of the highest area: all above is free.
    top: VirtAddr,
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
        Self { range, tree: Tree::new(), top: range.start(), recent: [NIL; RECENT] }
    }

    /// All its addresses.
    pub const fn range(&self) -> VirtRange {
        self.range
    }

    /// The pages that hold its nodes.
    pub fn pages_held(&self) -> usize {
        self.tree.pages_held()
    }

    /// Takes a page for nodes: what to do on [`VaError::NeedsPage`], before asking again.
    /// `Err` gives the page back: there is room, or the table can't grow further.
    pub fn donate(&mut self, page: SlotPage) -> Result<(), SlotPage> {
        self.tree.donate(page)
    }

    /// Gives back a page that holds no node; call until `None`.
    pub fn shrink(&mut self) -> Option<SlotPage> {
        self.tree.shrink()
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
        let (below, gap) = self.lowest_gap(range.start(), length).ok_or(VaError::NoSpace)?;
        let start = gap.start().align_up(align).ok_or(VaError::NoSpace)?;
        let fits = VirtRange::new(start, gap.end().min(range.end()));
        if fits.len() < size {
            return Err(VaError::NoSpace);
        }
        if !self.tree.has_room() {
            return Err(VaError::NeedsPage);
        }
        let range = VirtRange::from_size(start, size);
        let area = Area { range, gap: start - below, data: data() };
        let cut = |next: &mut Area<T>| next.gap = next.range.start() - range.end();
        let number = self.tree.insert(area, cut).expect("there is room, as seen above");
        self.top = self.top.max(range.end());
        self.note(AreaId(number), start);
        Ok((AreaId(number), range))
    }

    /// Frees area `id`; what was kept with it, and a page if one is not needed any more.
    ///
    /// # Panics
    /// Where there is no such area.
    #[track_caller]
    pub fn free(&mut self, id: AreaId) -> (T, Option<SlotPage>) {
        let area = &self.tree.node(id.0).item;
        let freed = area.gap + area.range.len();
        let noted = &mut self.recent[recent_slot(area.range.start())];
        if *noted == id.0 {
            *noted = NIL;
        }
        if area.range.end() == self.top {
            self.top = self.top - freed;
        }
        let (area, page) = self.tree.remove(id.0, |next| next.gap += freed);
        (area.data, page)
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
        let at = self.tree.floor(va.get())?;
        self.tree.node(at).item.range.contains(va).then_some(AreaId(at))
    }

    /// The first area that starts at `va` or above: with its end as the next `va`,
    /// all areas in order.
    pub fn at_or_above(&self, va: VirtAddr) -> Option<AreaId> {
        self.tree.lower_bound(va.get()).map(AreaId)
    }

    /// The addresses of area `id`. Panics where there is none.
    #[inline(always)]
    #[track_caller]
    pub fn area(&self, id: AreaId) -> VirtRange {
        self.tree.node(id.0).item.range
    }

    /// Returns the data kept with area `id`. Panics if there is no such area.
    #[track_caller]
    pub fn get(&self, id: AreaId) -> &T {
        &self.tree.node(id.0).item.data
    }

    /// The addresses of area `id` and what is kept with it, to change it. Panics where
    /// there is none.
    #[inline(always)]
    #[track_caller]
    pub fn get_mut(&mut self, id: AreaId) -> (VirtRange, &mut T) {
        let area = self.tree.item_mut(id.0);
        (area.range, &mut area.data)
    }

    /// All areas in order.
    pub fn iter(&self) -> impl Iterator<Item = (AreaId, VirtRange, &T)> {
        let mut from = Some(self.range.start());
        core::iter::from_fn(move || {
            let id = self.at_or_above(from.take()?)?;
            let area = &self.tree.node(id.0).item;
            from = Some(area.range.end());
            Some((id, area.range, &area.data))
        })
    }

    /// The lowest free range at or above `low` of at least `length` bytes, and where the
    /// gap that it lies in begins.
    fn lowest_gap(&self, low: VirtAddr, length: usize) -> Option<(VirtAddr, VirtRange)> {
        let found = if low <= self.range.start() {
            self.lowest_in(self.tree.root(), length)
        } else {
            self.lowest_above(low, length)
        };
        let (below, end) = match found {
            Some(area) => {
                let area = &self.tree.node(area).item;
                (area.range.start() - area.gap, area.range.start())
            }
            None => (self.top, self.range.end()),
        };
        let gap = VirtRange::new(low.max(below), end);
        (gap.len() >= length).then_some((below, gap))
    }

    /// The lowest area of a subtree with a gap of `length` below it.
    fn lowest_in(&self, subtree: &Link<usize>, length: usize) -> Option<u32> {
        if subtree.sum < length {
            return None;
        }
        let mut at = subtree.top;
        loop {
            let node = self.tree.node(at);
            at = if node.link(Side::Left).sum >= length {
                node.link(Side::Left).top
            } else if node.item.gap >= length {
                return Some(at);
            } else {
                node.link(Side::Right).top
            };
        }
    }

    /// The lowest area with `length` free bytes below it that lie at `low` or above.
    ///
    /// On the way down to `low`, the areas and subtrees on the right of the way are
    /// candidates, the last of them the lowest. Only the first area above `low` can
    /// have a gap that reaches below it.
    fn lowest_above(&self, low: VirtAddr, length: usize) -> Option<u32> {
        let (mut at, mut first) = (self.tree.root().top, None);
        let mut subtree = None;
        while at != NIL {
            let node = self.tree.node(at);
            if node.item.range.start() <= low {
                at = node.link(Side::Right).top;
                continue;
            }
            // Everything here and on the right starts above `low`; what is found further
            // down on the left is lower, and so takes precedence.
            if node.item.gap_from(low).len() >= length {
                first = Some(at);
            } else if node.link(Side::Right).sum >= length {
                first = None;
                subtree = Some(*node.link(Side::Right));
            }
            at = node.link(Side::Left).top;
        }
        first.or_else(|| self.lowest_in(&subtree?, length))
    }

    /// Checks the tree and that areas and gaps tile the space.
    ///
    /// # Panics
    /// Where an invariant is broken.
    pub fn validate(&self) {
        let mut end = self.range.start();
        self.tree.validate(|_, area| {
            assert_eq!(area.range.start() - area.gap, end, "gap below {:?}", area.range);
            assert!(!area.range.is_empty() && self.range.contains_range(area.range));
            assert!(area.range.start().is_aligned(PAGE_SIZE));
            assert!(area.range.end().is_aligned(PAGE_SIZE));
            end = area.range.end();
        });
        assert_eq!(end, self.top, "end of the highest area");
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
        self.tree.clear();
    }
}
