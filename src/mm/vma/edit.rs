//! Changes of areas as values: computed first, then room is made, then they are carried out and
//! can't fail (Linux: vma_merge_struct, vma_munmap_struct).

use super::area::{Attributes, Vma, page_of};
use super::merge::{Merge, Proposed, merge};
use super::tree::{Hole, Place, VmaId, VmaTree, pages_of};
use super::{AnonVma, Totals};
use crate::addr::{UserAddr, UserRange};

/// Arrival of a range that has no area yet.
pub struct Insertion {
    hole: Hole,
    merge: Merge,
}

impl Insertion {
    /// Returns the neighbours that the range will merge with.
    #[must_use]
    pub const fn merge(&self) -> Merge {
        self.merge
    }
}

/// Change of the properties of a range within one area.
pub struct Modification {
    place: Place,
    range: UserRange,
    merge: Merge,
    splits_before: bool,
    splits_after: bool,
}

impl Modification {
    /// Returns how many areas are cut: 0, 1 or 2.
    #[must_use]
    #[inline]
    pub fn splits(&self) -> usize {
        match self.merge {
            Merge::None => usize::from(self.splits_before) + usize::from(self.splits_after),
            _ => 0,
        }
    }

    /// Returns the neighbours that the range will merge with.
    #[must_use]
    pub const fn merge(&self) -> Merge {
        self.merge
    }
}

/// Removal of all that lies in a range.
pub struct Removal {
    first: Place,
    range: UserRange,
    /// Pages that are removed.
    pub totals: Totals,
    /// End of the area before the range; 0: none.
    pub floor: usize,
    /// First address of the area after the range; the end of the space: none.
    pub ceiling: usize,
}

impl VmaTree {
    /// Computes the arrival of `proposed` at `hole`, which is its range.
    #[must_use]
    #[inline]
    pub fn plan_insertion(&self, hole: Hole, proposed: &Proposed<'_>) -> Insertion {
        let (before, after) = self.around(&hole);
        Insertion { merge: merge(before, after, proposed), hole }
    }

    /// Computes the arrival of `proposed` at `hole` as [`Self::plan_insertion`], which merges with
    /// areas for which `may` returns true alone.
    #[must_use]
    pub fn plan_insertion_beside(
        &self,
        hole: Hole,
        proposed: &Proposed<'_>,
        may: impl Fn(&Vma) -> bool,
    ) -> Insertion {
        let (before, after) = self.around(&hole);
        let merge = merge(before.filter(|vma| may(vma)), after.filter(|vma| may(vma)), proposed);
        Insertion { merge, hole }
    }

    /// Carries out an insertion: `vma` is what was proposed. There is [room](Self::reserve). Returns
    /// the number of the area that has the range now.
    #[inline(always)]
    pub fn insert(&mut self, insertion: Insertion, vma: Vma) -> VmaId {
        let Insertion { hole, merge } = insertion;
        let range = vma.range;
        match merge {
            Merge::None => self.add(&hole, vma),
            Merge::Left => {
                let id = self.tree.before_gap(&hole.0).expect("the area that grows").value;
                self.tree.extend_before(&hole.0, page_of(range.end()));
                let start = self.vmas.get(id).start();
                self.set_range(id, between(start, range.end()));
                VmaId::of(id)
            }
            Merge::Right => {
                let id = self.tree.after_gap(&hole.0).expect("the area that grows").value;
                self.tree.extend_after(&hole.0, page_of(range.start().get()));
                let end = self.vmas.get(id).end();
                self.set_range(id, between(range.start(), end));
                VmaId::of(id)
            }
            Merge::Both => {
                let start = self.tree.before_gap(&hole.0).expect("the area that grows").pages.start;
                let mut place = Place(self.tree.seek(start).expect("the area that grows"));
                self.absorb(&mut place);
                place.id()
            }
        }
    }

    /// Lets the area at `place` take the next one in, and what lies between. Pages that one of them
    /// has are the pages of both.
    #[inline]
    fn absorb(&mut self, place: &mut Place) {
        let number = place.0.value();
        let next = self.tree.absorb_next(&mut place.0, drop);
        let next = self.take(next);
        let vma = self.vmas.get_mut(number);
        if vma.anon().is_none() && !next.anon().is_none() {
            vma.set_anon(next.anon());
            let distance = page_of(next.start().get() - vma.start().get());
            vma.anon_pgoff = next.anon_pgoff.wrapping_sub(distance);
        }
        let start = vma.start();
        self.set_range(number, between(start, next.end()));
    }

