//! Insertion and removal of ranges.

use super::super::slots::{NIL, TablePage};
use super::node::{FANOUT, MAX_VALUE, Node, Slot};
use super::{Gap, Path, RangeTree};
use core::ops::Range;

/// Entries of a node at least, but for the root.
pub(super) const MIN: usize = 4;
/// Neighbours are merged when they have no more than this many entries together.
const MERGE: usize = 12;

/// Returns where a full node is split that an entry is inserted into before entry `at`. Where
/// that is near one end, as the next ones probably are too, the other half stays nearly full.
fn cut(at: usize) -> usize {
    match at {
        0..MIN => MIN - 1,
        MERGE.. => MERGE,
        _ => FANOUT / 2,
    }
}

impl<P: TablePage> RangeTree<P> {
    /// Inserts `pages`, which lie in `gap`, with `value`, at most 2^28 - 2. The tree was not changed
    /// since the gap was found.
    ///
    /// # Panics
    /// If `pages` is empty or not free, `value` is too large, or a node is full and there is no
    /// [room](Self::has_room). Of two ranges that are inserted side by side, one finds a full node at the most.
    #[track_caller]
    pub fn insert(&mut self, gap: &Gap, pages: Range<u64>, value: u32) {
        let Range { start: first, end } = pages;
        let is_within = gap.whole.start <= first && first < end && end <= gap.whole.end;
        assert!(is_within, "pages {first:#x} to {end:#x} of {gap:x?}");
        assert!(value <= MAX_VALUE, "value {value:#x}");
        let slot = Slot { first, value, extra: end };
        if self.root == NIL {
            assert!(self.has_room(), "a page has to be donated first");
            let mut leaf = Node::EMPTY;
            leaf.insert(0, slot);
            self.root = self.add_node(leaf);
            return;
        }
        let Gap { leaf, at, .. } = *gap;
        let node = self.node(leaf);
        let is_free = at <= node.len()
            && (at == 0 || node.extra(at - 1) == gap.whole.start)
            && (at == node.len() || node.first(at) == gap.whole.end);
        assert!(is_free, "{gap:x?} is no gap");
        if node.len() < FANOUT {
            return self.node_mut(leaf).insert(at, slot);
        }
        assert!(self.has_room(), "a page has to be donated first");
        let mut path = self.path(first);
        path.at[0] = at as u8;
        self.insert_slot(&mut path, slot);
    }

    fn add_node(&mut self, node: Node) -> u32 {
        self.nodes.insert(node).expect("there is room, as seen at the beginning")
    }

    /// Inserts `slot` into the leaf of `path`, and splits full nodes on the way up.
    fn insert_slot(&mut self, path: &mut Path, mut slot: Slot) {
        for level in 0..=self.height {
            let (number, at) = path.step(level);
            let node = self.node_mut(number);
            if node.len() < FANOUT {
                return node.insert(at, slot);
            }
            let cut = cut(at);
            let mut upper = Node::EMPTY;
            node.move_tail(cut, &mut upper);
            if at < cut || cut < MIN {
                node.insert(at, slot);
            } else {
                upper.insert(at - cut, slot);
            }
            let first = upper.first(0);
            let value = self.add_node(upper);
            // What is an upper bound of both halves is one of each.
            let mut bound = self.end;
            if level < self.height {
                let (parent, at) = path.step(level + 1);
                bound = self.node(parent).extra(at);
                path.at[level + 1] += 1;
            }
            slot = Slot { first, value, extra: bound };
        }
        let mut root = Node::EMPTY;
        root.insert(0, Slot { first: 0, value: self.root, extra: self.end });
        root.insert(1, slot);
        self.root = self.add_node(root);
        self.height += 1;
    }

    /// Removes the range that begins at `first`, and returns its value. Pages that hold no node
    /// any more are passed to `give_back`.
    ///
    /// # Panics
    /// If there is none.
    #[track_caller]
    pub fn remove(&mut self, first: u64, mut give_back: impl FnMut(P)) -> u32 {
        assert!(self.root != NIL && first < self.end, "no range begins at page {first:#x}");
        let path = self.path(first);
        let (leaf, at) = path.step(0);
        assert!(self.node(leaf).first(at) == first, "no range begins at page {first:#x}");
        self.remove_at(&path, &mut give_back)
    }

