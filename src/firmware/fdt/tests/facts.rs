//! Everything that is known of the good trees, against what is read from them.

use super::super::*;
use super::corpus::{good, hex};
use serde_json::{Value, json};
use std::format;
use std::string::ToString;
use std::vec::Vec;

fn text(text: Option<Text<'_>>) -> Value {
    text.map_or(Value::Null, |text| Value::from(text.to_string()))
}

fn number(number: Option<u64>) -> Value {
    number.map_or(Value::Null, hex)
}

fn compatible(node: Node<'_>) -> Value {
    let all = || node.compatible().map(|text| text.to_string());
    if node.has("compatible") { all().collect() } else { Value::Null }
}

fn regs(regs: Option<Regs<'_>>) -> Value {
    let pair = |reg: Reg| json!([hex(reg.base.get()), hex(reg.size)]);
    regs.map_or(Value::Null, |regs| regs.map(pair).collect())
}

fn memory(entry: MemoryEntry<'_>) -> Value {
    json!({
        "node": entry.node.node.name().to_string(),
        "base": hex(entry.reg.base.get()),
        "size": hex(entry.reg.size),
        "numa_node_id": entry.node.numa_node(),
        "status": text(entry.node.node.status()),
        "hotpluggable": entry.node.is_hotpluggable(),
        "property": entry.node.property,
    })
}

fn ram(tree: &Tree<'_>) -> Value {
    let usable = tree.memory().filter(|entry| entry.node.node.is_available());
    let usable = usable.filter(|entry| entry.reg.size > 0);
    usable.map(|e| json!([hex(e.reg.base.get()), hex(e.reg.size), e.node.numa_node()])).collect()
}

fn without_device_type(tree: &Tree<'_>) -> Value {
    let called = tree.root().children().filter(|node| node.is_called(b"memory"));
    let untyped = called.filter(|node| node.text("device_type").is_none_or(|t| t != "memory"));
    untyped.map(|node| node.name().to_string()).collect()
}

fn reserved_region(region: ReservedRegion<'_>) -> Value {
    let children: Vec<_> = region.node.children().map(|node| node.name().to_string()).collect();
    json!({
        "name": region.name().to_string(),
        "reg": regs(region.regs()),
        "size": number(region.size()),
        "alignment": number(region.alignment()),
        "alloc_ranges": regs(region.alloc_ranges()),
        "no_map": region.no_map(),
        "reusable": region.reusable(),
        "linux_cma_default": region.is_cma_default(),
        "linux_dma_default": region.is_dma_default(),
        "compatible": compatible(region.node),
        "status": text(region.node.status()),
        "children": children,
    })
}

fn reserved_memory(tree: &Tree<'_>) -> Value {
    let Some(reserved) = tree.reserved_memory() else { return Value::Null };
    json!({
        "address_cells": reserved.cells().address,
        "size_cells": reserved.cells().size,
        "cells_match_root": reserved.cells_match_root(),
        "ranges": match reserved.ranges() {
            RangesProperty::Absent => "absent",
            RangesProperty::Empty => "empty",
            RangesProperty::NonEmpty => "nonempty",
        },
        "regions": reserved.regions().map(reserved_region).collect::<Vec<_>>(),
    })
}

fn chosen(tree: &Tree<'_>) -> Value {
    let Some(chosen) = tree.chosen() else { return Value::Null };
    json!({
        "bootargs": text(chosen.bootargs()),
        "stdout_path": text(chosen.stdout_path()),
        "initrd_start": number(chosen.initrd_start().map(|at| at.get())),
        "initrd_end": number(chosen.initrd_end().map(|at| at.get())),
        "usable_memory_range": regs(chosen.usable_memory_range()),
        "kaslr_seed": chosen.has_kaslr_seed(),
        "rng_seed_bytes": chosen.rng_seed().map_or(0, <[u8]>::len),
    })
}

