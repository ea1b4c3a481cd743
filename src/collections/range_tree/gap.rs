//! The search for a gap.

use super::super::slots::{NIL, TablePage};
use super::RangeTree;
use super::node::Slot;
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
}
