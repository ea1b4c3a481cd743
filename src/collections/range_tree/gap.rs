//! The search for a gap.

use super::super::slots::{NIL, TablePage};
use super::node::Slot;
use super::{Entry, RangeTree};
use core::ops::Range;

/// A free range of a tree, as long as the tree is not changed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Gap {
    /// The pages of it that were asked for.
    pub pages: Range<u64>,
    /// All of it.
    pub(super) whole: Range<u64>,
    /// Leaf that it lies in, and the index there of the range after it.
    pub(super) leaf: u32,
    pub(super) at: usize,
}

impl Gap {
    /// All of the gap, from the end of the range before it to the first page of the range after it.
    #[inline(always)]
    #[must_use]
    pub fn whole(&self) -> Range<u64> {
        self.whole.clone()
    }

    /// Limits the pages that were asked for.
    #[must_use]
    pub fn narrowed(self, pages: Range<u64>) -> Self {
        let pages = pages.start.max(self.whole.start)..pages.end.min(self.whole.end);
        Self { pages, ..self }
    }
}

/// Part of the space without a gap of some length.
pub(super) struct Full {
    /// No gap of so many pages, or more,
    len: u64,
    /// ends below this page,
    limit: u64,
    /// and has pages from here on.
    start: u64,
}

impl Full {
    /// Nothing is known.
    pub const NONE: Self = Self { len: u64::MAX, limit: 0, start: 0 };

    /// Takes note of a gap of `len` pages that ends at `end`.
    #[inline(always)]
    pub fn note(&mut self, end: u64, len: u64) {
        if end > self.start && len >= self.len {
            self.start = end;
        }
    }
}

/// A search for a gap of `len` pages within `pages`.
struct Search {
    len: u64,
    pages: Range<u64>,
}

impl Search {
    /// Returns the part of `gap` within the limits, if it is long enough.
    #[inline(always)]
    fn fit(&self, gap: &Range<u64>) -> Option<Range<u64>> {
        if gap.end - gap.start < self.len {
            return None;
        }
        let (start, end) = (gap.start.max(self.pages.start), gap.end.min(self.pages.end));
        (end.saturating_sub(start) >= self.len).then_some(start..end)
    }
}

impl<P: TablePage> RangeTree<P> {
    /// Returns the lowest free range within `pages` of at least `len` pages: as much of the gap
    /// as lies within `pages`. `len` is not 0. Changes bounds, but no range.
    pub fn lowest_gap(&mut self, len: u64, pages: Range<u64>) -> Option<Gap> {
        let search = Search { len, pages };
        let part = 0..self.end;
        if search.pages.start >= self.end {
            return None;
        }
        if self.root == NIL {
            return search.fit(&part).map(|pages| Gap { pages, whole: part, leaf: NIL, at: 0 });
        }
        self.lowest_in(&search, self.root, self.height, part).ok()
    }

    /// Searches node `number` at `level`, whose part of the space is `part`. The error is an
    /// upper bound of the largest gap in it, within the limits or not.
    fn lowest_in(
        &mut self,
        search: &Search,
        number: u32,
        level: usize,
        part: Range<u64>,
    ) -> Result<Gap, u64> {
        if level == 0 {
            return self.lowest_in_leaf(search, number, part);
        }
        // Children before this one end before the limits begin.
        let mut from = self.node(number).floor(search.pages.start);
        loop {
            let node = self.node(number);
            let (child, at, end) = {
                let limit = search.pages.end;
                let mut left = node.slots_from(from).zip(from..);
                let fits = |(child, _): &(Slot, usize)| child.extra >= search.len;
                let found = left.find(fits).filter(|(child, at)| *at == 0 || child.first < limit);
                let Some((child, at)) = found else {
                    return Err(node.slots().map(|slot| slot.extra).max().unwrap_or(0));
                };
                (child, at, left.next().map_or(part.end, |(next, _)| next.first))
            };
            let start = if at == 0 { part.start } else { child.first };
            match self.lowest_in(search, child.value, level - 1, start..end) {
                Ok(gap) => return Ok(gap),
                Err(largest) => self.node_mut(number).set_extra(at, largest),
            }
            from = at + 1;
        }
    }

    fn lowest_in_leaf(&self, search: &Search, leaf: u32, part: Range<u64>) -> Result<Gap, u64> {
        let node = self.node(leaf);
        let (mut free, mut largest) = (part.start, 0);
        for (range, at) in node.slots().zip(0..) {
            let whole = free..range.first;
            if let Some(pages) = search.fit(&whole) {
                return Ok(Gap { pages, whole, leaf, at });
            }
            largest = largest.max(range.first - free);
            free = range.extra;
        }
        let whole = free..part.end;
        let bound = largest.max(part.end - free);
        search.fit(&whole).map(|pages| Gap { pages, whole, leaf, at: node.len() }).ok_or(bound)
    }

    /// Returns the highest free range within `pages` of at least `len` pages: as much of the gap
    /// as lies within `pages`. `len` is not 0. Changes bounds, but no range.
    pub fn highest_gap(&mut self, len: u64, pages: Range<u64>) -> Option<Gap> {
        let limit = pages.end;
        let mut search = Search { len, pages };
        if len >= self.full.len && limit == self.full.limit {
            search.pages.end = limit.min(self.full.start);
        }
        let part = 0..self.end;
        if search.pages.start >= search.pages.end.min(self.end) {
            return None;
        }
        if self.root == NIL {
            return search.fit(&part).map(|pages| Gap { pages, whole: part, leaf: NIL, at: 0 });
        }
        let gap = self.highest_in(&search, self.root, self.height, part).ok()?;
        self.full = Full { len, limit, start: gap.pages.end };
        Some(gap)
    }

