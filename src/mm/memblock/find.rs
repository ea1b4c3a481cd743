//! Searching and allocating.

use super::{Memblock, MemblockError};
use crate::addr::{PAGE_SIZE, PhysAddr, PhysRange};
use crate::mm::mmzone::NodeId;

/// Every address there is: for searches that no range confines.
pub const ANYWHERE: PhysRange = PhysRange::new(PhysAddr::new(0), PhysAddr::new(u64::MAX));

/// Nodes whose memory an allocation may take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Nodes {
    /// All of them (Linux: NUMA_NO_NODE).
    Any,
    /// All of them, but this one as long as it has such memory.
    Prefer(NodeId),
    /// Allocates from this node only (Linux: exact_nid).
    Only(NodeId),
}

impl Nodes {
    /// [`Nodes::Prefer`] where a node is named, else [`Nodes::Any`].
    #[must_use]
    pub fn prefer(nid: Option<NodeId>) -> Self {
        nid.map_or(Self::Any, Self::Prefer)
    }

    /// [`Nodes::Only`] where a node is named, else [`Nodes::Any`].
    #[must_use]
    pub fn only(nid: Option<NodeId>) -> Self {
        nid.map_or(Self::Any, Self::Only)
    }
}

/// Bytes of an allocation when it is handed out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Bytes {
    /// Leaves the bytes as they are.
    Raw,
    Zeros,
}

impl Memblock {
    /// A free range of `size` bytes at a multiple of `align` inside `within`, the
    /// highest or lowest there is (see [`Memblock::set_bottom_up`]). It is not taken.
    /// The first page of memory is never given out (Linux:
    /// memblock_find_in_range_node).
    ///
    /// # Errors
    /// [`MemblockError::NoMemory`], [`MemblockError::Invalid`].
    pub fn find_in_range(
        &self,
        size: u64,
        align: u64,
        within: PhysRange,
        nid: Option<NodeId>,
    ) -> Result<PhysRange, MemblockError> {
        if size == 0 || !align.is_power_of_two() {
            return Err(MemblockError::Invalid);
        }
        let page_1 = PhysAddr::new(PAGE_SIZE as u64);
        let within = PhysRange::new(within.start().max(page_1), within.end());
        let hotplug = !self.movable_node;
        let found = if self.bottom_up {
            self.free_ranges(nid, hotplug).find_map(|free| {
                let free = free.range.intersect(within);
                let range = PhysRange::from_size(free.start().align_up(align)?, size);
                (range.len() == size && free.contains_range(range)).then_some(range)
            })
        } else {
            self.free_ranges_reverse(nid, hotplug).find_map(|free| {
                let free = free.range.intersect(within);
                let last = free.end().get().checked_sub(size)?;
                let range = PhysRange::from_size(PhysAddr::new(last).align_down(align), size);
                free.contains_range(range).then_some(range)
            })
        };
        found.ok_or(MemblockError::NoMemory)
    }

    /// Allocates inside a range, whether the CPU can reach it yet or not: the current
    /// limit does not count (Linux: memblock_phys_alloc_range).
    ///
    /// # Errors
    /// All of [`MemblockError`].
    pub fn phys_alloc_range(
        &mut self,
        size: u64,
        align: u64,
        within: PhysRange,
    ) -> Result<PhysRange, MemblockError> {
        self.alloc_range_nid(size, align, within, Nodes::Any)
    }

    /// Allocates below the current limit. The bytes are as they were left.
    ///
    /// # Errors
    /// All of [`MemblockError`].
    pub fn phys_alloc(&mut self, size: u64, align: u64) -> Result<PhysRange, MemblockError> {
        self.alloc_try_nid_raw(size, align, ANYWHERE, None)
    }

    /// Allocates below the current limit, and fills the range with zeros (Linux:
    /// memblock_alloc).
    ///
    /// # Errors
    /// All of [`MemblockError`].
    pub fn alloc(&mut self, size: u64, align: u64) -> Result<PhysRange, MemblockError> {
        self.alloc_try_nid(size, align, ANYWHERE, None)
    }

