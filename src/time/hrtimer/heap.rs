//! A pairing heap of timers that are linked through themselves: policy (Fredman and others, "The
//! pairing heap", Algorithmica 1986; Linux has a tree there, lib/timerqueue.c).
//!
//! Putting a timer in takes one comparison; taking one out takes about as many as the logarithm of
//! their number, on the average over many. No memory is needed. The heap names timers by handles, and
//! reaches their links through [`Nodes`].
#![deny(unsafe_code)]

use core::cell::Cell;

/// Place of a timer in a heap.
pub struct Links<Id> {
    /// The first of those below it.
    child: Cell<Option<Id>>,
    /// The next of those below the same one.
    next: Cell<Option<Id>>,
    /// The one before it, or above it if it is the first.
    prev: Cell<Option<Id>>,
}

impl<Id> Links<Id> {
    /// The place of a timer in no heap.
    pub const fn new() -> Self {
        Self { child: Cell::new(None), next: Cell::new(None), prev: Cell::new(None) }
    }
}

/// Way from the handle of a timer to what the heap needs of it.
pub trait Nodes {
    /// The handle.
    type Id: Copy + PartialEq;
    /// Returns its place.
    fn links(&self, id: Self::Id) -> &Links<Self::Id>;
    /// Returns the key by which it is ordered; no two in a heap have the same.
    fn key(&self, id: Self::Id) -> (u64, u64);
}

/// A heap of timers, of which the one with the smallest key is the first.
pub struct Heap<Id> {
    first: Option<Id>,
}

impl<Id: Copy + PartialEq> Heap<Id> {
    /// An empty heap.
    pub const fn new() -> Self {
        Self { first: None }
    }

    /// Returns the first.
    pub const fn first(&self) -> Option<Id> {
        self.first
    }

    /// Puts in one that is in no heap.
    pub fn insert(&mut self, nodes: &impl Nodes<Id = Id>, id: Id) {
        self.first = Some(self.first.map_or(id, |first| meld(nodes, first, id)));
    }

    /// Takes out one that is in this heap.
    pub fn remove(&mut self, nodes: &impl Nodes<Id = Id>, id: Id) {
        let below = pair_up(nodes, nodes.links(id).child.take());
        if self.first == Some(id) {
            self.first = below;
            return;
        }
        let links = nodes.links(id);
        let (prev, next) = (links.prev.take(), links.next.take());
        if let Some(prev) = prev {
            let prev = nodes.links(prev);
            let place = if prev.child.get() == Some(id) { &prev.child } else { &prev.next };
            place.set(next);
        }
        if let Some(next) = next {
            nodes.links(next).prev.set(prev);
        }
        if let Some(below) = below {
            self.insert(nodes, below);
        }
    }
}

/// Puts one of two, which stand below none, below the other. Returns the one above.
fn meld<N: Nodes>(nodes: &N, one: N::Id, other: N::Id) -> N::Id {
    let (above, below) =
        if nodes.key(other) < nodes.key(one) { (other, one) } else { (one, other) };
    let child = nodes.links(above).child.replace(Some(below));
    nodes.links(below).next.set(child);
    nodes.links(below).prev.set(Some(above));
    if let Some(child) = child {
        nodes.links(child).prev.set(Some(below));
    }
    above
}

/// Makes one heap of those that stand side by side, from `first` on: melds them two by two, and then
/// the results from the last to the first.
fn pair_up<N: Nodes>(nodes: &N, first: Option<N::Id>) -> Option<N::Id> {
    let take = |id: Option<N::Id>| {
        id.and_then(|id| {
            nodes.links(id).prev.set(None);
            nodes.links(id).next.take()
        })
    };
    let (mut rest, mut pairs) = (first, None);
    while let Some(one) = rest {
        let other = take(rest);
        rest = take(other);
        let pair = other.map_or(one, |other| meld(nodes, one, other));
        nodes.links(pair).next.set(pairs);
        pairs = Some(pair);
    }
    let mut whole = None;
    while let Some(pair) = pairs {
        pairs = nodes.links(pair).next.take();
        whole = Some(whole.map_or(pair, |whole| meld(nodes, whole, pair)));
    }
    whole
}
