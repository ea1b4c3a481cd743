//! Numbers of nodes and zones, and migratetypes (Linux: include/linux/mmzone.h): what a frame's
//! descriptor says of its place. [`super::mmzone`] has the zones themselves.
#![deny(unsafe_code)]

mod migratetype;
mod nodes;
#[expect(unsafe_code, reason = "a byte that is a column again")]
mod pcp_column;

pub use migratetype::Migratetype;
pub(in crate::mm) use nodes::node_set_possible;
pub use nodes::nr_node_ids;
pub(in crate::mm) use pcp_column::PcpColumn;

use core::fmt;

/// Nodes that a kernel can have (Linux: 1 << CONFIG_NODES_SHIFT, which is 16 by default on arm64).
pub const MAX_NUMNODES: usize = 16;
/// Kinds of zone.
pub const MAX_NR_ZONES: usize = 4;

/// The number of a node of memory (Linux: the index of a pg_data_t).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(transparent)]
pub struct NodeId(u8);

impl NodeId {
    /// The first node, the only one of a machine that isn't NUMA.
    pub const FIRST: Self = Self(0);

    /// Node `n`; `None` from [`MAX_NUMNODES`] on.
    #[must_use]
    pub const fn new(n: usize) -> Option<Self> {
        if n < MAX_NUMNODES { Some(Self(n as u8)) } else { None }
    }
    /// Returns the number, below [`MAX_NUMNODES`].
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
    /// All nodes that this machine may have, rising: those up to the last that has memory or CPUs
    /// (Linux: for_each_node).
    pub fn all() -> impl Iterator<Item = Self> + Clone {
        (0..nr_node_ids() as u8).map(Self)
    }
    /// Every number of a node, rising, whether this machine has such a node or not.
    pub fn numbers() -> impl Iterator<Item = Self> + Clone {
        (0..MAX_NUMNODES as u8).map(Self)
    }
}

/// Kind of a zone (Linux: enum zone_type). HIGHMEM does not exist on a 64-bit kernel: all RAM is
/// in the linear map.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum ZoneType {
    /// Reached by the device with the narrowest limit.
    Dma,
    /// Below 4 GiB, where that is not all `Dma`.
    Dma32,
    /// All the rest.
    Normal,
    /// Memory for movable allocations alone, so that it can be emptied.
    Movable,
}

impl ZoneType {
    /// All kinds, from the narrowest up.
    pub const ALL: [Self; MAX_NR_ZONES] = [Self::Dma, Self::Dma32, Self::Normal, Self::Movable];

    /// Returns the index in tables of [`MAX_NR_ZONES`] entries.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
    /// Returns the name that Linux prints.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dma => "DMA",
            Self::Dma32 => "DMA32",
            Self::Normal => "Normal",
            Self::Movable => "Movable",
        }
    }
}

impl fmt::Display for ZoneType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A zone of a node, in six bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct ZoneId(u8);

impl ZoneId {
    /// Bits of a zone's number.
    pub const BITS: u32 = 6;
    /// Number of ids.
    pub const COUNT: usize = 1 << Self::BITS;

    /// The zone of this kind of `node`.
    #[must_use]
    pub const fn new(node: NodeId, kind: ZoneType) -> Self {
        Self(node.0 << 2 | kind as u8)
    }
    /// The zone in the low bits of `bits`.
    #[inline]
    #[must_use]
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits & (Self::COUNT - 1) as u8)
    }
    /// Returns the bits.
    #[inline]
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.0
    }
    /// Returns the index in tables of [`ZoneId::COUNT`] entries.
    #[inline]
    #[must_use]
    pub const fn index(self) -> usize {
        (self.0 & (Self::COUNT - 1) as u8) as usize
    }
    /// The node it belongs to.
    #[must_use]
    pub const fn node(self) -> NodeId {
        NodeId(self.0 >> 2)
    }
    /// Returns the kind of the zone.
    #[must_use]
    pub const fn kind(self) -> ZoneType {
        ZoneType::ALL[(self.0 & 3) as usize]
    }
    /// The zones of [all nodes](NodeId::all), by node and kind.
    pub fn all() -> impl Iterator<Item = Self> + Clone {
        (0..(nr_node_ids() * MAX_NR_ZONES) as u8).map(Self)
    }
    /// Every number of a zone, by node and kind, whether this machine has such a node or not.
    pub fn numbers() -> impl Iterator<Item = Self> + Clone {
        (0..Self::COUNT as u8).map(Self)
    }
}

const _: () = assert!(ZoneId::COUNT == MAX_NUMNODES * MAX_NR_ZONES);

impl fmt::Debug for ZoneId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Node {} {}", self.node().index(), self.kind())
    }
}
impl fmt::Display for ZoneId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}
