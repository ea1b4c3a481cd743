//! An augmented AVL tree over slot numbers.
//!
//! Items are ordered by key and, among equal keys, by slot number. Every link to a
//! subtree carries the subtree's height and a sum over its items (a largest gap, a
//! largest end), so a search reads one node per level, and a change is carried up
//! without a look at siblings. Links are numbers of a [`SlotTable`]: no `unsafe` here.
//!
//! Linux: lib/rbtree.c with rbtree_augmented.h. An AVL tree is at most 1.44 log2(n)
//! deep where a red-black tree is 2 log2(n).
#![deny(unsafe_code)]

use super::slots::{NIL, SlotTable, TablePage};

/// Value that a [`Tree`] holds, with a key and a sum.
pub trait Item {
    /// Sum over a subtree, which links carry.
    type Sum: Copy + Eq;
    /// The sum of an empty subtree.
    const EMPTY: Self::Sum;
    /// Sort key of the item. It never changes while the item is in a tree.
    fn key(&self) -> usize;
    /// The sum of this item and the subtrees on its left and right.
    fn sum(&self, left: Self::Sum, right: Self::Sum) -> Self::Sum;
}

/// A side of a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// Smaller keys.
    Left = 0,
    /// Larger keys.
    Right = 1,
}
use Side::{Left, Right};

impl Side {
    fn other(self) -> Self {
        if self == Left { Right } else { Left }
    }
}

/// A subtree: its top, and what its parent needs to know of it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Link<S> {
    /// Highest node; `NIL` if there is none.
    pub top: u32,
    height: u8,
    /// The sum over its items.
    pub sum: S,
}

/// An item and the subtrees on both sides of it.
pub struct Node<I: Item> {
    /// The item.
    pub item: I,
    sides: [Link<I::Sum>; 2],
}

impl<I: Item> Node<I> {
    /// The subtree on `side`.
    #[inline]
    pub fn link(&self, side: Side) -> &Link<I::Sum> {
        &self.sides[side as usize]
    }
}

/// Deeper than any AVL tree of the 2^22 nodes that a table of slots has room for.
const DEPTH: usize = 32;

/// The nodes from the root down to a place, and the turn taken at each.
pub struct Path {
    nodes: [u32; DEPTH],
    /// Bit `i`: right at node `i`.
    turns: u64,
    len: usize,
}

impl Path {
    #[inline]
    fn new() -> Self {
        Self { nodes: [NIL; DEPTH], turns: 0, len: 0 }
    }
    #[inline]
    fn push(&mut self, node: u32, side: Side) {
        self.nodes[self.len] = node;
        self.turns = self.turns & !(1 << self.len) | (side as u64) << self.len;
        self.len += 1;
    }
    fn turn(&self, at: usize) -> Side {
        if self.turns >> at & 1 == 0 { Left } else { Right }
    }
    /// The depth of the last left turn: that node comes next after the place in order.
    fn successor(&self) -> Option<usize> {
        let left = !self.turns & ((1 << self.len) - 1);
        left.checked_ilog2().map(|at| at as usize)
    }
}

/// The tree, whose items lie in pages of type `P`. See the module's documentation.
pub struct Tree<I: Item, P> {
    slots: SlotTable<Node<I>, P>,
    root: Link<I::Sum>,
    /// Nodes read, as a measure of work.
    #[cfg(test)]
    pub steps: core::cell::Cell<usize>,
}

impl<I: Item, P: TablePage> Tree<I, P> {
    const NONE: Link<I::Sum> = Link { top: NIL, height: 0, sum: I::EMPTY };

    /// An empty tree.
    pub const fn new() -> Self {
        Self {
            slots: SlotTable::new(),
            root: Self::NONE,
            #[cfg(test)]
            steps: core::cell::Cell::new(0),
        }
    }

    /// The number of items.
    pub const fn len(&self) -> usize {
        self.slots.len()
    }

    /// The whole tree as a link.
    #[inline]
    pub const fn root(&self) -> &Link<I::Sum> {
        &self.root
    }

    /// Node `number`. Panics where it is stale.
    #[inline]
    #[track_caller]
    pub fn node(&self, number: u32) -> &Node<I> {
        #[cfg(test)]
        self.steps.set(self.steps.get() + 1);
        self.slots.get(number)
    }

    /// Item `number`, to change what neither its key nor a sum depends on.
    #[inline]
    #[track_caller]
    pub fn item_mut(&mut self, number: u32) -> &mut I {
        &mut self.slots.get_mut(number).item
    }

    #[inline]
    fn node_mut(&mut self, number: u32) -> &mut Node<I> {
        #[cfg(test)]
        self.steps.set(self.steps.get() + 1);
        self.slots.get_mut(number)
    }

    /// Returns true if the next [`Tree::insert`] will find a slot.
    pub const fn has_room(&self) -> bool {
        self.slots.has_room()
    }

    /// Takes a page for slots (see [`SlotTable::donate`]); gives it back where there is room.
    pub fn donate(&mut self, page: P) -> Result<(), P> {
        if self.has_room() { Err(page) } else { self.slots.donate(page) }
    }

    /// Gives a page back that holds no slot, if there is one.
    pub fn shrink(&mut self) -> Option<P> {
        self.slots.shrink()
    }

    /// The last item whose key is `key` or below.
    pub fn floor(&self, key: usize) -> Option<u32> {
        let (mut at, mut found) = (self.root.top, None);
        while at != NIL {
            let node = self.node(at);
            if node.item.key() <= key {
                found = Some(at);
                at = node.link(Right).top;
            } else {
                at = node.link(Left).top;
            }
        }
        found
    }

