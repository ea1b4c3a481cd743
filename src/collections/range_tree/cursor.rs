//! Places of ranges, and changes there that need no second search.

use super::super::slots::{NIL, TablePage};
use super::change::MIN;
use super::node::Slot;
use super::{Entry, Gap, Path, RangeTree};
use core::ops::Range;

/// Place of a range in a tree, as long as the tree is not changed but through it. It has of the way
/// there what most changes need; others go it again.
#[derive(Clone, Copy)]
pub struct Cursor {
    leaf: u32,
    /// The node above the leaf; [`NIL`] if there is none.
    parent: u32,
    /// Indices of the range in the leaf, and of the leaf in the node above.
    at: u8,
    at_parent: u8,
    /// True if it is the leaf that the space begins with.
    is_first_leaf: bool,
    /// End of the leaf's part of the space.
    end: u64,
    entry: Slot,
}

impl Cursor {
    /// Returns the range and its value.
    #[inline(always)]
    #[must_use]
    pub fn entry(&self) -> Entry {
        let Slot { first, value, extra: end } = self.entry;
        Entry { pages: first..end, value }
    }

    /// Returns the value of the range.
    #[inline(always)]
    #[must_use]
    pub fn value(&self) -> u32 {
        self.entry.value
    }
}

impl<P: TablePage> RangeTree<P> {
    /// Returns the place of the last range that begins at `page` or below, or else of the first one of
    /// all. There is a root.
    #[inline(always)]
    fn cursor(&self, page: u64) -> Cursor {
        let (mut number, mut parent, mut at_parent) = (self.root, NIL, 0);
        let (mut end, mut is_first_leaf) = (self.end, true);
        for _ in 0..self.height {
            let node = self.node(number);
            let at = node.floor(page);
            if at + 1 < node.len() {
                end = node.first(at + 1);
            }
            is_first_leaf &= at == 0;
            (parent, at_parent, number) = (number, at as u8, node.value(at));
        }
        let node = self.node(number);
        let at = node.floor(page);
        let entry = node.slot(at);
        Cursor { leaf: number, parent, at: at as u8, at_parent, is_first_leaf, end, entry }
    }

    /// Returns the first range that ends after `page`.
    #[inline(always)]
    #[must_use]
    pub fn seek(&self, page: u64) -> Option<Cursor> {
        if self.root == NIL || page >= self.end {
            return None;
        }
        let mut cursor = self.cursor(page);
        if cursor.entry.extra <= page {
            let (node, next) = (self.node(cursor.leaf), usize::from(cursor.at) + 1);
            if next < node.len() {
                (cursor.at, cursor.entry) = (next as u8, node.slot(next));
            } else if cursor.end == self.end {
                return None;
            } else {
                // The next leaf's part begins with a range.
                cursor = self.cursor(cursor.end);
            }
        }
        Some(cursor)
    }

    /// Returns the range before that of `cursor`.
    #[inline]
    #[must_use]
    pub fn before(&self, cursor: &Cursor) -> Option<Entry> {
        let (leaf, at) = (cursor.leaf, usize::from(cursor.at));
        let entry = if at > 0 {
            self.node(leaf).slot(at - 1)
        } else {
            if cursor.is_first_leaf {
                return None;
            }
            let (leaf, at, _) = self.leaf(cursor.entry.first - 1);
            self.node(leaf).slot(at)
        };
        let Slot { first, value, extra: end } = entry;
        Some(Entry { pages: first..end, value })
    }

    /// Returns the place of the range before that of `cursor`.
    #[inline]
    #[must_use]
    pub fn cursor_before(&self, cursor: &Cursor) -> Option<Cursor> {
        let (leaf, at) = (cursor.leaf, usize::from(cursor.at));
        if at > 0 {
            let entry = self.node(leaf).slot(at - 1);
            return Some(Cursor { at: cursor.at - 1, entry, ..*cursor });
        }
        if cursor.is_first_leaf { None } else { Some(self.cursor(cursor.entry.first - 1)) }
    }

    /// Returns the range after that of `cursor`.
    #[inline]
    #[must_use]
    pub fn after(&self, cursor: &Cursor) -> Option<Entry> {
        let (leaf, at) = (cursor.leaf, usize::from(cursor.at));
        let node = self.node(leaf);
        if at + 1 == node.len() {
            return self.at_or_above(cursor.end);
        }
        let Slot { first, value, extra: end } = node.slot(at + 1);
        Some(Entry { pages: first..end, value })
    }

    /// Returns the pages between the ranges before and after that of `cursor`, which lie around it.
    #[inline]
    #[must_use]
    pub fn room_around(&self, cursor: &Cursor) -> Range<u64> {
        let (leaf, at) = (cursor.leaf, usize::from(cursor.at));
        let node = self.node(leaf);
        let start = if at > 0 { node.extra(at - 1) } else { self.end_of_leaf_before(cursor) };
        let end = if at + 1 < node.len() { node.first(at + 1) } else { cursor.end };
        start..end
    }

    /// Returns the end of the range before the first one of a leaf.
    #[inline(never)]
    fn end_of_leaf_before(&self, cursor: &Cursor) -> u64 {
        if cursor.is_first_leaf {
            return 0;
        }
        let (leaf, at, _) = self.leaf(cursor.entry.first - 1);
        self.node(leaf).extra(at)
    }

    /// Raises the bounds of the parts that the leaf of `cursor` lies in to `len`. A bound is never
    /// below those of its own parts.
    #[inline(always)]
    fn raise_above(&mut self, cursor: &Cursor, len: u64) {
        let is_below =
            |tree: &Self| tree.node(cursor.parent).extra(usize::from(cursor.at_parent)) < len;
        if cursor.parent != NIL && is_below(self) {
            self.raise_bounds(cursor.entry.first, len);
        }
    }

