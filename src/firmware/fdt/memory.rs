//! RAM, the reservation map, `/reserved-memory`.
//!
//! Everything is given as the tree has it: zero sizes, disabled nodes and ranges
//! past the top of the address space included. What becomes of it is memblock's
//! business.

use super::header::RESERVATION_SIZE;
use super::structure::Node;
use super::value::{Cells, Reg, Regs, Strings, Text, number};
use super::{Tree, header::be32};
use crate::addr::{PhysAddr, PhysRange};

/// The property that overrides `reg` for the system that runs after a crash.
const USABLE_MEMORY: &str = "linux,usable-memory";

/// A root child with `device_type = "memory"`.
#[derive(Clone, Copy, Debug)]
pub struct MemoryNode<'a> {
    /// The node.
    pub node: Node<'a>,
    /// The property its entries come from: `reg`, or `linux,usable-memory` if there.
    pub property: &'static str,
    cells: Cells,
}

impl<'a> MemoryNode<'a> {
    /// Entries of the node.
    #[must_use]
    pub fn entries(&self) -> Regs<'a> {
        Regs::new(self.node.property(self.property).unwrap_or_default(), self.cells)
    }
    /// The NUMA node it belongs to, as the firmware numbers them.
    #[must_use]
    pub fn numa_node(&self) -> Option<u32> {
        self.node.cell("numa-node-id")
    }
    /// Returns true if the memory may be removed while the system runs.
    #[must_use]
    pub fn is_hotpluggable(&self) -> bool {
        self.node.has("hotpluggable")
    }
}

/// An entry of a memory node.
#[derive(Clone, Copy, Debug)]
pub struct MemoryEntry<'a> {
    /// The node that has it.
    pub node: MemoryNode<'a>,
    /// Base and size.
    pub reg: Reg,
}

/// A region of `/reserved-memory` as a device refers to it.
#[derive(Clone, Copy, Debug)]
pub struct MemoryRegion<'a> {
    /// The region's number (Linux: phandle).
    pub phandle: u32,
    /// Name that the device gives the region (`memory-region-names`), if it does.
    pub name: Option<Text<'a>>,
}

impl<'a> Node<'a> {
    /// The regions of `/reserved-memory` that this device uses (`memory-region`), in its
    /// order; what is left over of a cell at the end counts for nothing.
    pub fn memory_regions(&self) -> impl Iterator<Item = MemoryRegion<'a>> + use<'a> {
        let (cells, _) = self.property("memory-region").unwrap_or_default().as_chunks::<4>();
        let mut names = self.strings("memory-region-names");
        let phandles = cells.iter().map(|cell| u32::from_be_bytes(*cell));
        phandles.map(move |phandle| MemoryRegion { phandle, name: names.next() })
    }
}

/// The `ranges` of `/reserved-memory`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RangesProperty {
    /// There is none.
    Absent,
    /// The property is empty: addresses are those of the parent.
    Empty,
    /// The property translates addresses.
    NonEmpty,
}

/// The node `/reserved-memory`.
#[derive(Clone, Copy, Debug)]
pub struct ReservedMemory<'a> {
    /// The node.
    pub node: Node<'a>,
    root_cells: Cells,
}

impl<'a> ReservedMemory<'a> {
    /// Cell sizes of its children's addresses and sizes.
    #[must_use]
    pub fn cells(&self) -> Cells {
        self.node.cells()
    }
    /// Returns true if the cell sizes are those of the root.
    #[must_use]
    pub fn cells_match_root(&self) -> bool {
        self.cells() == self.root_cells
    }
    /// Kind of its `ranges` property.
    #[must_use]
    pub fn ranges(&self) -> RangesProperty {
        match self.node.property("ranges") {
            None => RangesProperty::Absent,
            Some([]) => RangesProperty::Empty,
            Some(_) => RangesProperty::NonEmpty,
        }
    }
    /// Returns true if its regions can be understood: Linux takes none from a node without
    /// `ranges` or with cells other than the root's (drivers/of/of_reserved_mem.c).
    #[must_use]
    pub fn is_supported(&self) -> bool {
        self.cells_match_root() && self.ranges() != RangesProperty::Absent
    }
    /// Regions of the node, disabled ones included.
    pub fn regions(&self) -> impl Iterator<Item = ReservedRegion<'a>> + use<'a> {
        let cells = self.cells();
        self.node.children().map(move |node| ReservedRegion { node, cells })
    }
}

/// A child of `/reserved-memory`: a static region if it has `reg`, a dynamic one,
/// for the kernel to place, if it has `size` instead.
#[derive(Clone, Copy, Debug)]
pub struct ReservedRegion<'a> {
    /// The node.
    pub node: Node<'a>,
    cells: Cells,
}

