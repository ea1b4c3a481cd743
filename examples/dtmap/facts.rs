//! Content of a tree, fact by fact, in the words of `tests/data/dtbs/expected.json`.

use crate::json::{Hex, List, Plain, Shown, object, pair, regs, strings};
use granule::firmware::fdt::{
    Chosen, Cpu, Cpus, Lineage, MemoryEntry, Node, Psci, RangesProperty, ReservedMemory,
    ReservedRegion, Tree,
};
use serde_core::ser::{SerializeSeq, Serializer};
use serde_core::{Serialize, ser};

fn text<'a>(node: Node<'a>, name: &str) -> Option<Plain<'a>> {
    node.text(name).map(Plain)
}

fn compatible<'a>(node: Node<'a>) -> Option<impl Serialize + use<'a>> {
    strings(node.has("compatible"), node.compatible())
}

object! { Memory(entry: MemoryEntry<'a>) {
    "node": Plain(entry.node.node.name()),
    "base": Hex(entry.reg.base.get()),
    "size": Hex(entry.reg.size),
    "numa_node_id": entry.node.numa_node(),
    "status": text(entry.node.node, "status"),
    "hotpluggable": entry.node.is_hotpluggable(),
    "property": entry.node.property,
} }

object! { Region(region: ReservedRegion<'a>) {
    "name": Plain(region.name()),
    "reg": regs(region.regs()),
    "size": region.size().map(Hex),
    "alignment": region.alignment().map(Hex),
    "alloc_ranges": regs(region.alloc_ranges()),
    "no_map": region.no_map(),
    "reusable": region.reusable(),
    "linux_cma_default": region.is_cma_default(),
    "linux_dma_default": region.is_dma_default(),
    "compatible": compatible(region.node),
    "status": text(region.node, "status"),
    "children": List(|| region.node.children().map(|node| Plain(node.name()))),
} }

object! { Reserved(reserved: ReservedMemory<'a>) {
    "address_cells": reserved.cells().address,
    "size_cells": reserved.cells().size,
    "cells_match_root": reserved.cells_match_root(),
    "ranges": match reserved.ranges() {
        RangesProperty::Absent => "absent",
        RangesProperty::Empty => "empty",
        RangesProperty::NonEmpty => "nonempty",
    },
    "regions": List(|| reserved.regions().map(Region)),
} }

object! { Choice(chosen: Chosen<'a>) {
    "bootargs": chosen.bootargs().map(Plain),
    "stdout_path": chosen.stdout_path().map(Plain),
    "initrd_start": chosen.initrd_start().map(|at| Hex(at.get())),
    "initrd_end": chosen.initrd_end().map(|at| Hex(at.get())),
    "usable_memory_range": regs(chosen.usable_memory_range()),
    "kaslr_seed": chosen.kaslr_seed().is_some(),
    "rng_seed_bytes": chosen.rng_seed().map_or(0, <[u8]>::len),
} }

object! { Processor(cpu: Cpu<'a>) {
    "node": Plain(cpu.node.name()),
    "compatible": compatible(cpu.node),
    "reg": cpu.mpidr().map(Hex),
    "enable_method": text(cpu.node, "enable-method"),
    "cpu_release_addr": cpu.release_address().map(|at| Hex(at.get())),
    "numa_node_id": cpu.numa_node(),
    "status": text(cpu.node, "status"),
} }

object! { Processors(cpus: Cpus<'a>) {
    "address_cells": cpus.node.cells().address,
    "size_cells": cpus.node.cells().size,
    "enable_method_on_cpus_node": text(cpus.node, "enable-method"),
    "list": List(|| cpus.iter().map(Processor)),
} }

object! { PowerState(lineage: &'a Lineage<'a>) {
    "node": Shown(lineage),
    "compatible": compatible(lineage.node()),
    "method": text(lineage.node(), "method"),
    "status": text(lineage.node(), "status"),
    "cpu_on": function(lineage.node(), "cpu_on"),
    "cpu_off": function(lineage.node(), "cpu_off"),
    "cpu_suspend": function(lineage.node(), "cpu_suspend"),
} }

/// The number of a PSCI function of version 0.1.
fn function(node: Node<'_>, name: &str) -> Option<Hex> {
    node.cell(name).map(|number| Hex(number.into()))
}

/// Every PSCI node, by path: a walk that knows paths lends them, and is no iterator.
pub struct PowerStates<'a>(pub &'a Tree<'a>);

impl Serialize for PowerStates<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut list = to.serialize_seq(None)?;
        let mut walk = self.0.lineages();
        while let Some(lineage) = walk.next() {
            if Psci::of(lineage.node()).is_some() {
                list.serialize_element(&PowerState(lineage))?;
            }
        }
        ser::SerializeSeq::end(list)
    }
}

/// RAM that may be used: neither empty nor of a disabled node.
pub fn ram<'a>(tree: &'a Tree<'a>) -> impl Serialize {
    List(|| {
        let usable = tree.memory().filter(|entry| entry.node.node.is_available());
        usable.filter(|entry| entry.reg.size > 0).map(|entry| {
            let (base, size) = pair(entry.reg);
            (base, size, entry.node.numa_node())
        })
    })
}

/// Names of the root's children that are called memory and do not say that they are.
pub fn without_device_type<'a>(tree: &'a Tree<'a>) -> impl Serialize {
    List(|| {
        let called = tree.root().children().filter(|node| node.is_called(b"memory"));
        let untyped = called.filter(|node| node.text("device_type").is_none_or(|t| t != "memory"));
        untyped.map(|node| Plain(node.name()))
    })
}

/// The strings of the root's `compatible`.
pub fn root_compatible<'a>(tree: &Tree<'a>) -> Option<impl Serialize + use<'a>> {
    compatible(tree.root())
}