    /// Searches node `number` as [`Self::lowest_in`] does, from the top.
    fn highest_in(
        &mut self,
        search: &Search,
        number: u32,
        level: usize,
        part: Range<u64>,
    ) -> Result<Gap, u64> {
        if level == 0 {
            return self.highest_in_leaf(search, number, part);
        }
        let mut node = self.node(number);
        // Children after this one begin after the limits end.
        let mut at = node.floor(search.pages.end - 1);
        loop {
            let (child, start) = loop {
                let child = node.slot(at);
                let start = if at == 0 { part.start } else { child.first };
                if child.extra >= search.len {
                    break (child, start);
                }
                if at == 0 || start <= search.pages.start {
                    return Err(node.slots().map(|slot| slot.extra).max().unwrap_or(0));
                }
                at -= 1;
            };
            let end = if at + 1 < node.len() { node.first(at + 1) } else { part.end };
            match self.highest_in(search, child.value, level - 1, start..end) {
                Ok(gap) => return Ok(gap),
                Err(largest) => self.node_mut(number).set_extra(at, largest),
            }
            node = self.node(number);
            if at == 0 || start <= search.pages.start {
                return Err(node.slots().map(|slot| slot.extra).max().unwrap_or(0));
            }
            at -= 1;
        }
    }

    fn highest_in_leaf(&self, search: &Search, leaf: u32, part: Range<u64>) -> Result<Gap, u64> {
        let node = self.node(leaf);
        let limit = search.pages.end - 1;
        let mut at = node.floor(limit);
        if node.first(at) <= limit {
            at += 1;
        }
        let mut end = if at < node.len() { node.first(at) } else { part.end };
        loop {
            let start = if at > 0 { node.extra(at - 1) } else { part.start };
            let whole = start..end;
            if let Some(pages) = search.fit(&whole) {
                return Ok(Gap { pages, whole, leaf, at });
            }
            if at == 0 || start <= search.pages.start {
                return Err(Self::largest_gap(node, part));
            }
            at -= 1;
            end = node.first(at);
        }
    }

    /// Returns the largest gap of a leaf whose part of the space is `part`.
    fn largest_gap(node: &super::node::Node, part: Range<u64>) -> u64 {
        let (mut free, mut largest) = (part.start, 0);
        for range in node.slots() {
            largest = largest.max(range.first - free);
            free = range.extra;
        }
        largest.max(part.end - free)
    }

    /// Returns the gap that `page` lies in: all of it. `None` where `page` lies in a range or past the
    /// space.
    #[must_use]
    pub fn gap_at(&self, page: u64) -> Option<Gap> {
        if page >= self.end {
            return None;
        }
        if self.root == NIL {
            return Some(Gap { pages: 0..self.end, whole: 0..self.end, leaf: NIL, at: 0 });
        }
        let (leaf, at, part_end) = self.leaf(page);
        let node = self.node(leaf);
        let range = node.slot(at);
        let (whole, at) = if range.first > page {
            // Only the first leaf has a gap before its first range.
            (0..range.first, at)
        } else if range.extra <= page {
            let end = if at + 1 < node.len() { node.first(at + 1) } else { part_end };
            (range.extra..end, at + 1)
        } else {
            return None;
        };
        Some(Gap { pages: whole.clone(), whole, leaf, at })
    }

    /// Returns the range before `gap`.
    #[inline]
    #[must_use]
    pub fn before_gap(&self, gap: &Gap) -> Option<Entry> {
        // A gap at the beginning of a leaf is the first one of the space.
        let at = gap.at.checked_sub(1)?;
        let Slot { first, value, extra: end } = self.node(gap.leaf).slot(at);
        Some(Entry { pages: first..end, value })
    }

    /// Returns the range after `gap`.
    #[inline]
    #[must_use]
    pub fn after_gap(&self, gap: &Gap) -> Option<Entry> {
        if gap.leaf == NIL {
            return None;
        }
        let node = self.node(gap.leaf);
        if gap.at < node.len() {
            let Slot { first, value, extra: end } = node.slot(gap.at);
            return Some(Entry { pages: first..end, value });
        }
        self.at_or_above(gap.whole.end)
    }

    /// Lets the range before `gap` end at `end`, within the gap.
    ///
    /// # Panics
    /// If there is none, or `gap` has changed.
    #[inline]
    #[track_caller]
    pub fn extend_before(&mut self, gap: &Gap, end: u64) {
        let at = gap.at.checked_sub(1).expect("a range before the gap");
        let is_within = gap.whole.start < end && end <= gap.whole.end;
        let node = self.node_mut(gap.leaf);
        assert!(is_within && node.extra(at) == gap.whole.start, "{gap:?} up to {end:#x}");
        node.set_extra(at, end);
    }

    /// Lets the range after `gap` begin at `first`, within the gap.
    ///
    /// # Panics
    /// If there is none, or `gap` has changed.
    #[inline]
    #[track_caller]
    pub fn extend_after(&mut self, gap: &Gap, first: u64) {
        let is_within = gap.whole.start <= first && first < gap.whole.end;
        assert!(is_within && gap.leaf != NIL, "{gap:?} from {first:#x}");
        let node = self.node_mut(gap.leaf);
        if gap.at < node.len() {
            assert!(node.first(gap.at) == gap.whole.end, "{gap:?} has changed");
            return node.set_first(gap.at, first);
        }
        let cursor = self.seek(gap.whole.end).expect("a range after the gap");
        let end = cursor.entry().pages.end;
        self.resize(cursor, first..end);
    }
}