    /// Computes a change of `range`, which lies in the area at `place`, to `attributes`.
    #[must_use]
    #[inline]
    pub fn plan_modification(
        &self,
        place: Place,
        range: UserRange,
        attributes: &Attributes,
    ) -> Modification {
        let vma = self.at(&place);
        let splits_before = vma.start() < range.start();
        let splits_after = range.end() < vma.end();
        let mut merged = Merge::None;
        if !(splits_before && splits_after) {
            let skipped = page_of(range.start().get() - vma.start().get());
            let proposed = Proposed {
                range,
                attributes,
                pgoff: vma.pgoff + skipped,
                anon: vma.anon(),
                anon_pgoff: vma.anon_pgoff.wrapping_add(skipped),
            };
            let before = if splits_before { None } else { self.before(&place) };
            let after = if splits_after { None } else { self.after(&place) };
            merged = merge(before, after, &proposed);
        }
        Modification { place, range, merge: merged, splits_before, splits_after }
    }

    /// Carries out a modification. There is [room](Self::reserve). Returns the number of the area
    /// that has the range now.
    pub fn modify(&mut self, modification: Modification, attributes: Attributes) -> VmaId {
        let Modification { mut place, range, merge, splits_before, splits_after } = modification;
        let number = place.0.value();
        match merge {
            Merge::None => {
                let end = range.end();
                if splits_after {
                    self.split(&mut place, addr(end));
                }
                let mut id = place.id();
                if splits_before {
                    id = self.split(&mut place, range.start());
                }
                let vma = self.vmas.get_mut(id.number());
                vma.page_prot = attributes.flags.page_prot();
                vma.attributes = attributes;
                id
            }
            Merge::Left if splits_after => {
                let end = self.vmas.get(number).end();
                let anon = self.identity(number);
                self.tree.set_pages(&mut place.0, page_of(range.end())..page_of(end));
                self.set_range(number, between(addr(range.end()), end));
                // Its place depends on where this one begins.
                let mut before = self.place_before(&place);
                self.grow_up(&mut before, range.end(), anon);
                before.id()
            }
            Merge::Right if splits_before => {
                let start = self.vmas.get(number).start();
                let anon = self.identity(number);
                self.tree.set_pages(&mut place.0, pages_of(between(start, range.start().get())));
                self.set_range(number, between(start, range.start().get()));
                let next = self.tree.seek(page_of(range.end())).expect("the area after it");
                self.grow_down(Place(next), range.start(), anon)
            }
            Merge::Left | Merge::Both => {
                let mut before = self.place_before(&place);
                self.absorb(&mut before);
                if merge == Merge::Both {
                    self.absorb(&mut before);
                }
                before.id()
            }
            Merge::Right => {
                // The next one's properties are those that the range is to have.
                self.absorb(&mut place);
                let vma = self.vmas.get_mut(number);
                vma.page_prot = attributes.flags.page_prot();
                vma.attributes = attributes;
                place.id()
            }
        }
    }

    /// Identity and index of the first anonymous page of area `number`.
    fn identity(&self, number: u32) -> (AnonVma, u64, UserAddr) {
        let vma = self.vmas.get(number);
        (vma.anon(), vma.anon_pgoff, vma.start())
    }

    fn place_before(&self, place: &Place) -> Place {
        Place(self.tree.cursor_before(&place.0).expect("an area before it"))
    }

    /// Lets the area at `place` reach up to `end`, over pages of an area with `identity`.
    fn grow_up(&mut self, place: &mut Place, end: usize, identity: (AnonVma, u64, UserAddr)) {
        let number = place.0.value();
        let start = self.vmas.get(number).start();
        self.tree.set_pages(&mut place.0, pages_of(between(start, end)));
        self.set_range(number, between(start, end));
        self.take_identity(number, identity);
    }

    /// Lets the area at `place` reach down to `start`, over pages of an area with `identity`.
    fn grow_down(
        &mut self,
        mut place: Place,
        start: UserAddr,
        identity: (AnonVma, u64, UserAddr),
    ) -> VmaId {
        let number = place.0.value();
        let end = self.vmas.get(number).end();
        self.tree.set_pages(&mut place.0, pages_of(between(start, end)));
        self.set_range(number, between(start, end));
        self.take_identity(number, identity);
        place.id()
    }

