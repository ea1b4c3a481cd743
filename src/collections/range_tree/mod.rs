//! A B+tree of ranges of pages that finds gaps (Linux: lib/maple_tree.c).
//!
//! Ranges don't overlap. Each has a value: the number of its record in a table of the user's.
//! A leaf holds ranges, and an inner node the first page of each child's part of the space and an
//! upper bound of the largest gap in it. A child's part, but for the first, begins where a range
//! begins, so that each gap lies in the part of one child. An insertion makes gaps smaller and so
//! changes no bound; a removal raises the bounds above the new gap; a search that finds no gap
//! in a part lowers its bound to what it saw.
//!
//! | file | what it has |
//! | --- | --- |
//! | `node` | the entries of a node |
//! | `gap` | the search for gaps, and insertion beside them |
//! | `change` | insertion and removal |
//! | `cursor` | places of ranges, and changes there |
//! | `validate` | the check of the invariants |
//!
//! Invariants: all leaves are at one depth; a node has [`MIN`](change::MIN) entries at least, but
//! for the root, which has two if it is no leaf. So a million ranges lie at most 10 levels deep,
//! and 6 as they mostly come.
//!
//! Nodes lie in a [`SlotTable`], whose pages the user brings: no `unsafe` here.
#![deny(unsafe_code)]

mod change;
mod cursor;
mod gap;
mod node;
mod validate;

#[cfg(test)]
#[expect(unsafe_code, reason = "pages of the host's heap for nodes")]
mod tests;

use super::slots::{NIL, SlotTable, TablePage};
use core::ops::Range;
pub use cursor::Cursor;
pub use gap::Gap;
use node::{Node, Slot, VALUE_BITS};

/// Pages of the largest space: 48 bits of address.
pub const MAX_PAGES: u64 = 1 << 36;
const _: () = assert!(MAX_PAGES.ilog2() + VALUE_BITS == 64);

/// Levels of the deepest tree that a [`SlotTable`] has room for.
const DEPTH: usize = 12;

/// A range of a tree.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Its pages.
    pub pages: Range<u64>,
    /// Its value.
    pub value: u32,
}

/// See the module's documentation. Nodes lie in pages of type `P`.
pub struct RangeTree<P> {
    nodes: SlotTable<Node, P>,
    root: u32,
    /// Levels of inner nodes.
    height: usize,
    /// The space: pages 0 to here.
    end: u64,
    /// Result of the last search from the top, as long as it holds.
    full: gap::Full,
    /// Nodes read, as a measure of work.
    #[cfg(test)]
    pub steps: core::cell::Cell<usize>,
}

/// The way from the root to a place in a leaf: by level, 0 for the leaf, a node and the index of
/// an entry.
struct Path {
    nodes: [u32; DEPTH],
    at: [u8; DEPTH],
    /// End of the leaf's part of the space.
    end: u64,
}

impl Path {
    /// The node and the index of its entry at `level`.
    #[inline(always)]
    fn step(&self, level: usize) -> (u32, usize) {
        (self.nodes[level], usize::from(self.at[level]))
    }

    /// Returns true if it leads to the first entry of the tree.
    fn is_first(&self) -> bool {
        self.at == [0; DEPTH]
    }
}

impl<P: TablePage> RangeTree<P> {
    /// Creates an empty tree over `pages` pages, at most [`MAX_PAGES`].
    #[must_use]
    pub const fn new(pages: u64) -> Self {
        assert!(pages <= MAX_PAGES);
        Self {
            nodes: SlotTable::new(),
            root: NIL,
            height: 0,
            end: pages,
            full: gap::Full::NONE,
            #[cfg(test)]
            steps: core::cell::Cell::new(0),
        }
    }

    /// Returns true if the next [`insert`](Self::insert) has room for its nodes.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.nodes.has_room_for(self.height + 2)
    }

    /// Takes a page for nodes: donate until [`has_room`](Self::has_room). Gives it back where
    /// there is room, or the tree can't grow.
    pub fn donate(&mut self, page: P) -> Result<(), P> {
        if self.has_room() { Err(page) } else { self.nodes.donate(page) }
    }

    /// Gives a page back that holds no node; call until `None`.
    pub fn shrink(&mut self) -> Option<P> {
        self.nodes.shrink()
    }

    /// Forgets all ranges and gives all pages back. Process context.
    pub fn clear(&mut self) {
        self.nodes.clear();
        (self.root, self.height, self.full) = (NIL, 0, gap::Full::NONE);
    }

    /// Returns the number of pages that the tree holds.
    #[must_use]
    pub fn pages_held(&self) -> usize {
        self.nodes.pages_held()
    }

    #[inline(always)]
    fn node(&self, number: u32) -> &Node {
        #[cfg(test)]
        self.steps.set(self.steps.get() + 1);
        self.nodes.get(number)
    }

    #[inline(always)]
    fn node_mut(&mut self, number: u32) -> &mut Node {
        #[cfg(test)]
        self.steps.set(self.steps.get() + 1);
        self.nodes.get_mut(number)
    }

    /// Returns the leaf in whose part `page` lies, the index there of the last range that begins
    /// at `page` or below, 0 if there is none, and the end of the leaf's part. There is a root.
    #[inline(always)]
    fn leaf(&self, page: u64) -> (u32, usize, u64) {
        let (mut number, mut end) = (self.root, self.end);
        for _ in 0..self.height {
            let node = self.node(number);
            let at = node.floor(page);
            if at + 1 < node.len() {
                end = node.first(at + 1);
            }
            number = node.value(at);
        }
        (number, self.node(number).floor(page), end)
    }

    /// Returns the range that `page` lies in.
    #[inline]
    #[must_use]
    pub fn find(&self, page: u64) -> Option<Entry> {
        if self.root == NIL || page >= self.end {
            return None;
        }
        let mut node = self.node(self.root);
        for _ in 0..self.height {
            node = self.node(node.value(node.floor(page)));
        }
        let Slot { first, value, extra: end } = node.slot(node.floor(page));
        (first..end).contains(&page).then_some(Entry { pages: first..end, value })
    }

    /// Returns the first range that begins at `page` or above.
    #[must_use]
    pub fn at_or_above(&self, page: u64) -> Option<Entry> {
        if self.root == NIL || page >= self.end {
            return None;
        }
        let (mut leaf, mut at, end) = self.leaf(page);
        if self.node(leaf).first(at) < page {
            at += 1;
            if at == self.node(leaf).len() {
                if end == self.end {
                    return None;
                }
                // The next leaf's part begins with a range.
                (leaf, at, _) = self.leaf(end);
            }
        }
        let Slot { first, value, extra: end } = self.node(leaf).slot(at);
        Some(Entry { pages: first..end, value })
    }

    /// Returns the way to the last range that begins at `page` or below. There is a root.
    #[inline(always)]
    fn path(&self, page: u64) -> Path {
        let mut path = Path { nodes: [NIL; DEPTH], at: [0; DEPTH], end: self.end };
        let mut number = self.root;
        for level in (0..=self.height).rev() {
            let node = self.node(number);
            let at = node.floor(page);
            (path.nodes[level], path.at[level]) = (number, at as u8);
            if level > 0 {
                if at + 1 < node.len() {
                    path.end = node.first(at + 1);
                }
                number = node.value(at);
            }
        }
        path
    }
}
