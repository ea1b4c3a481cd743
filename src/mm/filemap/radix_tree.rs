//! A radix tree from indexes to values (Linux: lib/xarray.c).
//!
//! Values below 64 need a leaf of 256 bytes, and each further level takes 6 bits of the index. A
//! node without a value is given back at once. Nodes are made outside of the lock that guards a
//! tree: [`RadixTree::insert`] says which ones are missing.
#![deny(unsafe_code)]

use crate::mm::alloc::{AllocError, KBox};
use crate::mm::gfp::Gfp;
use arrayvec::ArrayVec;
use core::mem::replace;

/// Bits of an index that a level takes.
const SHIFT: u32 = 6;
/// Entries of a node.
const FANOUT: usize = 1 << SHIFT;
/// Levels above the leaves that all indexes need at the most.
const MAX_HEIGHT: usize = 64_usize.div_ceil(SHIFT as usize) - 1;

/// The lowest level: values.
type Leaf<T> = [Option<T>; FANOUT];
/// A level above: parts of the height below.
type Inner<T> = [Part<T>; FANOUT];

/// A part of the tree: nothing, or a node and the number of its entries that are in use.
enum Part<T> {
    Empty,
    Leaf(KBox<Leaf<T>>, u8),
    Inner(KBox<Inner<T>>, u8),
}

/// Nodes for an insertion, made without a lock.
pub(super) struct Nodes<T> {
    leaf: Option<KBox<Leaf<T>>>,
    /// Levels above the root, and those of the way down beside it.
    inner: ArrayVec<KBox<Inner<T>>, { 2 * MAX_HEIGHT }>,
}

/// Number of nodes of each kind that an insertion needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Missing {
    leaf: bool,
    inner: usize,
}

impl<T> Nodes<T> {
    /// No nodes.
    pub const fn new() -> Self {
        Self { leaf: None, inner: ArrayVec::new_const() }
    }

    /// Makes the nodes that are missing. Context as `gfp` says.
    ///
    /// # Errors
    /// Memory is short.
    pub(super) fn fill(&mut self, missing: Missing, gfp: Gfp) -> Result<(), AllocError> {
        if missing.leaf && self.leaf.is_none() {
            self.leaf = Some(KBox::new([const { None }; FANOUT], gfp)?);
        }
        while self.inner.len() < missing.inner {
            self.inner.push(KBox::new([const { Part::Empty }; FANOUT], gfp)?);
        }
        Ok(())
    }

    fn has(&self, missing: Missing) -> bool {
        self.inner.len() >= missing.inner && (self.leaf.is_some() || !missing.leaf)
    }

    /// An empty node `height` levels above the leaves.
    ///
    /// # Panics
    /// [`Nodes::has`] was not asked.
    fn take(&mut self, height: u32) -> Part<T> {
        let part = match height {
            0 => self.leaf.take().map(|leaf| Part::Leaf(leaf, 0)),
            _ => self.inner.pop().map(|inner| Part::Inner(inner, 0)),
        };
        part.expect("nodes of an insertion were counted")
    }
}

/// The tree. See the module's documentation.
pub(super) struct RadixTree<T> {
    root: Part<T>,
    /// Levels above the leaves.
    height: u32,
    len: usize,
}

/// Reason why a value was not inserted; it comes back.
#[derive(Debug)]
pub(super) enum InsertError<T> {
    /// There is a value at the index.
    Exists(T),
    /// The insertion needs these nodes.
    Missing(T, Missing),
}

/// Position of `index` in a node `height` levels above the leaves.
fn slot(index: u64, height: u32) -> usize {
    (index >> (height * SHIFT)) as usize & (FANOUT - 1)
}

/// Levels above the leaves that an index needs.
fn height_for(index: u64) -> u32 {
    index.checked_ilog2().map_or(0, |top| top / SHIFT)
}

impl<T> RadixTree<T> {
    /// An empty tree.
    pub const fn new() -> Self {
        Self { root: Part::Empty, height: 0, len: 0 }
    }

    /// Number of values.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// The value at `index`.
    pub fn get(&self, index: u64) -> Option<&T> {
        if height_for(index) > self.height {
            return None;
        }
        let (mut part, mut height) = (&self.root, self.height);
        loop {
            match part {
                Part::Empty => return None,
                Part::Leaf(leaf, _) => return leaf[slot(index, 0)].as_ref(),
                Part::Inner(inner, _) => {
                    part = &inner[slot(index, height)];
                    height -= 1;
                }
            }
        }
    }