    fn take_identity(&mut self, number: u32, (anon, pgoff, start): (AnonVma, u64, UserAddr)) {
        let vma = self.vmas.get_mut(number);
        if vma.anon().is_none() && !anon.is_none() {
            vma.set_anon(anon);
            vma.anon_pgoff =
                pgoff.wrapping_add(page_of(vma.start().get())).wrapping_sub(page_of(start.get()));
        }
    }

    /// Computes the removal of all in `range`, which is not empty; `None` if there is nothing.
    #[must_use]
    #[inline(always)]
    pub fn plan_removal(&self, range: UserRange) -> Option<Removal> {
        let first = self.seek(range.start().get())?;
        let vma = self.at(&first);
        if vma.start().get() >= range.end() {
            return None;
        }
        let mut removal = Removal { range, totals: Totals::default(), floor: 0, ceiling: 0, first };
        let start = range.start().get();
        if vma.start().get() < start {
            removal.floor = start;
        } else {
            removal.floor = (self.tree.room_around(&removal.first.0).start as usize) << 12;
        }
        let mut at = start.max(vma.start().get());
        let mut vma = vma;
        loop {
            let end = vma.end().min(range.end());
            removal.totals.add(vma.flags(), page_of(end - at));
            if vma.end() > range.end() {
                removal.ceiling = range.end();
                return Some(removal);
            }
            let next = if vma.end() == self.at(&removal.first).end() {
                self.after(&removal.first)
            } else {
                self.find_at_or_above(vma.end())
            };
            match next {
                Some(next) if next.start().get() < range.end() => {
                    vma = next;
                    at = vma.start().get();
                }
                next => {
                    removal.ceiling =
                        next.map_or(crate::addr::TASK_SIZE, |next| next.start().get());
                    return Some(removal);
                }
            }
        }
    }

    /// Returns the first area that a removal is about.
    #[must_use]
    #[inline]
    pub fn first_of(&self, removal: &Removal) -> &Vma {
        self.at(&removal.first)
    }

    /// Carries out a removal. There is [room](Self::reserve).
    #[inline(always)]
    pub fn remove(&mut self, removal: Removal) {
        let Removal { first: mut place, range, .. } = removal;
        let number = place.0.value();
        let old = self.vmas.get(number).range;
        if old.start() < range.start() {
            if range.end() < old.end() {
                self.split(&mut place, addr(range.end()));
            }
            let kept = between(old.start(), range.start().get());
            self.tree.resize(place.0, pages_of(kept));
            self.set_range(number, kept);
        } else if old.end() <= range.end() {
            self.tree.remove_cursor(place.0, drop);
            drop(self.take(number));
        } else {
            let kept = between(addr(range.end()), old.end());
            self.tree.resize(place.0, pages_of(kept));
            self.set_range(number, kept);
        }
        if range.end() > old.end() {
            self.remove_rest(between(addr(old.end()), range.end()));
        }
    }

    #[inline(never)]
    fn remove_rest(&mut self, range: UserRange) {
        while let Some(place) = self.seek(range.start().get()) {
            let number = place.0.value();
            let old = self.vmas.get(number).range;
            if old.start().get() >= range.end() {
                return;
            }
            if old.end() <= range.end() {
                self.tree.remove_cursor(place.0, drop);
                drop(self.take(number));
            } else {
                let kept = between(addr(range.end()), old.end());
                self.tree.resize(place.0, pages_of(kept));
                self.set_range(number, kept);
                return;
            }
        }
    }

    /// Cuts the area that `at` lies within in two there, if there is one that begins below. There is
    /// [room](Self::reserve).
    pub fn split_at(&mut self, at: UserAddr) {
        if let Some(mut place) = self.seek(at.get())
            && self.at(&place).start() < at
        {
            self.split(&mut place, at);
        }
    }

    /// Lets the area at `place` begin at `start`, below, where nothing is; its pages stay where they
    /// are (Linux: expand_downwards).
    pub fn expand_downwards(&mut self, place: Place, start: UserAddr) {
        let number = place.0.value();
        let range = between(start, self.vmas.get(number).end());
        self.tree.resize(place.0, pages_of(range));
        self.set_range(number, range);
    }
}

/// Range from `start` to `end`, which are addresses of areas.
#[inline(always)]
#[track_caller]
pub(super) fn between(start: UserAddr, end: usize) -> UserRange {
    UserRange::from_size(start, end - start.get()).expect("addresses of areas")
}

#[inline(always)]
#[track_caller]
fn addr(at: usize) -> UserAddr {
    UserAddr::new(at).expect("an address of an area")
}