    /// Allocates below the current limit; the bytes are as they were left (Linux:
    /// memblock_alloc_raw).
    ///
    /// # Errors
    /// All of [`MemblockError`].
    pub fn alloc_raw(&mut self, size: u64, align: u64) -> Result<PhysRange, MemblockError> {
        self.alloc_try_nid_raw(size, align, ANYWHERE, None)
    }

    /// Allocates inside a range, from some nodes (Linux: memblock_alloc_range_nid).
    ///
    /// # Errors
    /// All of [`MemblockError`].
    pub fn alloc_range_nid(
        &mut self,
        size: u64,
        align: u64,
        within: PhysRange,
        nodes: Nodes,
    ) -> Result<PhysRange, MemblockError> {
        let range = self.find_on_nodes(size, align, within, nodes)?;
        self.reserve(range)?;
        Ok(range)
    }

    /// A free range inside `within` on one of the nodes.
    fn find_on_nodes(
        &self,
        size: u64,
        align: u64,
        within: PhysRange,
        nodes: Nodes,
    ) -> Result<PhysRange, MemblockError> {
        let find = |nid| self.find_in_range(size, align, within, nid);
        match nodes {
            Nodes::Any => find(None),
            Nodes::Only(nid) => find(Some(nid)),
            Nodes::Prefer(nid) => match find(Some(nid)) {
                Err(MemblockError::NoMemory) => find(None),
                found => found,
            },
        }
    }

    /// Allocates below the current limit, inside a range and from a node if that can
    /// be, and fills the range with zeros. The node is given up first, then the range's
    /// lower end, never its upper end (Linux: memblock_alloc_try_nid).
    ///
    /// # Errors
    /// All of [`MemblockError`].
    pub fn alloc_try_nid(
        &mut self,
        size: u64,
        align: u64,
        within: PhysRange,
        nid: Option<NodeId>,
    ) -> Result<PhysRange, MemblockError> {
        self.alloc_internal(size, align, within, Nodes::prefer(nid), Bytes::Zeros)
    }

    /// Like [`Memblock::alloc_try_nid`], but the bytes are as they were left (Linux:
    /// memblock_alloc_try_nid_raw).
    ///
    /// # Errors
    /// All of [`MemblockError`].
    pub fn alloc_try_nid_raw(
        &mut self,
        size: u64,
        align: u64,
        within: PhysRange,
        nid: Option<NodeId>,
    ) -> Result<PhysRange, MemblockError> {
        self.alloc_internal(size, align, within, Nodes::prefer(nid), Bytes::Raw)
    }

    /// Like [`Memblock::alloc_try_nid_raw`], but the node is never given up; the range's lower
    /// end is (Linux: memblock_alloc_exact_nid_raw).
    ///
    /// # Errors
    /// All of [`MemblockError`].
    pub fn alloc_exact_nid_raw(
        &mut self,
        size: u64,
        align: u64,
        within: PhysRange,
        nid: Option<NodeId>,
    ) -> Result<PhysRange, MemblockError> {
        self.alloc_internal(size, align, within, Nodes::only(nid), Bytes::Raw)
    }

    /// Finds, clears if asked to, and then reserves: a failure leaves nothing to undo (Linux:
    /// memblock_alloc_internal).
    fn alloc_internal(
        &mut self,
        size: u64,
        align: u64,
        within: PhysRange,
        nodes: Nodes,
        bytes: Bytes,
    ) -> Result<PhysRange, MemblockError> {
        let end = within.end().min(self.current_limit);
        let within = PhysRange::new(within.start().min(end), end);
        let range = match self.find_on_nodes(size, align, within, nodes) {
            Err(MemblockError::NoMemory) if within.start().get() > 0 => {
                let within = PhysRange::new(PhysAddr::new(0), end);
                self.find_on_nodes(size, align, within, nodes)
            }
            found => found,
        }?;
        if bytes == Bytes::Zeros {
            let clear = self.clear.ok_or(MemblockError::Unreachable)?;
            if !clear(range) {
                return Err(MemblockError::Unreachable);
            }
        }
        self.reserve(range)?;
        Ok(range)
    }
}
