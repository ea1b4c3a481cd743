//! Objects by their addresses, for kmemleak and debug_objects: a treap, in words that no
//! allocator but the page allocator knows of.
//!
//! An object is a node of eight words, by its number. Nodes are taken from blocks that stay;
//! those of objects that are known no more form a list. A treap's shape depends on the keys
//! alone: each node's priority is a hash of its address.

use crate::addr::{Order, Pfn, VirtAddr};
use crate::mm::page::Frame;
use crate::mm::stackdepot::{WORDS, take_words, words_of};
use bitflags::bitflags;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

bitflags! {
    /// State of an object (Linux: OBJECT_* of mm/kmemleak.c).
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub(in crate::mm::debug) struct ObjectFlags: u32 {
        /// The object was reported as a leak.
        const REPORTED = 1 << 0;
        /// The object holds no pointers.
        const NO_SCAN = 1 << 1;
        /// The object was freed during a scan, which still has its number.
        const DEAD = 1 << 2;
        /// Some words of it hold pointers, and no others.
        const SCAN_AREA = 1 << 3;
        /// The object waits to be scanned, or was.
        const QUEUED = 1 << 4;
    }
}

/// The number of an object, plus 1; 0 is none.
pub(in crate::mm::debug) type Node = u32;

const NODE_WORDS: usize = 8;
const BLOCK_ORDER: Order = match Order::new(2) {
    Some(order) => order,
    None => unreachable!(),
};
const BLOCK_NODES: usize = WORDS * BLOCK_ORDER.pages() as usize / NODE_WORDS;
/// Blocks that there can be: half a million objects.
const BLOCKS: usize = WORDS * BLOCK_ORDER.pages() as usize;

const START: usize = 0;
const SIZE_FLAGS: usize = 1;
const CHILDREN: usize = 2;
const STACK_CRC: usize = 3;
const COUNTS: usize = 4;
const TIME: usize = 5;
const WHO: usize = 6;
const NEXT: usize = 7;

/// A field of 32 bits: word, and whether it is the upper half.
type Field = (usize, bool);
pub(in crate::mm::debug) const SIZE: Field = (SIZE_FLAGS, false);
const FLAGS: Field = (SIZE_FLAGS, true);
const LEFT: Field = (CHILDREN, false);
const RIGHT: Field = (CHILDREN, true);
pub(in crate::mm::debug) const STACK: Field = (STACK_CRC, false);
pub(in crate::mm::debug) const CRC: Field = (STACK_CRC, true);
/// References found in this scan.
pub(in crate::mm::debug) const COUNT: Field = (COUNTS, false);
/// So many references make it reachable; [`BLACK`] for one that is none of the scan's.
pub(in crate::mm::debug) const MIN_COUNT: Field = (COUNTS, true);
pub(in crate::mm::debug) const PID: Field = (WHO, false);
/// Start and size of the words that hold pointers, both in units of eight bytes.
pub(in crate::mm::debug) const AREA: Field = (WHO, true);
/// The next of a list: of free nodes, or of those to be scanned.
pub(in crate::mm::debug) const LINK: Field = (NEXT, false);
/// The next of those that were freed during the scan.
pub(in crate::mm::debug) const DEAD_LINK: Field = (NEXT, true);

/// debug_objects: the object's state, its stage while it is active, its type, and the stack
/// that has made it active.
pub(in crate::mm::debug) const STATE: Field = COUNT;
pub(in crate::mm::debug) const EXTRA: Field = MIN_COUNT;
pub(in crate::mm::debug) const KIND: Field = PID;
pub(in crate::mm::debug) const ACTIVATED: Field = CRC;

/// `MIN_COUNT` of an object that is neither scanned nor reported (Linux: KMEMLEAK_BLACK).
pub(in crate::mm::debug) const BLACK: u32 = u32::MAX;

/// All objects. Under a lock of its user's.
pub(in crate::mm::debug) struct Objects {
    /// A block of which each word is the first frame of a block of nodes.
    directory: Option<Frame>,
    blocks: usize,
    /// Nodes that were taken from the last block.
    used: usize,
    free: Node,
    root: Node,
    pub(in crate::mm::debug) len: usize,
}

fn priority(start: usize) -> u64 {
    (start as u64 >> 3).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29) ^ start as u64
}

impl Objects {
    pub(in crate::mm::debug) const fn new() -> Self {
        Self { directory: None, blocks: 0, used: BLOCK_NODES, free: 0, root: 0, len: 0 }
    }

