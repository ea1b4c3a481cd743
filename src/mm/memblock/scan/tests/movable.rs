//! kernelcore=, movablecore=, movable_node.

use super::*;
use crate::addr::Pfn;
use crate::mm::mmzone::MAX_NUMNODES;
use crate::mm::mmzone::{NodeId, ZoneId, ZoneType};

const GIB: u64 = 1 << 30;
const MIB: u64 = 1 << 20;

/// Memory of nodes 0 and up: base and size of each, in MiB.
fn nodes(nodes: &[(u64, u64)]) -> Vec<u8> {
    let mut builder = Builder::new(2, 2);
    for (nid, (base, size)) in nodes.iter().enumerate() {
        builder = builder.open("memory").string("device_type", "memory");
        builder = builder.longs("reg", &[base * MIB, size * MIB]);
        builder = builder.cells("numa-node-id", &[nid as u32]).close();
    }
    builder.blob()
}

/// Start of ZONE_MOVABLE of each node, in MiB.
fn starts(scanned: &Scanned) -> Vec<Option<u64>> {
    let zones = scanned.info().zones;
    let start = |pfn: Pfn| (pfn != Pfn::LIMIT).then_some(pfn.phys().get() / MIB);
    let mut starts: Vec<_> = zones.movable.into_iter().map(start).collect();
    assert_eq!(starts.split_off(4), [None; MAX_NUMNODES - 4], "nodes that these machines lack");
    starts
}

/// The same for one node with RAM from 1 GiB to 5 GiB, of which the last is above 4 GiB.
fn one(line: &str) -> Option<u64> {
    let scanned = scan(nodes(&[(1024, 4096)]), line);
    let starts = starts(&scanned);
    assert_eq!(starts[1..], [None; 3]);
    starts[0]
}

#[test]
fn movable_memory_is_the_end_of_the_highest_zone() {
    assert_eq!(one(""), None);
    assert_eq!(one("kernelcore=3584M"), Some(4608));
    assert_eq!(one("movablecore=512M"), Some(4608));
    // Only ZONE_NORMAL can give any.
    assert_eq!(one("kernelcore=1G"), Some(4096));
    assert_eq!(one("movablecore=75%"), Some(4096));
    assert_eq!(one("kernelcore=90%"), Some(1024 + 3688));
    // The larger of what both leave for the kernel.
    assert_eq!(one("kernelcore=3584M movablecore=256M"), Some(4864));
    assert_eq!(one("kernelcore=3328M movablecore=512M"), Some(4608));
    // Whole blocks of 4 MiB, at least as large as asked for.
    assert_eq!(one("movablecore=5M"), Some(5120 - 8));
    assert_eq!(one("kernelcore=3585M"), Some(4612));
    for none in ["kernelcore=4G", "kernelcore=100%", "kernelcore=15E", "movablecore=0"] {
        assert_eq!(one(none), None, "{none}");
    }
}

#[test]
fn what_is_left_is_spread_over_the_nodes() {
    let on = |layout: &[(u64, u64)], line: &str| starts(&scan(nodes(layout), line));
    let even = [(1024, 512), (1536, 512)];
    assert_eq!(on(&even, "kernelcore=512M"), [Some(1280), Some(1792), None, None]);
    // The small node gives all it has, the others make up for it.
    let uneven = [(1024, 64), (1088, 512), (1600, 512), (2112, 512)];
    assert_eq!(on(&uneven, "kernelcore=664M"), [None, Some(1288), Some(1800), Some(2312)]);
    // Node 0 lies below 4 GiB; what it has counts as the kernel's.
    let split = [(1024, 3072), (4096, 2048)];
    assert_eq!(on(&split, "kernelcore=3584M"), [None, Some(4608), None, None]);
    assert_eq!(on(&split, "kernelcore=50%"), [None, Some(4096), None, None]);
    // An empty node has no say.
    let gap = [(1024, 512), (1536, 0), (2048, 512)];
    assert_eq!(on(&gap, "movablecore=256M"), [Some(1408), None, Some(2432), None]);
}

#[test]
fn memory_that_may_be_taken_out_is_movable() {
    let blob = |own: bool| {
        let mut builder = Builder::new(2, 2);
        for nid in [0, 1] {
            let base = GIB + u64::from(nid) * GIB;
            builder = builder.open("memory").string("device_type", "memory");
            builder = builder.longs("reg", &[base, GIB]).cells("numa-node-id", &[nid]);
            builder = if own || nid > 0 { builder.flag("hotpluggable") } else { builder }.close();
        }
        builder.blob()
    };
    let line = "movable_node cma=16M kernelcore=1G";
    for own in [false, true] {
        let scanned = scan(blob(own), line);
        assert_eq!(starts(&scanned), [None, Some(2048), None, None], "not the kernel's own");
        // And nothing is placed there.
        assert!(own || scanned.info().cma[0].range.end().get() <= 2 * GIB);
    }
    assert_eq!(starts(&scan(blob(false), "movable_node=0")), [None; 4]);
}

