//! The areas of an address space, in order (Linux: the maple tree of struct mm_struct).
//!
//! Areas lie in slots that never move and are named by numbers; a B+tree has their pages with those
//! numbers. Both have their room beforehand ([`VmaTree::reserve`]), so that no change fails.

use super::area::{Vma, page_of};
use super::file::{link, relink, unlink};
use crate::addr::{PAGE_SHIFT, TASK_SIZE, UserAddr, UserRange};
use crate::collections::range_tree::{Cursor, Entry, Gap, RangeTree};
use crate::collections::slots::SlotTable;
use crate::mm::alloc::AllocError;
use crate::mm::gfp::Gfp;
use crate::mm::vmalloc::slot_page::SlotPage;
use core::ops::Range;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Number of an area, as long as it is in its tree.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VmaId(u32);

impl VmaId {
    #[inline(always)]
    pub(super) const fn of(number: u32) -> Self {
        Self(number)
    }
    #[inline(always)]
    pub(super) const fn number(self) -> u32 {
        self.0
    }
}

/// Place of an area in the tree, as long as nothing else changes the tree.
pub struct Place(pub(super) Cursor);

impl Place {
    /// Number of the area.
    #[must_use]
    #[inline]
    pub fn id(&self) -> VmaId {
        VmaId(self.0.value())
    }
}

/// Addresses without an area: a range of some length within a gap, as long as nothing changes the
/// tree.
pub struct Hole(pub(super) Gap);

impl Hole {
    /// The range.
    #[must_use]
    #[inline]
    pub fn range(&self) -> UserRange {
        range_of(&self.0.pages)
    }
    /// All of the gap.
    #[must_use]
    #[inline]
    pub fn whole(&self) -> UserRange {
        range_of(&self.0.whole())
    }
    /// The part of the gap at `range`.
    #[must_use]
    #[inline]
    pub fn narrowed(self, range: UserRange) -> Self {
        Self(self.0.narrowed(pages_of(range)))
    }
}

/// Pages of whole-page range `range`.
#[inline(always)]
pub(super) fn pages_of(range: UserRange) -> Range<u64> {
    page_of(range.start().get())..page_of(range.end())
}

/// Addresses of `pages`, of a user's space.
#[inline(always)]
#[track_caller]
pub(super) fn range_of(pages: &Range<u64>) -> UserRange {
    let [start, end] = [pages.start, pages.end].map(|page| (page as usize) << PAGE_SHIFT);
    let start = UserAddr::new(start).expect("pages of users' space");
    UserRange::from_size(start, end - start.get()).expect("pages of users' space")
}

const _: () = assert!(SlotTable::<Vma, SlotPage>::SLOT_SIZE <= 96, "an area is too large");

/// See the module's documentation.
pub struct VmaTree {
    pub(super) tree: RangeTree<SlotPage>,
    pub(super) vmas: SlotTable<Vma, SlotPage>,
    /// Area that the last lookup found, whether or not it is still there.
    last: AtomicU32,
    /// Number of the address space, for the lists of who maps a file.
    mm: u64,
}

impl VmaTree {
    /// A tree without areas, of address space number `mm`.
    #[must_use]
    pub const fn new(mm: u64) -> Self {
        Self {
            tree: RangeTree::new((TASK_SIZE >> PAGE_SHIFT) as u64),
            vmas: SlotTable::new(),
            last: AtomicU32::new(0),
            mm,
        }
    }

    /// Returns the number of areas (Linux: map_count).
    #[must_use]
    #[inline]
    pub const fn len(&self) -> usize {
        self.vmas.len()
    }

    /// Returns whether there is no area.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the number of pages that hold areas and nodes.
    #[must_use]
    pub fn pages_held(&self) -> usize {
        self.vmas.pages_held() + self.tree.pages_held()
    }

    /// Makes room for one change, whichever it is: up to two more areas side by side. Process
    /// context.
    ///
    /// # Errors
    /// Memory is short.
    #[inline]
    pub fn reserve(&mut self) -> Result<(), AllocError> {
        if self.has_room() { Ok(()) } else { self.donate() }
    }