impl<'a> ReservedRegion<'a> {
    /// Name of the region with the unit address.
    #[must_use]
    pub fn name(&self) -> Text<'a> {
        self.node.name()
    }
    /// Ranges of a static region; `None` for a dynamic region.
    #[must_use]
    pub fn regs(&self) -> Option<Regs<'a>> {
        self.node.property("reg").map(|value| Regs::new(value, self.cells))
    }
    /// The bytes a dynamic region wants.
    #[must_use]
    pub fn size(&self) -> Option<u64> {
        self.node.number("size")
    }
    /// The alignment a dynamic region wants, in bytes; not always a power of two.
    #[must_use]
    pub fn alignment(&self) -> Option<u64> {
        self.node.number("alignment")
    }
    /// Ranges in which a dynamic region may be placed; `None` for anywhere.
    #[must_use]
    pub fn alloc_ranges(&self) -> Option<Regs<'a>> {
        self.node.property("alloc-ranges").map(|value| Regs::new(value, self.cells))
    }
    /// Returns true if the region must not be in the linear map.
    #[must_use]
    pub fn no_map(&self) -> bool {
        self.node.has("no-map")
    }
    /// Returns true if the kernel may use the region as long as its owner does not.
    #[must_use]
    pub fn reusable(&self) -> bool {
        self.node.has("reusable")
    }
    /// Returns true if the region is a pool of DMA memory.
    #[must_use]
    pub fn is_shared_dma_pool(&self) -> bool {
        self.node.is_compatible("shared-dma-pool")
    }
    /// Returns true if the region becomes a CMA area: `shared-dma-pool`, `reusable` and mapped
    /// (Linux: rmem_cma_setup).
    #[must_use]
    pub fn is_cma(&self) -> bool {
        self.is_shared_dma_pool() && self.reusable() && !self.no_map()
    }
    /// Returns true if the region is the CMA area of devices that name none.
    #[must_use]
    pub fn is_cma_default(&self) -> bool {
        self.node.has("linux,cma-default")
    }
    /// Returns true if the region is the coherent DMA pool of devices that name none.
    #[must_use]
    pub fn is_dma_default(&self) -> bool {
        self.node.has("linux,dma-default")
    }
    /// Compatible strings of the region.
    #[must_use]
    pub fn compatible(&self) -> Strings<'a> {
        self.node.compatible()
    }
    /// Returns true if `status` is absent or `okay`.
    #[must_use]
    pub fn is_available(&self) -> bool {
        self.node.is_available()
    }
}

impl<'a> Tree<'a> {
    /// The memory nodes: root children with `device_type = "memory"`, whatever their
    /// name and status.
    pub fn memory_nodes(&self) -> impl Iterator<Item = MemoryNode<'a>> + use<'a> {
        let cells = self.root().cells();
        self.root().children().filter_map(move |node| {
            if node.text("device_type")? != "memory" {
                return None;
            }
            let property = if node.has(USABLE_MEMORY) { USABLE_MEMORY } else { "reg" };
            Some(MemoryNode { node, property, cells })
        })
    }

    /// All that memory nodes say is RAM, whether it may be used or not: that of disabled nodes,
    /// and what `linux,usable-memory` leaves out.
    pub fn ram_of_any_kind(&self) -> impl Iterator<Item = PhysRange> + use<'a> {
        let cells = self.root().cells();
        self.memory_nodes()
            .flat_map(|node| ["reg", USABLE_MEMORY].map(|name| node.node.property(name)))
            .flat_map(move |value| Regs::new(value.unwrap_or_default(), cells))
            .map(|reg| reg.range())
    }

    /// Every entry of every memory node.
    pub fn memory(&self) -> impl Iterator<Item = MemoryEntry<'a>> + use<'a> {
        self.memory_nodes()
            .flat_map(|node| node.entries().map(move |reg| MemoryEntry { node, reg }))
    }

    /// The entries of the reservation map (`/memreserve/`).
    pub fn reservations(&self) -> impl Iterator<Item = Reg> + use<'a> {
        let (entries, _) = self.reservations.as_chunks::<RESERVATION_SIZE>();
        entries.iter().filter_map(|entry| {
            let (address, size) = entry.split_at(8);
            Some(Reg { base: PhysAddr::new(number(address)?), size: number(size)? })
        })
    }

    /// The node `/reserved-memory`.
    #[must_use]
    pub fn reserved_memory(&self) -> Option<ReservedMemory<'a>> {
        let node = self.root().child("reserved-memory")?;
        Some(ReservedMemory { node, root_cells: self.root().cells() })
    }

    /// The distances between NUMA nodes: from, to, distance (`numa-distance-map-v1`).
    pub fn numa_distances(&self) -> Option<impl Iterator<Item = (u32, u32, u32)> + use<'a>> {
        let mut walk = self.walk();
        let map = walk.find(|node| node.is_compatible("numa-distance-map-v1"))?;
        let (triples, _) = map.property("distance-matrix")?.as_chunks::<12>();
        Some(
            triples
                .iter()
                .filter_map(|triple| Some((be32(triple, 0)?, be32(triple, 4)?, be32(triple, 8)?))),
        )
    }
}
