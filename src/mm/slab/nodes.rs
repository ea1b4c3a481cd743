//! A cache's shares of all nodes. That of the first node is part of the cache; those of the
//! others are allocated where there are others, so that one node does not pay for sixteen.

use super::node::Node;
use crate::mm::mmzone::{NodeId, nr_node_ids};
use crate::sync::{Rank, SpinLock};
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicPtr, AtomicU8, Ordering::Relaxed};

/// Shares of a cache by node.
pub(super) struct Nodes {
    first: SpinLock<Node>,
    /// Those of the nodes behind the first, and how many they are.
    further: AtomicPtr<SpinLock<Node>>,
    len: AtomicU8,
}

const fn empty() -> SpinLock<Node> {
    SpinLock::new(Rank::SlabNode, Node::new())
}

impl Nodes {
    /// Creates that of the first node.
    pub const fn new() -> Self {
        Self { first: empty(), further: AtomicPtr::new(ptr::null_mut()), len: AtomicU8::new(0) }
    }

    /// Returns the share of `node`. A node that came without memory, beyond those that the cache
    /// knows, uses the first one's.
    #[inline]
    pub fn get(&self, node: NodeId) -> &SpinLock<Node> {
        match node.index().checked_sub(1) {
            Some(n) => self.further().get(n).unwrap_or(&self.first),
            None => &self.first,
        }
    }

    /// The shares of all nodes that this machine has, in their order.
    pub fn iter(&self) -> impl Iterator<Item = &SpinLock<Node>> + Clone {
        core::iter::once(&self.first).chain(self.further()).take(nr_node_ids())
    }

    fn further(&self) -> &[SpinLock<Node>] {
        match NonNull::new(self.further.load(Relaxed)) {
            // SAFETY: `set_further` made as many there, which live as long as the cache.
            Some(at) => unsafe {
                core::slice::from_raw_parts(at.as_ptr(), self.len.load(Relaxed).into())
            },
            None => &[],
        }
    }

    /// Bytes of the shares of `nodes` nodes that are no part of the cache.
    pub const fn size_further(nodes: usize) -> usize {
        nodes.saturating_sub(1) * size_of::<SpinLock<Node>>()
    }

    /// Makes the shares of `nodes` nodes that are no part of the cache at `memory`.
    ///
    /// # Safety
    /// It is memory of [`size_further`](Self::size_further) bytes, aligned to 8, that nobody else
    /// uses as long as the cache lives. The cache is not in use yet.
    pub unsafe fn set_further(&self, memory: NonNull<u8>, nodes: usize) {
        let at = memory.cast::<SpinLock<Node>>();
        const { assert!(align_of::<SpinLock<Node>>() <= 8) }
        let len = nodes.saturating_sub(1);
        for index in 0..len {
            // SAFETY: within the memory, as the caller says.
            unsafe { at.add(index).write(empty()) };
        }
        self.len.store(len as u8, Relaxed);
        self.further.store(at.as_ptr(), Relaxed);
    }

    /// Returns the memory that [`set_further`](Self::set_further) was given.
    pub fn memory_further(&self) -> Option<NonNull<u8>> {
        NonNull::new(self.further.load(Relaxed).cast())
    }
}