    /// Number of nodes that an insertion at `index` takes.
    fn missing(&self, index: u64) -> Missing {
        let height = height_for(index);
        if matches!(self.root, Part::Empty) {
            return Missing { leaf: true, inner: height as usize };
        }
        if height > self.height {
            // New levels above the root, of which the highest has a way down of its own.
            let above = height - self.height;
            return Missing { leaf: true, inner: (above + height - 1) as usize };
        }
        let (mut part, mut height) = (&self.root, self.height);
        loop {
            match part {
                // The node that is missing is `height` levels above the leaves.
                Part::Empty => return Missing { leaf: true, inner: height as usize },
                Part::Leaf(..) => return Missing { leaf: false, inner: 0 },
                Part::Inner(inner, _) => {
                    part = &inner[slot(index, height)];
                    height -= 1;
                }
            }
        }
    }

    /// Puts `value` at `index`, with nodes of `nodes`.
    ///
    /// # Errors
    /// [`InsertError`]; nothing has changed.
    pub fn insert(
        &mut self,
        index: u64,
        value: T,
        nodes: &mut Nodes<T>,
    ) -> Result<(), InsertError<T>> {
        if self.get(index).is_some() {
            return Err(InsertError::Exists(value));
        }
        let missing = self.missing(index);
        if !nodes.has(missing) {
            return Err(InsertError::Missing(value, missing));
        }
        let height = height_for(index);
        if matches!(self.root, Part::Empty) {
            self.height = height;
        }
        while self.height < height {
            let below = replace(&mut self.root, nodes.take(self.height + 1));
            if let Part::Inner(inner, live) = &mut self.root {
                inner[0] = below;
                *live = 1;
            }
            self.height += 1;
        }
        let (mut part, mut height) = (&mut self.root, self.height);
        loop {
            if matches!(part, Part::Empty) {
                *part = nodes.take(height);
            }
            match part {
                Part::Empty => unreachable!("it has just been filled"),
                Part::Leaf(leaf, live) => {
                    leaf[slot(index, 0)] = Some(value);
                    *live += 1;
                    self.len += 1;
                    return Ok(());
                }
                Part::Inner(inner, live) => {
                    let next = &mut inner[slot(index, height)];
                    if matches!(next, Part::Empty) {
                        *live += 1;
                    }
                    part = next;
                    height -= 1;
                }
            }
        }
    }

    /// Takes the value at `index` out.
    pub fn remove(&mut self, index: u64) -> Option<T> {
        if height_for(index) > self.height {
            return None;
        }
        let value = remove(&mut self.root, self.height, index)?;
        self.len -= 1;
        if matches!(self.root, Part::Empty) {
            self.height = 0;
        }
        Some(value)
    }

    /// The first value at `from` or above, and its index.
    pub fn next(&self, from: u64) -> Option<(u64, &T)> {
        if height_for(from) > self.height {
            return None;
        }
        next(&self.root, self.height, from, 0)
    }
}

/// Takes the value at `index` out of a part; a node that has become empty is dropped.
fn remove<T>(part: &mut Part<T>, height: u32, index: u64) -> Option<T> {
    let (value, live) = match part {
        Part::Empty => return None,
        Part::Leaf(leaf, live) => {
            let value = leaf[slot(index, 0)].take()?;
            *live -= 1;
            (value, *live)
        }
        Part::Inner(inner, live) => {
            let below = &mut inner[slot(index, height)];
            let value = remove(below, height - 1, index)?;
            if matches!(below, Part::Empty) {
                *live -= 1;
            }
            (value, *live)
        }
    };
    if live == 0 {
        *part = Part::Empty;
    }
    Some(value)
}

/// The first value at `from` or above in a part whose first index is `base`.
fn next<T>(part: &Part<T>, height: u32, from: u64, base: u64) -> Option<(u64, &T)> {
    match part {
        Part::Empty => None,
        Part::Leaf(leaf, _) => (slot(from, 0)..FANOUT)
            .find_map(|n| leaf[n].as_ref().map(|value| (base + n as u64, value))),
        Part::Inner(inner, _) => {
            let first = slot(from, height);
            (first..FANOUT).find_map(|n| {
                let from = if n == first { from } else { 0 };
                let base = base + ((n as u64) << (height * SHIFT));
                next(&inner[n], height - 1, from, base)
            })
        }
    }
}
