//! Translation of bus addresses to CPU addresses, and the limits of devices' DMA.
//!
//! A node's `reg` is an address on its parent's bus; the parent's `ranges` say where
//! that bus lies on the grandparent's, and so on up to the root, whose children's
//! addresses are the CPU's. `dma-ranges` say the same for what devices on the bus
//! read and write.

use super::Tree;
use super::structure::{Node, Walk};
use super::value::{Cells, Reg, number};
use crate::addr::PhysAddr;
use arrayvec::ArrayVec;
use core::fmt;

/// The deepest node that can be translated, the root being at 1. Boards stay below
/// half of this.
const MAX_DEPTH: usize = 24;

/// Entries of `dma-ranges` that are looked at in all. A board needs some tens; in a
/// hostile tree each entry of each bus could be looked up among those of each above.
const MAX_DMA_STEPS: usize = 1 << 18;

/// A node and its ancestors.
#[derive(Clone)]
pub struct Lineage<'a> {
    /// Nodes from the root's child down to this one; empty for the root itself.
    nodes: ArrayVec<Node<'a>, MAX_DEPTH>,
    root: Node<'a>,
}

impl fmt::Display for Lineage<'_> {
    /// The node's path.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nodes.is_empty() {
            return f.write_str("/");
        }
        self.nodes.iter().try_for_each(|node| write!(f, "/{}", node.name()))
    }
}

/// An entry of `ranges` or `dma-ranges`.
struct Window {
    child: u64,
    parent: u64,
    size: u64,
}

impl<'a> Lineage<'a> {
    fn new(root: Node<'a>) -> Self {
        Self { nodes: ArrayVec::new(), root }
    }

    /// The node itself.
    #[must_use]
    pub fn node(&self) -> Node<'a> {
        self.nodes.last().copied().unwrap_or(self.root)
    }

    /// The node's parent; `None` for the root.
    #[must_use]
    pub fn parent(&self) -> Option<Node<'a>> {
        let above = self.nodes.len().checked_sub(1)?;
        Some(above.checked_sub(1).and_then(|i| self.nodes.get(i)).copied().unwrap_or(self.root))
    }

    /// Goes on by a relative path; `None` where there is no such node, or it lies
    /// too deep.
    pub(super) fn descend(&mut self, path: &[u8]) -> Option<()> {
        for component in path.split(|&byte| byte == b'/').filter(|part| !part.is_empty()) {
            let child = self.node().children().find(|child| child.is_called(component))?;
            self.nodes.try_push(child).ok()?;
        }
        Some(())
    }

    /// Cell sizes of addresses on the bus of the `level`th node (0: the root).
    fn cells_of_bus(&self, level: usize) -> Cells {
        level.checked_sub(1).and_then(|i| self.nodes.get(i)).unwrap_or(&self.root).cells()
    }

    /// The node's interrupt controller: the one that the nearest `interrupt-parent` names, or
    /// the nearest node above that is one (Linux: of_irq_find_parent).
    pub(super) fn interrupt_parent(&self, tree: &Tree<'a>) -> Option<Node<'a>> {
        for (depth, node) in self.nodes.iter().enumerate().rev() {
            if let Some(phandle) = node.cell("interrupt-parent") {
                return tree.by_phandle(phandle);
            }
            let above = depth.checked_sub(1).and_then(|i| self.nodes.get(i)).unwrap_or(&self.root);
            if above.has("#interrupt-cells") {
                return Some(*above);
            }
        }
        tree.by_phandle(self.root.cell("interrupt-parent")?)
    }

    /// The node's `index`th `reg` entry as the CPU addresses it (Linux:
    /// of_address_to_resource). `None` where there is none, or a bus on the way
    /// does not reach the CPU.
    #[must_use]
    pub fn reg(&self, index: usize) -> Option<Reg> {
        let mut steps = usize::MAX;
        self.reg_within(index, &mut steps)
    }

    /// Variant of [`Lineage::reg`] with a limit, for callers that look up many. Each `ranges`
    /// entry that is looked at is deducted from `steps`; at 0 the result is `None`.
    #[must_use]
    pub fn reg_within(&self, index: usize, steps: &mut usize) -> Option<Reg> {
        let parent = self.parent()?.cells();
        let reg = self.node().regs(parent).nth(index)?;
        let bus = self.nodes.len().checked_sub(1)?;
        let base = self.translate(bus, reg.base, "ranges", steps)?;
        Some(Reg { base, ..reg })
    }

    /// An address on the bus of the `bus`th node (0: the root) as the CPU sees it.
    /// Entries that are looked at are taken off `steps`; `None` when none are left.
    fn translate(
        &self,
        bus: usize,
        address: PhysAddr,
        property: &str,
        steps: &mut usize,
    ) -> Option<PhysAddr> {
        let mut address = address.get();
        // The root's bus is the CPU's, so its own `ranges` never count.
        for level in (1..=bus).rev() {
            let node = self.nodes.get(level - 1)?;
            match node.property(property) {
                // A bus that says nothing about DMA passes it on as it is.
                None if property == "dma-ranges" => {}
                None => return None,
                Some([]) => {}
                Some(value) => {
                    let windows = windows(value, node.cells(), self.cells_of_bus(level - 1));
                    let mut windows = windows.into_iter().flatten().take(*steps);
                    address = windows.find_map(|window| {
                        *steps = steps.saturating_sub(1);
                        let offset = address.checked_sub(window.child)?;
                        if offset < window.size { window.parent.checked_add(offset) } else { None }
                    })?;
                }
            }
        }
        Some(PhysAddr::new(address))
    }

    /// The last byte that devices on this node's bus can reach, by its own
    /// `dma-ranges`; `None` where it sets no limit, or `steps` run out.
    fn dma_limit(&self, steps: &mut usize) -> Option<PhysAddr> {
        let value = self.node().property("dma-ranges")?;
        let bus = self.nodes.len();
        let above = self.cells_of_bus(bus.saturating_sub(1));
        let windows = windows(value, self.node().cells(), above)?;
        let ends = windows.take(*steps).filter_map(|window| {
            *steps = steps.saturating_sub(1);
            let parent = PhysAddr::new(window.parent);
            let base = self.translate(bus.saturating_sub(1), parent, "dma-ranges", steps)?;
            Some(base.saturating_add(window.size.checked_sub(1)?))
        });
        ends.max()
    }
}

