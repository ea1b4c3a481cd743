//! The good trees as the crate `fdt` reads them. It indexes and unwraps what the blob says, so it
//! is given no others (docs/decisions/0003).

use super::super::*;
use super::corpus;
use std::vec::Vec;

/// A node: its name, its properties, and the pairs of address and size in its `reg`.
type Read<'a> = (&'a str, Vec<(&'a str, &'a [u8])>, Vec<(u64, u64)>);

fn ours<'a>(tree: &Tree<'a>) -> Vec<Read<'a>> {
    let mut nodes = Vec::new();
    let mut walk = tree.lineages();
    while let Some(lineage) = walk.next() {
        let node = lineage.node();
        let name = if lineage.parent().is_some() { node.name().to_str().unwrap() } else { "/" };
        let properties = node.properties();
        let properties =
            properties.map(|property| (property.name.to_str().unwrap(), property.value));
        let cells = lineage.parent().map_or(Cells::default(), |parent| parent.cells());
        let pairs = node.regs(cells).map(|reg| (reg.base.get(), reg.size));
        let pairs = if is_narrow(cells) { pairs.collect() } else { Vec::new() };
        nodes.push((name, properties.collect(), pairs));
    }
    nodes
}

/// Returns true for cells that both readers make numbers of.
fn is_narrow(cells: Cells) -> bool {
    cells.address <= 2 && cells.size <= 2 && cells.address > 0
}

/// Node by node, in the order of the blob.
fn theirs<'a>(tree: &fdt::Fdt<'a>) -> Vec<Read<'a>> {
    let read = |node: fdt::node::FdtNode<'_, 'a>| {
        let properties = node.properties().map(|property| (property.name, property.value));
        let pairs = node.reg().into_iter().flatten();
        let pairs = pairs.map(|reg| (reg.starting_address as u64, reg.size.unwrap_or(0) as u64));
        (node.name, properties.collect(), pairs.collect())
    };
    tree.all_nodes().map(read).collect()
}

/// Compares what the two readers have of a tree. Returns false if the other stops early.
fn compare(name: &str, blob: &[u8]) -> bool {
    let (tree, other) = (Tree::new(blob).unwrap(), fdt::Fdt::new(blob).unwrap());
    assert_eq!(tree.total_size(), other.total_size(), "{name}");
    let reservations = other.memory_reservations().map(|r| (r.address() as u64, r.size() as u64));
    let own = tree.reservations().map(|reg| (reg.base.get(), reg.size));
    assert_eq!(own.collect::<Vec<_>>(), reservations.collect::<Vec<_>>(), "{name}");
    let (ours, theirs) = (ours(&tree), theirs(&other));
    for (own, other) in ours.iter().zip(&theirs) {
        assert_eq!(own, other, "{name}");
    }
    assert!(theirs.len() <= ours.len(), "{name}: {} nodes and {}", ours.len(), theirs.len());
    theirs.len() == ours.len()
}

/// Trees of which `fdt` reads a part alone: it takes a NOP after the end of a node for the end of
/// all. QEMU overwrites what it takes out of a tree with NOPs.
const WITH_NOPS: [&str; 1] = ["qemu-raspi4b-2g-filled.dtb"];

#[test]
#[cfg_attr(miri, ignore)]
fn fdt_agrees_on_the_good_trees() {
    for sample in corpus::good() {
        let whole = compare(&sample.name, sample.blob);
        assert_eq!(whole, !WITH_NOPS.contains(&&*sample.name), "{}", sample.name);
    }
}