    /// Removes the range at the end of `path`, and returns its value.
    #[inline(always)]
    pub(super) fn remove_at(&mut self, path: &Path, give_back: &mut impl FnMut(P)) -> u32 {
        let (leaf, at) = path.step(0);
        let node = self.node(leaf);
        let Slot { first, value, .. } = node.slot(at);
        let end = if at + 1 < node.len() { node.first(at + 1) } else { path.end };
        if node.len() > MIN && (at > 0 || path.is_first()) {
            let start = if at > 0 { node.extra(at - 1) } else { 0 };
            self.node_mut(leaf).remove(at);
            self.full.note(end, end - start);
            self.raise_along(path, end - start);
            return value;
        }
        let start = if at > 0 { node.extra(at - 1) } else { self.end_before(path) };
        self.node_mut(leaf).remove(at);
        self.carry_up(path, give_back);
        self.shrink_root(give_back);
        self.full.note(end, end - start);
        self.raise_bounds(first, end - start);
        value
    }

    /// Raises the bounds of the parts that the leaf of `path` lies in to `len`.
    #[inline(always)]
    pub(super) fn raise_along(&mut self, path: &Path, len: u64) {
        for level in 1..=self.height {
            let (number, at) = path.step(level);
            let node = self.node_mut(number);
            node.set_extra(at, node.extra(at).max(len));
        }
    }

    /// Returns the end of the last range before the leaf of `path`.
    pub(super) fn end_before(&self, path: &Path) -> u64 {
        let steps = (1..=self.height).map(|level| (level, path.step(level)));
        let Some((level, (number, at))) = steps.into_iter().find(|(_, (_, at))| *at > 0) else {
            return 0;
        };
        let mut node = self.node(self.node(number).value(at - 1));
        for _ in 1..level {
            node = self.node(node.value(node.len() - 1));
        }
        node.extra(node.len() - 1)
    }

    /// Carries the removal of the entry at the end of `path` up: corrects where parts of the
    /// space begin, and gives a node with few entries more of them.
    fn carry_up(&mut self, path: &Path, give_back: &mut impl FnMut(P)) {
        // The first part of the space begins where the space does.
        let mut begins_later = path.at[0] == 0 && !path.is_first();
        for level in 0..self.height {
            let (parent, at) = path.step(level + 1);
            let node = self.node(path.nodes[level]);
            let (first, is_small) = (node.first(0), node.len() < MIN);
            if begins_later {
                self.node_mut(parent).set_first(at, first);
            }
            begins_later &= at == 0;
            let is_merged = is_small && self.fill(parent, at, give_back);
            if !is_merged && !begins_later {
                return;
            }
        }
    }

    /// Gives child `at` of `parent` entries of a neighbour, or merges the two. Returns true if
    /// `parent` has a child less.
    fn fill(&mut self, parent: u32, at: usize, give_back: &mut impl FnMut(P)) -> bool {
        let node = self.node(parent);
        // With the neighbour after it; the last one, with the neighbour before.
        let at = at.min(node.len() - 2);
        let ((lower, upper), bound) =
            ((node.value(at), node.value(at + 1)), node.extra(at).max(node.extra(at + 1)));
        let [lower_len, upper_len] = [lower, upper].map(|child| self.node(child).len());
        self.node_mut(parent).set_extra(at, bound);
        let sum = lower_len + upper_len;
        let is_merged = sum <= MERGE;
        let wanted = if is_merged { sum } else { sum / 2 };
        for len in lower_len..wanted {
            self.move_slot((upper, 0), (lower, len));
        }
        for len in (wanted..lower_len).rev() {
            self.move_slot((lower, len), (upper, 0));
        }
        if is_merged {
            self.free_node(upper, give_back);
            self.node_mut(parent).remove(at + 1);
        } else {
            let first = self.node(upper).first(0);
            let node = self.node_mut(parent);
            node.set_first(at + 1, first);
            node.set_extra(at + 1, bound);
        }
        is_merged
    }

    /// Moves the entry at one index of a node to an index of another.
    fn move_slot(&mut self, from: (u32, usize), to: (u32, usize)) {
        let node = self.node_mut(from.0);
        let slot = node.slot(from.1);
        node.remove(from.1);
        self.node_mut(to.0).insert(to.1, slot);
    }

    /// Frees a root that is empty or has one child.
    fn shrink_root(&mut self, give_back: &mut impl FnMut(P)) {
        let root = self.node(self.root);
        let child = match (root.len(), self.height) {
            (0, _) => NIL,
            (1, 1..) => root.value(0),
            _ => return,
        };
        self.free_node(self.root, give_back);
        (self.root, self.height) = (child, self.height.saturating_sub(1));
    }

    fn free_node(&mut self, number: u32, give_back: &mut impl FnMut(P)) {
        let (_, page) = self.nodes.remove(number);
        page.into_iter().for_each(give_back);
    }

    /// Raises the bounds of the parts that `page` lies in to `len`.
    pub(super) fn raise_bounds(&mut self, page: u64, len: u64) {
        let mut number = self.root;
        for _ in 0..self.height {
            let node = self.node_mut(number);
            let at = node.floor(page);
            node.set_extra(at, node.extra(at).max(len));
            number = node.value(at);
        }
    }
}