/// Memory of which all may be taken out, the kernel's node included: that node stays.
#[test]
fn the_kernel_s_node_is_not_movable() {
    let blob = |nodes: &[(u64, u32)]| {
        let mut builder = Builder::new(2, 2);
        for (base, nid) in nodes {
            builder = builder.open("memory").string("device_type", "memory");
            builder = builder.longs("reg", &[base * GIB, GIB]).cells("numa-node-id", &[*nid]);
            builder = builder.flag("hotpluggable").close();
        }
        builder.blob()
    };
    let hotplug = |scanned: &Scanned| -> Vec<bool> {
        scanned.memblock.memory().iter().map(Region::is_hotpluggable).collect()
    };
    let one = scan(blob(&[(1, 0)]), "movable_node");
    assert_eq!(starts(&one), [None; 4]);
    assert_eq!(hotplug(&one), [false]);
    let mut memblock = one.memblock;
    assert!(memblock.phys_alloc(4096, 4096).is_ok(), "all of it is free");
    // All of a node stays, wherever in the node the kernel is.
    let three = scan(blob(&[(1, 1), (3, 1), (5, 0)]), "movable_node");
    assert_eq!(starts(&three), [Some(5120), None, None, None]);
    assert_eq!(hotplug(&three), [false, false, true]);
    // Without the parameter nothing is changed.
    assert_eq!(hotplug(&scan(blob(&[(1, 0), (3, 1)]), "")), [true, true]);
    // The kernel lies in no RAM of the tree: something has to stay all the same.
    let leaked: &'static [u8] = Box::leak(blob(&[(1, 0), (3, 1)]).into_boxed_slice());
    let nowhere = range(0x100_0000, MIB);
    let handover = Handover {
        tree: Tree::new(leaked).unwrap(),
        dtb: nowhere,
        image: nowhere,
        command_line: CommandLine::new("movable_node"),
        reach: REACH,
    };
    let elsewhere = scan_handover(handover, None);
    assert_eq!(starts(&elsewhere), [None, Some(3072), None, None]);
    let mut memblock = elsewhere.memblock;
    assert!(memblock.phys_alloc(4096, 4096).is_ok());
}

#[test]
fn what_makes_no_sense_is_named() {
    for (line, warning) in [
        ("kernelcore=7q", "kernelcore=\"7q\" ignored"),
        ("movablecore=", "movablecore=\"\" ignored"),
        ("movablecore=mirror", "movablecore=\"mirror\" ignored"),
        ("kernelcore=101%", "kernelcore=\"101%\" ignored"),
        ("kernelcore=mirror", "kernelcore=mirror ignored: a device tree does not tell"),
        ("kernelcore=0", "nothing would be left"),
        ("movablecore=100%", "nothing would be left"),
        ("movablecore=15E", "nothing would be left"),
        ("movable_node=perhaps", "movable_node=\"perhaps\" ignored"),
    ] {
        let scanned = scan(virt().blob(), line);
        assert!(scanned.warned(warning), "{line}: {:?}", scanned.messages);
        assert_eq!(starts(&scanned), [None; 4], "{line}");
    }
}

#[test]
fn a_cma_area_does_not_reach_into_movable_memory() {
    let scanned = scan(virt().blob(), "movablecore=512M cma=64M@0x5f000000");
    assert!(scanned.info().cma.is_empty() && scanned.warned("it spans zones"));
    let scanned = scan(virt().blob(), "movablecore=512M cma=64M");
    assert_eq!(ends(scanned.info().cma[0].range), (0x5c00_0000, 0x6000_0000));
    // Nor from one node into another.
    let scanned = scan(nodes(&[(1024, 512), (1536, 512)]), "cma=64M@0x5f000000");
    assert!(scanned.info().cma.is_empty() && scanned.warned("it spans zones"));
}

#[test]
fn zones_of_all_nodes() {
    let scanned = scan(nodes(&[(1024, 512), (3840, 512)]), "movablecore=128M");
    let spans = scanned.info().zones.spans(&scanned.memblock);
    let mib = |node, kind| {
        let span = spans[ZoneId::new(NodeId::new(node).unwrap(), kind).index()].phys();
        (span.start().get() / MIB, span.end().get() / MIB)
    };
    assert_eq!(mib(0, ZoneType::Dma), (1024, 1536));
    assert_eq!(mib(1, ZoneType::Dma), (3840, 4096));
    assert_eq!(mib(1, ZoneType::Normal), (4096, 4224));
    assert_eq!(mib(1, ZoneType::Movable), (4224, 4352));
    assert_eq!(spans.iter().filter(|span| !span.is_empty()).count(), 4);
}
