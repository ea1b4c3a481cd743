//! Small trees for one question each.

use super::super::*;
use super::Builder;
use crate::addr::PhysAddr;
use std::string::ToString;
use std::vec::Vec;

fn pairs(regs: impl Iterator<Item = Reg>) -> Vec<(u64, u64)> {
    regs.map(|reg| (reg.base.get(), reg.size)).collect()
}

fn ram(blob: &[u8]) -> Vec<(u64, u64)> {
    pairs(Tree::new(blob).unwrap().memory().map(|entry| entry.reg))
}

#[test]
fn memory_in_other_cells() {
    let typed = |builder: Builder| builder.open("memory").string("device_type", "memory");
    let of = |address, size, cells: &[u32]| {
        ram(&typed(Builder::new(address, size)).cells("reg", cells).close().blob())
    };
    assert_eq!(of(1, 1, &[1, 2, 3, 4]), [(1, 2), (3, 4)]);
    assert_eq!(of(2, 1, &[1, 2, 3]), [(1 << 32 | 2, 3)]);
    assert_eq!(of(1, 2, &[1, 2, 3]), [(1, 2 << 32 | 3)]);
    // Upper cells that hold nothing are no harm; what needs them is left out.
    assert_eq!(of(3, 2, &[0, 1, 2, 3, 4, 9, 1, 2, 3, 4]), [(1 << 32 | 2, 3 << 32 | 4)]);
    assert_eq!(of(4, 4, &[0, 0, 0, 1, 0, 0, 0, 2]), [(1, 2)]);
    // A tail that is no entry, and entries of no length.
    assert_eq!(of(1, 1, &[1, 2, 3]), [(1, 2)]);
    assert_eq!(of(0, 0, &[1, 2]), []);
    assert_eq!(of(0, 1, &[7]), [(0, 7)]);
    assert_eq!(of(u32::MAX, u32::MAX, &[1, 2]), []);
}

#[test]
fn usable_memory_wins_over_reg_and_types_count_not_names() {
    let blob = Builder::new(2, 2)
        .open("memory@0")
        .longs("reg", &[0, 1])
        .close()
        .open("ram")
        .string("device_type", "memory")
        .longs("reg", &[2, 3])
        .longs("linux,usable-memory", &[4, 5])
        .cells("numa-node-id", &[3])
        .flag("hotpluggable")
        .string("status", "disabled")
        .close()
        .blob();
    let tree = Tree::new(&blob).unwrap();
    let all: Vec<_> = tree.memory().collect();
    assert_eq!(pairs(all.iter().map(|entry| entry.reg)), [(4, 5)]);
    assert_eq!(all[0].node.numa_node(), Some(3));
    assert!(all[0].node.is_hotpluggable() && !all[0].node.node.is_available());
}

#[test]
fn reg_that_wraps_is_cut_at_the_top() {
    let range = Reg { base: PhysAddr::new(u64::MAX - 9), size: 100 }.range();
    assert_eq!((range.start().get(), range.end().get()), (u64::MAX - 9, u64::MAX));
}

/// A bus inside a bus, each moved by `ranges`.
fn nested() -> Vec<u8> {
    Builder::new(2, 2)
        .open("aliases")
        .string("serial0", "/soc/inner/serial@100")
        .string("loop", "loop")
        .close()
        .open("chosen")
        .string("stdout-path", "serial0:115200n8")
        .close()
        .open("soc")
        .cells("#address-cells", &[1])
        .cells("#size-cells", &[1])
        // child, parent (two cells), size
        .cells("ranges", &[0x1000, 0, 0x4000_0000, 0x1000, 0x7e00_0000, 1, 0xfe00_0000, 0x100_0000])
        .open("inner")
        .cells("#address-cells", &[1])
        .cells("#size-cells", &[1])
        .cells("ranges", &[0, 0x7e21_5000, 0x1000])
        .open("serial@100")
        .string("compatible", "arm,pl011")
        .cells("reg", &[0x100, 0x40, 0x1000, 0x40])
        .cells("reg-shift", &[2])
        .cells("reg-io-width", &[4])
        .close()
        .close()
        .open("opaque")
        .cells("#address-cells", &[1])
        .cells("#size-cells", &[1])
        .open("device")
        // The second lies in the window of the bus above.
        .cells("reg", &[0, 4, 0x7e00_0000, 4])
        .close()
        .close()
        .close()
        .blob()
}