    /// Returns the gap after the range of `cursor`, which may be empty.
    #[inline]
    #[must_use]
    pub fn gap_after(&self, cursor: &Cursor) -> Gap {
        let (leaf, at) = (cursor.leaf, usize::from(cursor.at));
        let node = self.node(leaf);
        let end = if at + 1 < node.len() { node.first(at + 1) } else { cursor.end };
        let whole = cursor.entry.extra..end;
        Gap { pages: whole.clone(), whole, leaf, at: at + 1 }
    }

    /// Removes the range of `cursor`, and returns its value. Pages that hold no node any more are
    /// passed to `give_back`.
    #[inline]
    pub fn remove_cursor(&mut self, cursor: Cursor, give_back: impl FnMut(P)) -> u32 {
        let (leaf, at) = (cursor.leaf, usize::from(cursor.at));
        let node = self.node(leaf);
        let Slot { first, value, .. } = cursor.entry;
        if node.len() <= MIN || at == 0 && !cursor.is_first_leaf {
            return self.remove(first, give_back);
        }
        let start = if at > 0 { node.extra(at - 1) } else { 0 };
        let end = if at + 1 < node.len() { node.first(at + 1) } else { cursor.end };
        self.node_mut(leaf).remove(at);
        self.full.note(end, end - start);
        self.raise_above(&cursor, end - start);
        value
    }

    /// Changes the range of `cursor` to `pages`.
    ///
    /// # Panics
    /// If `pages` is empty or not free but for the range itself.
    #[inline]
    #[track_caller]
    pub fn resize(&mut self, mut cursor: Cursor, pages: Range<u64>) {
        let room = self.room_around(&cursor);
        let old = cursor.entry();
        self.set_pages(&mut cursor, pages.clone());
        if pages.start > old.pages.start {
            let len = pages.start - room.start;
            self.full.note(pages.start, len);
            if cursor.at > 0 || cursor.is_first_leaf {
                self.raise_above(&cursor, len);
            } else {
                self.raise_bounds(pages.start - 1, len);
            }
        }
        if pages.end < old.pages.end {
            self.full.note(room.end, room.end - pages.end);
            self.raise_above(&cursor, room.end - pages.end);
        }
    }

    /// Changes the range of `cursor` to `pages`, where what that leaves free is filled at once: the
    /// bounds of gaps stay. Other cursors are not valid any more.
    ///
    /// # Panics
    /// As [`Self::resize`].
    #[inline]
    #[track_caller]
    pub fn set_pages(&mut self, cursor: &mut Cursor, pages: Range<u64>) {
        let room = self.room_around(cursor);
        let fits = room.start <= pages.start && pages.start < pages.end && pages.end <= room.end;
        assert!(fits, "{pages:x?} between {room:x?}");
        let (leaf, at) = (cursor.leaf, usize::from(cursor.at));
        let old = cursor.entry.first;
        self.node_mut(leaf).set_extra(at, pages.end);
        if pages.start != old {
            if at == 0 && !cursor.is_first_leaf {
                let path = self.path(old);
                self.set_part(&path, pages.start);
            }
            self.node_mut(leaf).set_first(at, pages.start);
        }
        cursor.entry = Slot { first: pages.start, extra: pages.end, ..cursor.entry };
    }

    /// Lets the part of the leaf of `path`, whose first range has changed, begin at `first`.
    fn set_part(&mut self, path: &Path, first: u64) {
        for level in 1..=self.height {
            let (number, at) = path.step(level);
            self.node_mut(number).set_first(at, first);
            if at > 0 {
                return;
            }
        }
    }

    /// Cuts the range of `cursor` in two at page `middle`; the second one gets `value`. The cursor
    /// stays at the first.
    ///
    /// # Panics
    /// If `middle` is not within the range, or without [room](Self::has_room).
    #[inline]
    #[track_caller]
    pub fn split(&mut self, cursor: &mut Cursor, middle: u64, value: u32) {
        let Entry { pages, .. } = cursor.entry();
        assert!(pages.start < middle && middle < pages.end, "{middle:#x} cuts {pages:x?}");
        self.set_pages(cursor, pages.start..middle);
        let gap = self.gap_after(cursor);
        let is_moved = self.node(gap.leaf).len() == super::node::FANOUT;
        self.insert(&gap, middle..pages.end, value);
        if is_moved {
            *cursor = self.seek(pages.start).expect("the first part");
        }
    }

    /// Removes the range after that of `cursor`, which ends where that one ends from now on. Returns
    /// the value of the one removed.
    ///
    /// # Panics
    /// If there is none.
    #[inline]
    #[track_caller]
    pub fn absorb_next(&mut self, cursor: &mut Cursor, give_back: impl FnMut(P)) -> u32 {
        let (leaf, at) = (cursor.leaf, usize::from(cursor.at));
        let Slot { first, extra: own_end, .. } = cursor.entry;
        let node = self.node_mut(leaf);
        if at + 1 < node.len() && node.len() > MIN {
            let Slot { value, extra: end, .. } = node.slot(at + 1);
            node.remove(at + 1);
            node.set_extra(at, end);
            cursor.entry.extra = end;
            return value;
        }
        let next = self.after(cursor).expect("a range after it");
        let value = self.remove(next.pages.start, give_back);
        let mut own = self.seek(own_end - 1).expect("the range itself");
        self.set_pages(&mut own, first..next.pages.end);
        *cursor = own;
        value
    }
}