    /// A node that two neighbours are inserted into is split once at the most.
    #[inline(always)]
    fn has_room(&self) -> bool {
        self.tree.has_room() && self.vmas.has_room_for(2)
    }

    #[cold]
    #[inline(never)]
    fn donate(&mut self) -> Result<(), AllocError> {
        while !self.has_room() {
            let page = SlotPage::alloc(Gfp::GFP_KERNEL).ok_or(AllocError)?;
            let refused = if self.vmas.has_room_for(2) {
                self.tree.donate(page)
            } else {
                self.vmas.donate(page)
            };
            // A table that is at its largest takes none.
            refused.map_err(|_page| AllocError)?;
        }
        Ok(())
    }

    /// Area number `id`.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    #[inline]
    #[track_caller]
    pub fn get(&self, id: VmaId) -> &Vma {
        self.vmas.get(id.0)
    }

    /// Area at `place`.
    #[must_use]
    #[inline]
    pub fn at(&self, place: &Place) -> &Vma {
        self.vmas.get(place.0.value())
    }

    #[inline]
    fn of(&self, entry: Option<Entry>) -> Option<&Vma> {
        entry.map(|entry| self.vmas.get(entry.value))
    }

    /// Returns the area that `at` lies in (Linux: vma_lookup).
    #[must_use]
    #[inline]
    pub fn find(&self, at: UserAddr) -> Option<&Vma> {
        // Slots don't move: one that was freed and taken again is an area of this space too.
        if let Some(vma) = self.vmas.try_get(self.last.load(Relaxed))
            && vma.range.contains(at)
        {
            return Some(vma);
        }
        let entry = self.tree.find(page_of(at.get()))?;
        self.last.store(entry.value, Relaxed);
        Some(self.vmas.get(entry.value))
    }

    /// Returns the first area that ends after `at` (Linux: find_vma).
    #[must_use]
    pub fn find_at_or_above(&self, at: usize) -> Option<&Vma> {
        self.seek(at).map(|place| self.at(&place))
    }

    /// Returns the first area that has an address of `range` (Linux: find_vma_intersection).
    #[must_use]
    pub fn find_intersection(&self, range: UserRange) -> Option<&Vma> {
        let vma = self.find_at_or_above(range.start().get())?;
        (vma.start().get() < range.end()).then_some(vma)
    }

    /// Returns the place of the first area that ends after `at`.
    #[must_use]
    #[inline]
    pub fn seek(&self, at: usize) -> Option<Place> {
        self.tree.seek(page_of(at)).map(Place)
    }

    /// Returns the area before that at `place`.
    #[must_use]
    #[inline]
    pub fn before(&self, place: &Place) -> Option<&Vma> {
        self.of(self.tree.before(&place.0))
    }

    /// Returns the area after that at `place`.
    #[must_use]
    #[inline(always)]
    pub fn after(&self, place: &Place) -> Option<&Vma> {
        self.of(self.tree.after(&place.0))
    }

    /// Returns the last area that begins below `at`.
    #[must_use]
    pub fn find_below(&self, at: usize) -> Option<&Vma> {
        let page = page_of(at.checked_sub(1)?);
        match self.tree.gap_at(page) {
            Some(gap) => self.of(self.tree.before_gap(&gap)),
            None => self.of(self.tree.find(page)),
        }
    }

    /// Returns the gap that `at` lies in: all of it.
    #[must_use]
    #[inline]
    pub fn hole_at(&self, at: usize) -> Option<Hole> {
        self.tree.gap_at(page_of(at)).map(Hole)
    }

    /// Returns the areas before and after a gap.
    #[must_use]
    #[inline(always)]
    pub fn around(&self, hole: &Hole) -> (Option<&Vma>, Option<&Vma>) {
        (self.of(self.tree.before_gap(&hole.0)), self.of(self.tree.after_gap(&hole.0)))
    }

    /// All areas in order.
    pub fn iter(&self) -> impl Iterator<Item = &Vma> {
        self.iter_from(0)
    }