#[test]
fn console_through_an_alias_and_two_buses() {
    let blob = nested();
    let tree = Tree::new(&blob).unwrap();
    let console = tree.console().unwrap();
    assert_eq!(console.registers.start(), PhysAddr::new(0x1_fe21_5100));
    assert_eq!(console.registers.len(), 0x40);
    assert_eq!((console.reg_shift, console.reg_io_width), (2, Some(4)));
    assert!(console.is("arm,pl011") && !console.is("ns16550a"));
    assert_eq!(console.options.unwrap(), "115200n8");
    let lineage = tree.stdout().unwrap().lineage;
    assert_eq!(lineage.to_string(), "/soc/inner/serial@100");
    // Beyond the window, and behind a bus without ranges.
    assert!(lineage.reg(1).is_none() && lineage.reg(2).is_none());
    let opaque = tree.lineage_of(b"/soc/opaque/device").unwrap();
    assert!(opaque.reg(0).is_none() && opaque.reg(1).is_none());
}

#[test]
fn paths_and_aliases() {
    let blob = nested();
    let tree = Tree::new(&blob).unwrap();
    let name = |path| tree.find(path).map(|node| node.name().to_string());
    assert_eq!(name("/soc/inner/serial").as_deref(), Some("serial@100"));
    assert_eq!(name("/soc//inner/serial@100/").as_deref(), Some("serial@100"));
    assert_eq!(name("/").as_deref(), Some(""));
    for absent in ["soc", "/so", "/soc/inner/serial@10", "/soc/inner/serial@100/x", ""] {
        assert_eq!(name(absent), None, "{absent}");
    }
    let stdout = |path: &str| {
        let builder = Builder::new(2, 2).open("aliases").string("a", "/bus").string("b", "a");
        let blob = builder.close().open("chosen").string("stdout-path", path).close();
        let blob = blob.open("bus").open("uart").close().close().blob();
        Tree::new(&blob).unwrap().stdout().map(|stdout| stdout.lineage.to_string())
    };
    assert_eq!(stdout("a").as_deref(), Some("/bus"));
    assert_eq!(stdout("a/uart:9600").as_deref(), Some("/bus/uart"));
    assert_eq!(stdout("/bus/uart:x:y").as_deref(), Some("/bus/uart"));
    // An alias of an alias could lead in a circle.
    assert_eq!((stdout("b"), stdout("c"), stdout("")), (None, None, None));
}

#[test]
fn dma_limit_is_the_least_of_all_buses() {
    let bus = |builder: Builder, name: &str, ranges: &[u32]| {
        let builder = builder.open(name).cells("#address-cells", &[1]).cells("#size-cells", &[1]);
        builder.cells("dma-ranges", ranges)
    };
    let limit = |builder: Builder| {
        let blob = builder.blob();
        Tree::new(&blob).unwrap().dma_limit().map(|limit| limit.get())
    };
    let root = || Builder::new(2, 2);
    assert_eq!(limit(root()), None);
    assert_eq!(limit(bus(root(), "soc", &[]).close()), None);
    // The largest of a bus's windows counts, and the least of the buses.
    let wide = bus(root(), "a", &[0, 0, 0, 0x8000_0000, 0, 1, 0, 0x1000]).close();
    assert_eq!(limit(wide), Some(0x1_0000_0fff));
    let wide = bus(root(), "a", &[0, 0, 0, 0x8000_0000]).close();
    assert_eq!(limit(bus(wide, "b", &[0xc000_0000, 0, 0, 0x4000_0000]).close()), Some(0x3fff_ffff));
    // A disabled bus has no say, nor has what is below it.
    let off = bus(root(), "a", &[0, 0, 0, 0x1000]).string("status", "disabled");
    assert_eq!(limit(bus(off, "b", &[0, 0, 0x1000]).close().close()), None);
    // Up through a parent that moves the window, and one that says nothing.
    let outer = bus(root(), "a", &[0, 1, 0, 0xffff_ffff]);
    let both = bus(outer, "b", &[0, 0x1000, 0x1000]).close().close();
    assert_eq!(limit(both), Some(0x1_0000_1fff));
    let quiet = root().open("a").cells("#address-cells", &[1]).cells("#size-cells", &[1]);
    assert_eq!(limit(bus(quiet, "b", &[0, 0x1000, 0x1000]).close().close()), Some(0x1fff));
    // A window that the parent does not have is nothing.
    let outer = bus(root(), "a", &[0, 0, 0, 0x1000]);
    let both = bus(outer, "b", &[0, 0x8000, 0x1000]).close().close();
    assert_eq!(limit(both), Some(0xfff));
}

