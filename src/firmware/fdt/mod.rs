//! The flattened device tree (Devicetree Specification 0.4, chapter 5).
//!
//! [`total_size`] looks at the header alone, so that a kernel can map forty bytes,
//! learn the length, and map the rest. [`Tree::new`] then checks the whole blob in
//! one pass: the blocks lie inside it, the reservation map ends, every token is
//! known, every name ends inside its block, nodes open and close in pairs. What has
//! passed can be read without further care, and every reader below still answers
//! "nothing" rather than trust that.
//!
//! The tree is read in place, by queries that each scan it: at boot there is no
//! memory to unflatten it into, and the largest trees in the field hold a thousand
//! nodes.
//!
//! - [`header`]: magic, version, where the blocks are
//! - [`structure`]: tokens, [`Node`]s, [`Property`]s, walks
//! - [`value`]: text, cells, `reg` lists
//! - [`memory`]: RAM, the reservation map, `/reserved-memory`
//! - [`chosen`]: what the boot loader chose: arguments, initrd, console
//! - [`cpus`]: CPUs, PSCI, NUMA distances
//! - [`address`]: `ranges` and `dma-ranges`: from a bus address to the CPU's
//! - [`devices`]: the console, power management
//! - [`interrupts`]: the interrupt controller, the timer, and which line a device has

pub mod address;
pub mod chosen;
pub mod cpus;
pub mod devices;
pub mod header;
pub mod interrupts;
pub mod memory;
pub mod structure;
pub mod value;

#[cfg(test)]
pub(crate) mod tests;

pub use address::{Lineage, LineageWalk};
pub use chosen::{Chosen, Initrd, StdoutPath};
pub use cpus::{Cpu, Cpus, Psci, PsciMethod};
pub use devices::Console;
pub use header::{FdtError, MAX_SIZE, total_size};
pub use interrupts::{Gic, InterruptController, InterruptSpecifier, MAX_REGIONS, Timer};
pub use memory::{
    MemoryEntry, MemoryNode, MemoryRegion, RangesProperty, ReservedMemory, ReservedRegion,
};
pub use structure::{Node, Property, Walk};
pub use value::{Cells, Reg, Regs, Strings, Text};

use header::Header;
use structure::Blocks;

/// A device tree that has passed [`Tree::new`].
#[derive(Clone, Copy)]
pub struct Tree<'a> {
    blocks: Blocks<'a>,
    reservations: &'a [u8],
    root: Node<'a>,
    header: Header,
}

impl<'a> Tree<'a> {
    /// Checks the blob and takes it as a tree.
    ///
    /// `blob` may be longer than the tree (the header's `totalsize` counts) but not
    /// shorter.
    ///
    /// # Errors
    /// The first defect found, in the order header, reservation map, structure.
    pub fn new(blob: &'a [u8]) -> Result<Self, FdtError> {
        let header = Header::parse(blob)?;
        let blob = blob
            .get(..header.total_size)
            .ok_or(FdtError::Truncated { total_size: header.total_size, length: blob.len() })?;
        let reservations = header.reservations(blob)?;
        let blocks = Blocks::new(header.structure(blob)?, header.strings(blob)?);
        let root = blocks.validate()?;
        Ok(Self { blocks, reservations, root, header })
    }

    /// The same tree in another place: `blob` is a copy of this tree's bytes, or they
    /// themselves at another address. It is not checked again: reading a tree that was not
    /// checked is safe, but may find less.
    ///
    /// # Errors
    /// Those of the header, and of a tree without a root.
    pub fn moved<'b>(&self, blob: &'b [u8]) -> Result<Tree<'b>, FdtError> {
        let header = Header::parse(blob)?;
        let blob = blob
            .get(..header.total_size)
            .ok_or(FdtError::Truncated { total_size: header.total_size, length: blob.len() })?;
        let reservations = header.reservations(blob)?;
        let blocks = Blocks::new(header.structure(blob)?, header.strings(blob)?);
        let missing = FdtError::Structure { offset: 0, defect: "no root" };
        let root = Walk::new(blocks).next().ok_or(missing)?;
        Ok(Tree { blocks, reservations, root, header })
    }

    /// The header's `totalsize`: the bytes that belong to the tree, padding
    /// included. This is what has to be reserved.
    #[must_use]
    pub fn total_size(&self) -> usize {
        self.header.total_size
    }

    /// The CPU that the boot loader started, as the header says (not to be trusted:
    /// the arm64 boot protocol does not ask for it).
    #[must_use]
    pub fn boot_cpu(&self) -> u32 {
        self.header.boot_cpu
    }

    /// The root node.
    #[must_use]
    pub fn root(&self) -> Node<'a> {
        self.root
    }

    /// The board's name.
    #[must_use]
    pub fn model(&self) -> Option<Text<'a>> {
        self.root.text("model")
    }

    /// Compatible strings of the board, most specific first.
    #[must_use]
    pub fn compatible(&self) -> Strings<'a> {
        self.root.compatible()
    }

    /// Every node, parents before their children, in the order of the blob.
    #[must_use]
    pub fn walk(&self) -> Walk<'a> {
        Walk::new(self.blocks)
    }

    /// The node of this `phandle`, where some node has it.
    #[must_use]
    pub fn by_phandle(&self, phandle: u32) -> Option<Node<'a>> {
        self.walk().find(|node| node.phandle() == Some(phandle))
    }
}