/// The entries of a `ranges` value between a bus and the one above it; `None` if
/// entries would have no length. A PCI bus has three cells of address, of which the
/// first holds flags.
fn windows(value: &[u8], below: Cells, above: Cells) -> Option<impl Iterator<Item = Window>> {
    let child = below.address as usize * 4;
    let parent = above.address as usize * 4;
    let entry = child + parent + below.size as usize * 4;
    let flags = if below.address == 3 { 4 } else { 0 };
    let mut rest = value;
    (entry > 0).then_some(core::iter::from_fn(move || {
        loop {
            #[cfg(test)]
            super::tests::work::step();
            let (this, next) = rest.split_at_checked(entry)?;
            rest = next;
            let (from, to) = this.split_at_checked(child)?;
            let (to, size) = to.split_at_checked(parent)?;
            let from = number(from.get(flags..)?);
            if let (Some(child), Some(parent), Some(size)) = (from, number(to), number(size)) {
                return Some(Window { child, parent, size });
            }
        }
    }))
}

/// A walk that knows the ancestors of the node it stands at.
pub struct LineageWalk<'a> {
    walk: Walk<'a>,
    lineage: Lineage<'a>,
}

impl<'a> LineageWalk<'a> {
    /// Goes to the next node. Nodes too deep to be translated are left out.
    #[expect(clippy::should_implement_trait, reason = "it lends")]
    pub fn next(&mut self) -> Option<&Lineage<'a>> {
        loop {
            let node = self.walk.next()?;
            // The root, at depth 1, is not in the list.
            let Some(above) = self.walk.depth().checked_sub(2) else { return Some(&self.lineage) };
            self.lineage.nodes.truncate(above);
            if self.lineage.nodes.len() == above && self.lineage.nodes.try_push(node).is_ok() {
                return Some(&self.lineage);
            }
        }
    }

    /// Leaves out what lies below the node it stands at.
    pub fn skip_children(&mut self) {
        self.walk.skip_children();
    }
}

impl<'a> Tree<'a> {
    /// The node of an absolute path with its ancestors.
    pub(super) fn lineage_of(&self, path: &[u8]) -> Option<Lineage<'a>> {
        let mut lineage = Lineage::new(self.root());
        lineage.descend(path.strip_prefix(b"/")?)?;
        Some(lineage)
    }

    /// Every node with its ancestors, parents before their children.
    #[must_use]
    pub fn lineages(&self) -> LineageWalk<'a> {
        LineageWalk { walk: self.walk(), lineage: Lineage::new(self.root()) }
    }

    /// The highest address that every device can reach by DMA: the least of what the
    /// `dma-ranges` of available buses allow (Linux: of_dma_get_max_cpu_address).
    /// `None` where no bus sets a limit. Of a tree with absurdly many entries the first
    /// count.
    #[must_use]
    pub fn dma_limit(&self) -> Option<PhysAddr> {
        let mut walk = self.lineages();
        let (mut limit, mut steps) = (None, MAX_DMA_STEPS);
        while let Some(lineage) = walk.next() {
            if lineage.node() != self.root() && !lineage.node().is_available() {
                walk.skip_children();
                continue;
            }
            if let Some(here) = lineage.dma_limit(&mut steps) {
                limit = Some(limit.map_or(here, |limit: PhysAddr| limit.min(here)));
            }
        }
        limit
    }
}