#[test]
fn the_boards_limits_and_devices() {
    if cfg!(miri) {
        return;
    }
    let blob = super::corpus::sample("dtbs/broadcom-bcm2711-rpi-4-b");
    let pi = Tree::new(blob).unwrap();
    assert_eq!(pi.dma_limit(), Some(PhysAddr::new(0x3fff_ffff)));
    let console = pi.console().unwrap();
    assert!(console.is("brcm,bcm2835-aux-uart"));
    assert_eq!(console.registers.start(), PhysAddr::new(0xfe21_5040));
    let gic = pi.interrupt_controller().unwrap();
    assert_eq!(gic.gic, Gic::V2);
    assert_eq!(gic.reg(0).unwrap().base, PhysAddr::new(0xff84_1000));
    assert_eq!(gic.reg(1).unwrap().base, PhysAddr::new(0xff84_2000));
    // PPI 14 is the non-secure physical timer, 11 the virtual one.
    let timer = pi.timer().unwrap();
    let id = |name| timer.interrupt(name).and_then(|specifier| specifier.gic_id());
    assert_eq!((id("phys"), id("virt"), id("hyp-virt")), (Some(30), Some(27), None));
    assert!(pi.psci().is_none());

    let blob = super::corpus::sample("dtbs/qemu-virt-gicv3-512m");
    let virt = Tree::new(blob).unwrap();
    assert_eq!(virt.dma_limit(), None);
    let console = virt.console().unwrap();
    assert!(console.is("arm,pl011"));
    assert_eq!(console.registers.start(), PhysAddr::new(0x900_0000));
    let gic = virt.interrupt_controller().unwrap();
    assert_eq!(gic.gic, Gic::V3);
    assert_eq!(gic.reg(0).unwrap().base, PhysAddr::new(0x800_0000));
    assert_eq!(virt.timer().unwrap().interrupt("phys").unwrap().gic_id(), Some(30));
    assert_eq!(gic.redistributors().count(), 1);
    let psci = virt.psci().unwrap();
    assert_eq!((psci.method(), psci.cpu_on()), (Some(PsciMethod::Hvc), Some(0xc400_0003)));
}

#[test]
fn structure_defects() {
    // Patches of a tree of a root with one property and one child.
    let blob = Builder::new(2, 2).nop().open("child").string("a", "b").close().nop().blob();
    let structure = 56;
    assert!(Tree::new(&blob).is_ok());
    let patched = |at: usize, word: u32| {
        let mut blob = blob.clone();
        blob[at..][..4].copy_from_slice(&word.to_be_bytes());
        Tree::new(&blob).err().map(|error| error.to_string()).unwrap_or_default()
    };
    for (at, word, message) in [
        (0, 0xfeed_d00d, "magic number 0xfeedd00d"),
        (4, 39, "total size 0x27"),
        (4, u32::MAX, "total size 0xffffffff"),
        (20, 15, "version 15"),
        (24, 18, "version 17 (compatible back to 18)"),
        (structure, 9, "the end before the root"),
        (structure, 2, "a node closed but not opened"),
        (structure, 3, "a property outside a node's head"),
        (structure + 8, 7, "an unknown token"),
        (structure + 12, u32::MAX, "a property longer than the block"),
        (structure + 16, 1000, "a property whose name lies outside"),
        // The child's end becomes nothing: the root is never closed.
        (structure + 0x48, 4, "the end inside an open node"),
    ] {
        assert!(patched(at, word).contains(message), "{at}: {} ({message})", patched(at, word));
    }
    let late = Builder::new(2, 2).open("child").close().flag("late").blob();
    assert!(Tree::new(&late).is_err());
    let two = Builder::new(2, 2).close().open("again").blob();
    assert!(Tree::new(&two).is_err());
}

#[test]
fn text_is_never_trusted() {
    assert_eq!(Text::new(b"a\x1b[2J\xffb").to_string(), "a\u{fffd}[2J\u{fffd}b");
    assert_eq!(Text::new(b"\xffb").to_str(), None);
    assert_eq!(Text::new(b"ok\xffb").valid_prefix(), "ok");
    assert_eq!(Text::new(b"").valid_prefix(), "");
    let strings = |value| Strings::new(value).map(|text| text.to_string()).collect::<Vec<_>>();
    assert_eq!(strings(b"a\0b\0"), ["a", "b"]);
    assert_eq!(strings(b"a\0b"), ["a", "b"]);
    assert_eq!(strings(b"\0a\0"), ["", "a"]);
    assert_eq!(strings(b""), [""; 0]);
}