fn cpus(tree: &Tree<'_>) -> Value {
    let Some(cpus) = tree.cpus() else { return Value::Null };
    let cpu = |cpu: Cpu<'_>| {
        json!({
            "node": cpu.node.name().to_string(),
            "compatible": compatible(cpu.node),
            "reg": number(cpu.mpidr()),
            "enable_method": text(cpu.node.text("enable-method")),
            "cpu_release_addr": number(cpu.release_address().map(|at| at.get())),
            "numa_node_id": cpu.numa_node(),
            "status": text(cpu.node.status()),
        })
    };
    json!({
        "address_cells": cpus.node.cells().address,
        "size_cells": cpus.node.cells().size,
        "enable_method_on_cpus_node": text(cpus.node.text("enable-method")),
        "list": cpus.iter().map(cpu).collect::<Vec<_>>(),
    })
}

fn psci(tree: &Tree<'_>) -> Value {
    let mut walk = tree.lineages();
    let mut found = Vec::new();
    while let Some(lineage) = walk.next() {
        let node = lineage.node();
        if !tree.psci_nodes().any(|psci| psci.node == node) {
            continue;
        }
        let function = |name| number(node.cell(name).map(u64::from));
        found.push(json!({
            "node": format!("{lineage}"),
            "compatible": compatible(node),
            "method": text(node.text("method")),
            "status": text(node.status()),
            "cpu_on": function("cpu_on"),
            "cpu_off": function("cpu_off"),
            "cpu_suspend": function("cpu_suspend"),
        }));
    }
    Value::from(found)
}

fn facts(tree: &Tree<'_>) -> Value {
    let distances = tree.numa_distances().map(|all| all.map(|(a, b, d)| json!([a, b, d])));
    let reservation = |reg: Reg| json!([hex(reg.base.get()), hex(reg.size)]);
    json!({
        "model": text(tree.model()),
        "compatible": compatible(tree.root()),
        "root_address_cells": tree.root().cells().address,
        "root_size_cells": tree.root().cells().size,
        "root_cells_explicit":
            tree.root().has("#address-cells") && tree.root().has("#size-cells"),
        "memory": tree.memory().map(memory).collect::<Vec<_>>(),
        "ram": ram(tree),
        "memory_nodes_without_device_type": without_device_type(tree),
        "memreserve": tree.reservations().map(reservation).collect::<Vec<_>>(),
        "reserved_memory": reserved_memory(tree),
        "chosen": chosen(tree),
        "cpus": cpus(tree),
        "psci": psci(tree),
        "numa_distance": distances.map_or(Value::Null, |all| all.collect()),
    })
}

#[test]
#[cfg_attr(miri, ignore)]
fn every_fact_of_every_good_tree() {
    for sample in good() {
        let tree = Tree::new(sample.blob).unwrap_or_else(|e| panic!("{}: {e}", sample.name));
        assert_eq!(total_size(&sample.blob[..40]), Ok(sample.blob.len()));
        let facts = facts(&tree);
        for (key, read) in facts.as_object().unwrap() {
            assert_eq!(read, &sample.expected[key], "{}: {key}", sample.name);
        }
        for (key, expected) in sample.expected.as_object().unwrap() {
            let about_the_file =
                ["file", "file_size", "header", "sha256", "source", "stats"].contains(&&**key);
            assert!(about_the_file || facts.get(key) == Some(expected), "{}: {key}", sample.name);
        }
        if let Some(stats) = sample.expected.get("stats") {
            let mut walk = tree.walk();
            let (mut nodes, mut properties, mut depth) = (0, 0, 0);
            while let Some(node) = walk.next() {
                nodes += 1;
                properties += node.properties().count();
                depth = depth.max(walk.depth());
            }
            let counted = json!([nodes, properties, depth]);
            let known = json!([stats["nodes"], stats["properties"], stats["max_depth"]]);
            assert_eq!(counted, known, "{}", sample.name);
        }
    }
}
