//! The check of a tree's invariants.

use super::super::slots::{NIL, TablePage};
use super::change::MIN;
use super::{Entry, RangeTree};
use core::ops::Range;

/// Result of the check of a subtree.
struct Seen {
    /// Largest gap.
    gap: u64,
    /// End of the last range.
    end: u64,
    nodes: usize,
}

impl<P: TablePage> RangeTree<P> {
    /// Checks order, depth, fill, bounds and nodes; calls `each` for each range in order.
    ///
    /// # Panics
    /// If an invariant is broken.
    pub fn validate(&self, mut each: impl FnMut(Entry)) {
        self.nodes.validate();
        let mut nodes = 0;
        if self.root != NIL {
            nodes = self.check(self.root, self.height, 0..self.end, &mut each).nodes;
            let children = self.nodes.get(self.root).len();
            assert!(self.height == 0 || children > 1, "the root has one child");
        }
        assert_eq!(nodes, self.nodes.len(), "nodes that are not in the tree");
    }

    fn check(
        &self,
        number: u32,
        level: usize,
        part: Range<u64>,
        each: &mut impl FnMut(Entry),
    ) -> Seen {
        let node = self.nodes.get(number);
        let least = if level == self.height { 1 } else { MIN };
        assert!(node.len() >= least, "node {number:#x} has {} entries", node.len());
        assert!(node.is_permutation(), "order of node {number:#x}");
        if level > 0 || part.start > 0 {
            assert_eq!(node.first(0), part.start, "node {number:#x} begins elsewhere");
        }
        let mut seen = Seen { gap: 0, end: part.start, nodes: 1 };
        if level == 0 {
            for range in node.slots() {
                let is_in_order = seen.end <= range.first && range.first < range.extra;
                assert!(is_in_order, "range at {:#x} of node {number:#x}", range.first);
                seen.gap = seen.gap.max(range.first - seen.end);
                seen.end = range.extra;
                each(Entry { pages: range.first..range.extra, value: range.value });
            }
            assert!(seen.end <= part.end, "last range of node {number:#x}");
            seen.gap = seen.gap.max(part.end - seen.end);
            return seen;
        }
        for at in 0..node.len() {
            let child = node.slot(at);
            let start = if at == 0 { part.start } else { child.first };
            let end = if at + 1 < node.len() { node.first(at + 1) } else { part.end };
            assert!(start < end && seen.end <= start, "part {at} of node {number:#x}");
            let below = self.check(child.value, level - 1, start..end, each);
            assert!(below.gap <= child.extra, "bound {at} of node {number:#x}");
            if level > 1 {
                let bounds = self.nodes.get(child.value).slots().map(|slot| slot.extra);
                assert!(bounds.max() <= Some(child.extra), "bounds below {at} of {number:#x}");
            }
            seen.gap = seen.gap.max(below.gap);
            seen.end = below.end;
            seen.nodes += below.nodes;
        }
        seen
    }
}