    fn words(&self, node: Node) -> &'static [AtomicU64] {
        let n = node as usize - 1;
        let block = self.directory.and_then(|directory| {
            let pfn = words_of(directory, BLOCK_ORDER)[n / BLOCK_NODES].load(Relaxed);
            Some(words_of(Frame::new(Pfn::new(pfn as u32))?, BLOCK_ORDER))
        });
        let Some(block) = block else { panic!("mm::debug: there is no object {node}") };
        &block[n % BLOCK_NODES * NODE_WORDS..][..NODE_WORDS]
    }

    pub(in crate::mm::debug) fn get(&self, node: Node, (word, high): Field) -> u32 {
        (self.words(node)[word].load(Relaxed) >> (u32::from(high) * 32)) as u32
    }

    pub(in crate::mm::debug) fn set(&self, node: Node, (word, high): Field, value: u32) {
        let shift = u32::from(high) * 32;
        let word = &self.words(node)[word];
        let other = word.load(Relaxed) & !(u64::from(u32::MAX) << shift);
        word.store(other | u64::from(value) << shift, Relaxed);
    }

    pub(in crate::mm::debug) fn start(&self, node: Node) -> VirtAddr {
        VirtAddr::new(self.words(node)[START].load(Relaxed) as usize)
    }

    pub(in crate::mm::debug) fn time(&self, node: Node) -> u64 {
        self.words(node)[TIME].load(Relaxed)
    }

    pub(in crate::mm::debug) fn set_time(&self, node: Node, time: u64) {
        self.words(node)[TIME].store(time, Relaxed);
    }

    pub(in crate::mm::debug) fn flags(&self, node: Node) -> ObjectFlags {
        ObjectFlags::from_bits_retain(self.get(node, FLAGS))
    }

    pub(in crate::mm::debug) fn set_flag(&self, node: Node, flag: ObjectFlags, on: bool) {
        let mut flags = self.flags(node);
        flags.set(flag, on);
        self.set(node, FLAGS, flags.bits());
    }

    /// Returns whether a new object needs a block of nodes first.
    pub(in crate::mm::debug) fn is_full(&self) -> bool {
        self.free == 0 && self.used == BLOCK_NODES
    }

    /// A block for [`Objects::add_block`]. Not under the lock.
    pub(in crate::mm::debug) fn take_block() -> Option<Frame> {
        take_words(BLOCK_ORDER).map(|(frame, _)| frame)
    }

    /// Adds room for objects, if it is needed yet and there is a place for it. The first
    /// block becomes the directory of the others.
    pub(in crate::mm::debug) fn add_block(&mut self, block: Frame) {
        let Some(directory) = self.directory else {
            self.directory = Some(block);
            return;
        };
        if self.used == BLOCK_NODES && self.blocks < BLOCKS {
            let entry = &words_of(directory, BLOCK_ORDER)[self.blocks];
            entry.store(u64::from(block.pfn().get()), Relaxed);
            self.blocks += 1;
            self.used = 0;
        }
    }

    /// Returns whether no more blocks can be added.
    pub(in crate::mm::debug) fn is_at_limit(&self) -> bool {
        self.blocks == BLOCKS
    }

    fn take_node(&mut self) -> Option<Node> {
        if self.free != 0 {
            let node = self.free;
            self.free = self.get(node, LINK);
            return Some(node);
        }
        if self.used == BLOCK_NODES {
            return None;
        }
        self.used += 1;
        Some(((self.blocks - 1) * BLOCK_NODES + self.used) as Node)
    }

    /// Gives back the node of an object that is in the tree no more.
    pub(in crate::mm::debug) fn free_node(&mut self, node: Node) {
        self.set(node, LINK, self.free);
        self.free = node;
    }

    /// Adds an object; `None` where there is no room, or it overlaps another.
    pub(in crate::mm::debug) fn insert(&mut self, start: VirtAddr, size: u32) -> Option<Node> {
        let last = start.checked_add(size as usize - 1)?;
        if let Some(other) = self.at_or_below(last)
            && self.start(other) + self.get(other, SIZE) as usize > start
        {
            return None;
        }
        let node = self.take_node()?;
        self.words(node).iter().for_each(|word| word.store(0, Relaxed));
        self.words(node)[START].store(start.get() as u64, Relaxed);
        self.set(node, SIZE, size);
        let (left, right) = self.split(self.root, start);
        let right = self.merge(node, right);
        self.root = self.merge(left, right);
        self.len += 1;
        Some(node)
    }

    /// Takes the object that starts at `start` out of the tree; its node stays.
    pub(in crate::mm::debug) fn remove(&mut self, start: VirtAddr) -> Option<Node> {
        let next = start.checked_add(1)?;
        let (left, rest) = self.split(self.root, start);
        let (node, right) = self.split(rest, next);
        self.root = self.merge(left, right);
        if node == 0 {
            return None;
        }
        self.len -= 1;
        Some(node)
    }

    /// Cuts a tree into what starts below `at` and the rest.
    fn split(&self, tree: Node, at: VirtAddr) -> (Node, Node) {
        if tree == 0 {
            return (0, 0);
        }
        if self.start(tree) < at {
            let (left, right) = self.split(self.get(tree, RIGHT), at);
            self.set(tree, RIGHT, left);
            (tree, right)
        } else {
            let (left, right) = self.split(self.get(tree, LEFT), at);
            self.set(tree, LEFT, right);
            (left, tree)
        }
    }

    /// Joins two trees, the first all below the second.
    fn merge(&self, left: Node, right: Node) -> Node {
        if left == 0 || right == 0 {
            return left | right;
        }
        if priority(self.start(left).get()) > priority(self.start(right).get()) {
            let joined = self.merge(self.get(left, RIGHT), right);
            self.set(left, RIGHT, joined);
            left
        } else {
            let joined = self.merge(left, self.get(right, LEFT));
            self.set(right, LEFT, joined);
            right
        }
    }

    /// The last object that starts at `at` or below.
    fn at_or_below(&self, at: VirtAddr) -> Option<Node> {
        let (mut tree, mut best) = (self.root, 0);
        while tree != 0 {
            if self.start(tree) <= at {
                best = tree;
                tree = self.get(tree, RIGHT);
            } else {
                tree = self.get(tree, LEFT);
            }
        }
        (best != 0).then_some(best)
    }

    /// The object that the byte at `at` is part of.
    pub(in crate::mm::debug) fn find(&self, at: VirtAddr) -> Option<Node> {
        let node = self.at_or_below(at)?;
        (at - self.start(node) < self.get(node, SIZE) as usize).then_some(node)
    }

    /// The first object that starts at `at` or above.
    pub(in crate::mm::debug) fn next(&self, at: VirtAddr) -> Option<Node> {
        let (mut tree, mut best) = (self.root, 0);
        while tree != 0 {
            if self.start(tree) >= at {
                best = tree;
                tree = self.get(tree, LEFT);
            } else {
                tree = self.get(tree, RIGHT);
            }
        }
        (best != 0).then_some(best)
    }
}