    /// Sorts `item` in. `successor` may change the item that comes after it, whose sum
    /// is carried up with the new one. `None`, with nothing changed, where a page
    /// must be donated first.
    pub fn insert(&mut self, item: I, successor: impl FnOnce(&mut I)) -> Option<u32> {
        let (key, sum) = (item.key(), item.sum(I::EMPTY, I::EMPTY));
        let new = self.slots.insert(Node { item, sides: [Self::NONE; 2] })?;
        let key = (key, new);
        let mut path = Path::new();
        let mut at = self.root.top;
        while at != NIL {
            let node = self.node(at);
            let side = if key < (node.item.key(), at) { Left } else { Right };
            path.push(at, side);
            at = node.link(side).top;
        }
        let next = path.successor();
        if let Some(depth) = next {
            successor(self.item_mut(path.nodes[depth]));
        }
        let leaf = Link { top: new, height: 1, sum };
        self.carry_up(&path, leaf, next.unwrap_or(usize::MAX));
        Some(new)
    }

    /// Takes item `number` out. `successor` may change the item that comes after it.
    ///
    /// # Panics
    /// Where the number is stale.
    #[track_caller]
    pub fn remove(&mut self, number: u32, successor: impl FnOnce(&mut I)) -> (I, Option<P>) {
        let node = self.node(number);
        let (key, sides) = ((node.item.key(), number), node.sides);
        let [left, right] = sides;
        let mut path = Path::new();
        let mut at = self.root.top;
        while at != number {
            assert_ne!(at, NIL, "item {number:#x} is not in the tree");
            let here = self.node(at);
            let side = if key < (here.item.key(), at) { Left } else { Right };
            path.push(at, side);
            at = here.link(side).top;
        }
        if right.top == NIL {
            // What comes next lies above.
            let next = path.successor();
            if let Some(depth) = next {
                successor(self.item_mut(path.nodes[depth]));
            }
            self.carry_up(&path, left, next.unwrap_or(usize::MAX));
        } else {
            // What comes next is the leftmost below on the right, and takes its place.
            let place = path.len;
            path.push(number, Right);
            let mut next = right.top;
            loop {
                let left = self.node(next).link(Left).top;
                if left == NIL {
                    break;
                }
                path.push(next, Left);
                next = left;
            }
            path.nodes[place] = next;
            let moved = self.node_mut(next);
            successor(&mut moved.item);
            let below = core::mem::replace(&mut moved.sides, sides)[Right as usize];
            self.carry_up(&path, below, place);
        }
        let (node, page) = self.slots.remove(number);
        (node.item, page)
    }

    /// Hangs `link` below the last node of `path`, and carries heights and sums up,
    /// turning where needed: to depth `reach` (none: `usize::MAX`) in any case, and
    /// from there on until a link stays as it was.
    fn carry_up(&mut self, path: &Path, mut link: Link<I::Sum>, reach: usize) {
        for depth in (0..path.len).rev() {
            let (number, side) = (path.nodes[depth], path.turn(depth));
            let node = self.node_mut(number);
            let old = core::mem::replace(&mut node.sides[side as usize], link);
            if old == link && depth < reach {
                return;
            }
            link = self.balance(number);
        }
        self.root = link;
    }

    /// The link to node `number`, whose sides are right.
    fn summary(&self, number: u32) -> Link<I::Sum> {
        let node = self.node(number);
        let [left, right] = &node.sides;
        let sum = node.item.sum(left.sum, right.sum);
        Link { top: number, height: left.height.max(right.height) + 1, sum }
    }

    /// Restores the balance of the subtree at `number`, whose sides are balanced and
    /// differ by two in height at most. The link to what is its top then.
    fn balance(&mut self, number: u32) -> Link<I::Sum> {
        let [left, right] = self.node(number).sides;
        let (high, low) = if left.height > right.height { (left, right) } else { (right, left) };
        if high.height - low.height <= 1 {
            return self.summary(number);
        }
        let side = if left.height > right.height { Left } else { Right };
        let child = self.node(high.top);
        if child.link(side.other()).height > child.link(side).height {
            let inner = self.turn(high.top, side.other());
            self.node_mut(number).sides[side as usize] = inner;
        }
        self.turn(number, side)
    }

    /// Lifts the child on `side` above `number`; the link to it.
    fn turn(&mut self, number: u32, side: Side) -> Link<I::Sum> {
        let up = self.node(number).link(side).top;
        let middle = *self.node(up).link(side.other());
        self.node_mut(number).sides[side as usize] = middle;
        let down = self.summary(number);
        self.node_mut(up).sides[side.other() as usize] = down;
        self.summary(up)
    }

    /// Checks order, balance, links and slots; calls `each` in order.
    ///
    /// # Panics
    /// Where an invariant is broken.
    pub fn validate(&self, mut each: impl FnMut(u32, &I)) {
        self.slots.validate();
        let (mut path, mut at, mut seen, mut last) = (Path::new(), self.root, 0, None);
        loop {
            while at.top != NIL {
                let node = self.slots.get(at.top);
                let (left, right) = (node.link(Left), node.link(Right));
                assert!(left.height.abs_diff(right.height) <= 1, "balance at {:#x}", at.top);
                assert!(self.summary(at.top) == at, "link to {:#x} is out of date", at.top);
                path.push(at.top, Left);
                at = *left;
            }
            assert!(at == Self::NONE, "an empty link carries something");
            if path.len == 0 {
                break;
            }
            path.len -= 1;
            let number = path.nodes[path.len];
            let node = self.slots.get(number);
            let key = Some((node.item.key(), number));
            assert!(last < key, "order at {number:#x}");
            last = key;
            seen += 1;
            each(number, &node.item);
            at = *node.link(Right);
        }
        assert_eq!(seen, self.len(), "slots that are not in the tree");
    }
}