#[test]
fn numbers_of_any_length() {
    let blob = Builder::new(2, 2)
        .bytes("three", &[1, 2, 3])
        .cells("one", &[5])
        .cells("two", &[1, 2])
        .cells("wide", &[0, 0, 1, 2])
        .cells("too-wide", &[1, 0, 0])
        .flag("none")
        .blob();
    let root = Tree::new(&blob).unwrap().root();
    let numbers = ["three", "one", "two", "wide", "too-wide", "none", "absent"];
    let expected = [None, Some(5), Some(1 << 32 | 2), Some(1 << 32 | 2), None, None, None];
    assert_eq!(numbers.map(|name| root.number(name)), expected);
}

#[test]
fn children_and_walks_see_every_node_once() {
    let mut builder = Builder::new(2, 2);
    for _ in 0..200 {
        builder = builder.open("down").nop();
    }
    for _ in 0..199 {
        builder = builder.close().open("side").close();
    }
    let blob = builder.close().blob();
    let tree = Tree::new(&blob).unwrap();
    assert_eq!(tree.walk().count(), 400);
    assert_eq!(tree.root().children().count(), 1);
    assert_eq!(tree.root().child("down").unwrap().children().count(), 2);
    let mut walk = tree.walk();
    assert_eq!((walk.next().unwrap(), walk.depth()), (tree.root(), 1));
    walk.next();
    walk.skip_children();
    assert_eq!((walk.next(), walk.depth()), (None, 0));
    // Lineages end at a depth, walks do not.
    let mut lineages = tree.lineages();
    let mut seen = 0;
    while lineages.next().is_some() {
        seen += 1;
    }
    assert!(seen > 20 && seen < 100, "{seen}");
}

#[test]
fn the_console_s_interrupt_is_the_gic_s_or_none() {
    for (name, id, has_watchdog) in [
        ("qemu-virt-default", Some(32 + 1), false),
        ("qemu-virt-gicv3-512m", Some(32 + 1), false),
        ("broadcom-bcm2711-rpi-4-b", Some(32 + 93), true),
        // Its controller for devices is another.
        ("broadcom-bcm2837-rpi-3-b", None, true),
    ] {
        let tree = Tree::new(super::corpus::sample(&std::format!("dtbs/{name}"))).unwrap();
        assert_eq!(tree.console_interrupt_id(), id, "{name}");
        let watchdog = tree.bcm2835_pm().map(|pm| pm.start().get() & 0x00ff_ffff);
        assert_eq!(watchdog, has_watchdog.then_some(0x10_0000), "{name}");
    }
}

#[test]
fn a_pool_that_may_not_be_mapped_is_no_cma_area() {
    let pool = |builder: Builder, name: &str| {
        let builder = builder.open(name).string("compatible", "shared-dma-pool").flag("reusable");
        builder.longs("reg", &[0x4000_0000, 0x40_0000])
    };
    let builder = Builder::new(2, 2).open("reserved-memory").cells("#address-cells", &[2]);
    let builder = pool(builder.cells("#size-cells", &[2]).flag("ranges"), "cma@40000000").close();
    let blob = pool(builder, "secret@40000000").flag("no-map").close().close().blob();
    let reserved = Tree::new(&blob).unwrap().reserved_memory().unwrap();
    let is_cma: Vec<_> = reserved.regions().map(|region| region.is_cma()).collect();
    assert_eq!(is_cma, [true, false]);
}

#[test]
fn reserved_memory_of_other_cells_than_the_root_is_not_read() {
    let supported = |address, size, ranges: bool| {
        let builder = Builder::new(2, 2).open("reserved-memory");
        let builder = builder.cells("#address-cells", &[address]).cells("#size-cells", &[size]);
        let builder = if ranges { builder.flag("ranges") } else { builder };
        let blob = builder.close().blob();
        Tree::new(&blob).unwrap().reserved_memory().unwrap().is_supported()
    };
    assert!(supported(2, 2, true) && !supported(2, 2, false));
    assert!(!supported(1, 2, true) && !supported(2, 1, true) && !supported(1, 1, true));
}

#[test]
fn a_misaligned_structure_block_is_told() {
    let mut blob = Builder::new(2, 2).blob();
    // Padding in front of the block, and its offset two bytes further.
    let structure = u32::from_be_bytes([blob[8], blob[9], blob[10], blob[11]]) as usize;
    blob.splice(structure..structure, [0, 0]);
    for field in [1, 2, 3] {
        let at = 4 * field;
        let word = u32::from_be_bytes([blob[at], blob[at + 1], blob[at + 2], blob[at + 3]]) + 2;
        blob[at..at + 4].copy_from_slice(&word.to_be_bytes());
    }
    assert_eq!(Tree::new(&blob).err(), Some(FdtError::Unaligned(structure + 2)));
}
