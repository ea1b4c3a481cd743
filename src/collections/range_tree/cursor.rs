//! Places of ranges, and changes there that need no second search.

use super::super::slots::{NIL, TablePage};
use super::change::MIN;
use super::node::Slot;
use super::{Entry, Gap, Path, RangeTree};
use core::ops::Range;

/// Place of a range in a tree, as long as the tree is not changed but through it.
pub struct Cursor {
    path: Path,
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
    /// Returns the first range that ends after `page`.
    #[inline]
    #[must_use]
    pub fn seek(&self, page: u64) -> Option<Cursor> {
        if self.root == NIL || page >= self.end {
            return None;
        }
        let mut path = self.path(page);
        let (leaf, at) = path.step(0);
        let node = self.node(leaf);
        let mut entry = node.slot(at);
        if entry.extra <= page {
            if at + 1 < node.len() {
                path.at[0] += 1;
                entry = node.slot(at + 1);
            } else if path.end == self.end {
                return None;
            } else {
                // The next leaf's part begins with a range.
                path = self.path(path.end);
                let (leaf, at) = path.step(0);
                entry = self.node(leaf).slot(at);
            }
        }
        Some(Cursor { path, entry })
    }

    /// Returns the range before that of `cursor`.
    #[inline]
    #[must_use]
    pub fn before(&self, cursor: &Cursor) -> Option<Entry> {
        let (leaf, at) = cursor.path.step(0);
        let entry = if at > 0 {
            self.node(leaf).slot(at - 1)
        } else {
            let end = self.end_before(&cursor.path);
            let (leaf, at, _) = self.leaf(end.checked_sub(1)?);
            self.node(leaf).slot(at)
        };
        let Slot { first, value, extra: end } = entry;
        Some(Entry { pages: first..end, value })
    }

    /// Returns the place of the range before that of `cursor`.
    #[inline]
    #[must_use]
    pub fn cursor_before(&self, cursor: &Cursor) -> Option<Cursor> {
        let (leaf, at) = cursor.path.step(0);
        if at > 0 {
            let mut path = cursor.path;
            path.at[0] -= 1;
            return Some(Cursor { path, entry: self.node(leaf).slot(at - 1) });
        }
        self.seek(self.end_before(&cursor.path).checked_sub(1)?)
    }

    /// Returns the range after that of `cursor`.
    #[inline]
    #[must_use]
    pub fn after(&self, cursor: &Cursor) -> Option<Entry> {
        let (leaf, at) = cursor.path.step(0);
        let node = self.node(leaf);
        if at + 1 == node.len() {
            return self.at_or_above(cursor.path.end);
        }
        let Slot { first, value, extra: end } = node.slot(at + 1);
        Some(Entry { pages: first..end, value })
    }

    /// Returns the pages between the ranges before and after that of `cursor`, which lie around it.
    #[inline]
    #[must_use]
    pub fn room_around(&self, cursor: &Cursor) -> Range<u64> {
        let (leaf, at) = cursor.path.step(0);
        let node = self.node(leaf);
        let start = if at > 0 { node.extra(at - 1) } else { self.end_before(&cursor.path) };
        let end = if at + 1 < node.len() { node.first(at + 1) } else { cursor.path.end };
        start..end
    }

    /// Returns the gap after the range of `cursor`, which may be empty.
    #[inline]
    #[must_use]
    pub fn gap_after(&self, cursor: &Cursor) -> Gap {
        let (leaf, at) = cursor.path.step(0);
        let node = self.node(leaf);
        let end = if at + 1 < node.len() { node.first(at + 1) } else { cursor.path.end };
        let whole = cursor.entry.extra..end;
        Gap { pages: whole.clone(), whole, leaf, at: at + 1 }
    }

    /// Removes the range of `cursor`, and returns its value. Pages that hold no node any more are
    /// passed to `give_back`.
    #[inline]
    pub fn remove_cursor(&mut self, cursor: Cursor, mut give_back: impl FnMut(P)) -> u32 {
        self.remove_at(&cursor.path, &mut give_back)
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
            if cursor.path.at[0] > 0 || cursor.path.is_first() {
                self.raise_along(&cursor.path, len);
            } else {
                self.raise_bounds(pages.start - 1, len);
            }
        }
        if pages.end < old.pages.end {
            self.full.note(room.end, room.end - pages.end);
            self.raise_along(&cursor.path, room.end - pages.end);
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
        let (leaf, at) = cursor.path.step(0);
        let old = cursor.entry.first;
        let node = self.node_mut(leaf);
        node.set_extra(at, pages.end);
        if pages.start != old {
            node.set_first(at, pages.start);
            if at == 0 {
                self.set_part(&cursor.path, pages.start);
            }
        }
        cursor.entry = Slot { first: pages.start, extra: pages.end, ..cursor.entry };
    }

    /// Lets the part of the leaf of `path`, whose first range has changed, begin at `first`.
    fn set_part(&mut self, path: &Path, first: u64) {
        if path.is_first() {
            return;
        }
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
        let (leaf, at) = cursor.path.step(0);
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