    /// The areas that end after `at`, in order.
    pub fn iter_from(&self, at: usize) -> impl Iterator<Item = &Vma> {
        let mut from = at;
        core::iter::from_fn(move || {
            let vma = self.find_at_or_above(from)?;
            from = vma.end();
            Some(vma)
        })
    }

    /// Sets the flags of the area at `place`.
    pub fn reset_flags(&mut self, id: VmaId, flags: super::VmFlags) {
        self.vmas.get_mut(id.0).reset_flags(flags);
    }

    /// Notes which pages an area has, by its first anonymous page. It has none yet (Linux:
    /// anon_vma_prepare).
    pub fn set_anon(&mut self, id: VmaId, anon: super::AnonVma) {
        self.vmas.get_mut(id.0).set_anon(anon);
    }

    /// Lets an area be as if it never had a page; those that it had were moved away.
    pub fn forget_pages(&mut self, id: VmaId) {
        let vma = self.vmas.get_mut(id.0);
        let first = page_of(vma.start().get());
        vma.set_identity(super::AnonVma::NONE, first);
        if vma.is_anonymous() {
            vma.pgoff = first;
        }
    }

    /// Adds an area at a hole of its range. There is room.
    #[inline(always)]
    pub(super) fn add(&mut self, hole: &Hole, vma: Vma) -> VmaId {
        let pages = pages_of(vma.range);
        link(self.mm, &vma);
        let number = self.vmas.insert(vma).expect("room, as the caller reserved it");
        self.tree.insert(&hole.0, pages, number);
        VmaId(number)
    }

    /// Takes area `id` out of its slot; it has left the tree.
    #[inline(always)]
    pub(super) fn take(&mut self, id: u32) -> Vma {
        let (vma, _page) = self.vmas.remove(id);
        unlink(self.mm, &vma);
        vma
    }

    /// Gives area `id` other addresses, as the tree has them.
    #[inline]
    pub(super) fn set_range(&mut self, id: u32, range: UserRange) {
        let vma = self.vmas.get_mut(id);
        relink(self.mm, vma, |vma| vma.set_range(range));
    }

    /// Cuts the area at `place` in two at `middle`, an address within it. The place stays that of the
    /// first one. There is room. Returns the number of the second one.
    #[inline]
    pub(super) fn split(&mut self, place: &mut Place, middle: UserAddr) -> VmaId {
        let number = place.0.value();
        let vma = self.vmas.get(number);
        let size = middle.get() - vma.start().get();
        let [lower, upper] = [(vma.start(), size), (middle, vma.end() - middle.get())]
            .map(|(start, bytes)| UserRange::from_size(start, bytes).expect("parts of an area"));
        let second = vma.part(upper);
        self.set_range(number, lower);
        link(self.mm, &second);
        let new = self.vmas.insert(second).expect("room, as the caller reserved it");
        self.tree.split(&mut place.0, page_of(middle.get()), new);
        VmaId(new)
    }

    /// Forgets all areas, and gives all pages back.
    pub fn clear(&mut self) {
        while let Some(place) = self.seek(0) {
            let number = self.tree.remove_cursor(place.0, drop);
            drop(self.take(number));
        }
        self.vmas.clear();
        self.tree.clear();
    }

    /// Checks that tree and areas agree, and that no two neighbours overlap.
    ///
    /// # Panics
    /// If an invariant is broken.
    pub fn validate(&self) {
        self.vmas.validate();
        let mut count = 0;
        self.tree.validate(|entry| {
            let vma = self.vmas.get(entry.value);
            assert_eq!(pages_of(vma.range), entry.pages, "pages of the area at {:?}", vma.range);
            assert_eq!(vma.page_prot, vma.flags().page_prot(), "area at {:?}", vma.range);
            count += 1;
        });
        assert_eq!(count, self.vmas.len(), "areas that are not in the tree");
    }

    /// Nodes read since the last call.
    #[cfg(test)]
    pub(crate) fn steps(&self) -> usize {
        self.tree.steps.take()
    }
}

impl Drop for VmaTree {
    /// Forgets the areas, and gives the pages back.
    fn drop(&mut self) {
        self.clear();
    }
}
