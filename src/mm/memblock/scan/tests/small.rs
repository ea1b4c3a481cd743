//! RAM, limits, zones, the command line, refusals.

use super::*;
use crate::addr::Pfn;
use crate::mm::memblock::Kind;
use crate::mm::mmzone::NodeId;

const GIB: u64 = 1 << 30;
const MIB: u64 = 1 << 20;

#[test]
fn plain_ram() {
    let scanned = scan(virt().blob(), "");
    assert_eq!(scanned.memory(), [(GIB, 2 * GIB)]);
    let zones = scanned.info().zones;
    assert_eq!(zones.start, Pfn::new(0x40000));
    assert_eq!((zones.dma, zones.dma32, zones.normal), (Pfn::new(0x80000), zones.dma, zones.dma));
    assert_eq!(scanned.reserved().len(), 2, "image and tree");
    assert!(scanned.messages.is_empty(), "{:?}", scanned.messages);
}

#[test]
fn edges_are_cut_to_pages_and_crumbs_are_dropped() {
    let ram = [GIB + 1, GIB, 4 * GIB + 10, 4000, 5 * GIB, 4095, 6 * GIB, 4096];
    let scanned = scan(virt().memory("memory@1", &ram).blob(), "");
    assert_eq!(scanned.memory(), [(GIB, 2 * GIB), (6 * GIB, 6 * GIB + 4096)]);
    assert_eq!(scanned.messages.iter().filter(|line| line.contains("no whole page")).count(), 2);
}

#[test]
fn what_frame_numbers_do_not_reach_is_left_out() {
    let limit = Pfn::LIMIT.phys().get();
    let ram = [limit - GIB, 2 * GIB, 1 << 50, GIB, u64::MAX - GIB, 2 * GIB];
    let scanned = scan(virt().memory("memory@1", &ram).blob(), "");
    assert_eq!(scanned.memory(), [(GIB, 2 * GIB), (limit - GIB, limit)]);
    assert!(scanned.warned("cut: it goes beyond 16 TiB"));
    assert!(scanned.warned("0x4000000000000+0x40000000 ignored"));
}

#[test]
fn nodes_and_hotpluggable_memory() {
    let blob = Builder::new(2, 2)
        .open("memory@1")
        .string("device_type", "memory")
        .longs("reg", &[GIB, GIB])
        .cells("numa-node-id", &[1])
        .close()
        .open("memory@2")
        .string("device_type", "memory")
        .longs("reg", &[2 * GIB, GIB])
        .cells("numa-node-id", &[99])
        .flag("hotpluggable")
        .close()
        .open("memory@3")
        .string("device_type", "memory")
        .string("status", "disabled")
        .longs("reg", &[3 * GIB, GIB])
        .close()
        .blob();
    let scanned = scan(blob, "");
    let [one, two] = scanned.memblock.memory() else { panic!("{:?}", scanned.memory()) };
    assert_eq!((one.nid, one.is_hotpluggable()), (NodeId::new(1), false));
    assert_eq!((two.nid, two.is_hotpluggable()), (None, true));
    assert!(scanned.warned("NUMA node 99"));
}

#[test]
fn no_ram_and_no_free_ram_are_refused() {
    let none = scan(Builder::new(2, 2).blob(), "");
    assert_eq!(none.info.err(), Some(ScanError::NoRam));
    let zero = scan(Builder::new(2, 2).memory("memory", &[GIB, 0]).blob(), "");
    assert_eq!(zero.info.err(), Some(ScanError::NoRam));
    let taken = scan(virt().reserve(0, u64::MAX).blob(), "");
    assert_eq!(taken.info.err(), Some(ScanError::AllReserved));
    let crumbs = scan(virt().reserve(0, GIB + 2048).reserve(GIB + 4095, 8 * GIB).blob(), "");
    assert_eq!(crumbs.info.err(), Some(ScanError::AllReserved));
    // The image and the tree are RAM all the same.
    let elsewhere = virt().longs_in_chosen("linux,usable-memory-range", &[8 * GIB, GIB]);
    assert_eq!(scan(elsewhere.blob(), "").info.err(), Some(ScanError::AllReserved));
}

impl Builder {
    fn longs_in_chosen(self, name: &str, numbers: &[u64]) -> Self {
        self.open("chosen").longs(name, numbers).close()
    }
}

/// Scans a tree with neither the image nor the tree in RAM.
fn scan_with_image_elsewhere(blob: Vec<u8>) -> Scanned {
    let tree = Tree::new(Box::leak(blob.into_boxed_slice())).unwrap();
    let (image, dtb) = (range(0, MIB), range(MIB, 4096));
    let command_line = CommandLine::new("");
    scan_handover(Handover { tree, dtb, image, command_line, reach: REACH }, None)
}

#[test]
fn usable_memory_range_cuts() {
    let usable = [GIB + 512 * MIB, 256 * MIB, GIB, 64 * MIB, 0, 0, GIB + 32 * MIB, 64 * MIB];
    let blob = virt().longs_in_chosen("linux,usable-memory-range", &usable).blob();
    let parts = [(GIB, GIB + 96 * MIB), (GIB + 512 * MIB, GIB + 768 * MIB)];
    assert_eq!(scan(blob, "").memory(), parts);
    // Whole pages of them.
    let usable = [GIB + 1, 3 * 4096, GIB + MIB, 4095];
    let blob = virt().longs_in_chosen("linux,usable-memory-range", &usable).blob();
    assert_eq!(scan_with_image_elsewhere(blob).memory(), [(GIB + 4096, GIB + 3 * 4096)]);
    let blob = virt().longs_in_chosen("linux,usable-memory-range", &[]).blob();
    let scanned = scan(blob, "");
    assert_eq!(scanned.memory(), [(GIB, 2 * GIB)]);
    assert!(scanned.warned("usable-memory-range"));
}

#[test]
fn mem_keeps_the_image_the_tree_and_the_initrd() {
    let high = virt().longs_in_chosen("linux,initrd-start", &[]).blob();
    assert!(scan(high, "").warned("initrd ignored"));
    let initrd = |start: u64, end: u64| {
        let chosen = virt().open("chosen").longs("linux,initrd-start", &[start]);
        chosen.longs("linux,initrd-end", &[end]).close().blob()
    };
    let scanned = scan(initrd(GIB + 700 * MIB + 5, GIB + 701 * MIB), "mem=64M");
    let low = (GIB, GIB + 64 * MIB);
    assert_eq!(scanned.memory(), [low, (GIB + 700 * MIB, GIB + 701 * MIB)]);
    assert_eq!(ends(scanned.info().initrd.unwrap()), (GIB + 700 * MIB + 5, GIB + 701 * MIB));
    assert_eq!(scanned.info().zones.normal, Pfn::new(((GIB + 701 * MIB) >> 12) as u32));

    let blob: &'static [u8] = Box::leak(virt().blob().into_boxed_slice());
    let tree = Tree::new(blob).unwrap();
    let handover = Handover {
        tree,
        image: range(GIB + 900 * MIB, MIB),
        dtb: range(GIB + 100 * MIB, 4096),
        command_line: CommandLine::new("mem=10000001"),
        reach: REACH,
    };
    let scanned = scan_handover(handover, None);
    let parts = [
        (GIB, GIB + (10_000_001 & !4095)),
        (GIB + 100 * MIB, GIB + 100 * MIB + 4096),
        (GIB + 900 * MIB, GIB + 901 * MIB),
    ];
    assert_eq!(scanned.memory(), parts);
    assert!(scan(virt().blob(), "mem=nonsense").warned("mem=\"nonsense\" ignored"));
    assert_eq!(scan(virt().blob(), "mem=2G").memory(), [(GIB, 2 * GIB)]);
    assert!(scan(virt().blob(), "mem=1").info.is_err(), "nothing but the image");
}

#[test]
fn initrds_that_are_not_sane_are_ignored() {
    let with = |start: &[u32], end: &[u32]| {
        let chosen = virt().open("chosen").cells("linux,initrd-start", start);
        scan(chosen.cells("linux,initrd-end", end).close().blob(), "")
    };
    // One cell or two.
    let good = with(&[0x5000_0000], &[0, 0x5010_0000]);
    assert_eq!(good.info().initrd.map(ends), Some((0x5000_0000, 0x5010_0000)));
    assert!(!good.is_free(range(0x5000_0000, MIB)));
    for (start, end, why) in [
        (&[0x5000_0000][..], &[0x4fff_0000][..], "below its start"),
        (&[0x1000_0000], &[0x1001_0000], "not in RAM"),
        (&[0x7fff_f000], &[0x8000_1000], "not in RAM"),
        (&[0x4000_0000], &[0x5000_0000], "overlaps the kernel image"),
        (&[1, 0, 0], &[0x5000_0000], "missing or unreadable"),
        (&[], &[0x5000_0000], "missing or unreadable"),
    ] {
        let scanned = with(start, end);
        assert!(scanned.info().initrd.is_none() && scanned.warned(why), "{why}");
        assert!(scanned.is_free(range(0x5000_0000, 4096)));
    }
    // No initrd at all, as some boot loaders say it: that is no defect.
    let empty = with(&[0], &[0]);
    assert!(empty.info().initrd.is_none() && empty.messages.is_empty());
}

#[test]
fn zones_follow_dma_ranges_and_four_gib() {
    let zones = |ram: &[u64], dma_ranges: Option<&[u32]>| {
        let mut builder = Builder::new(2, 2).memory("memory", ram);
        if let Some(ranges) = dma_ranges {
            builder = builder.open("soc").cells("#address-cells", &[1]);
            builder = builder.cells("#size-cells", &[1]).cells("dma-ranges", ranges).close();
        }
        let zones = scan(builder.blob(), "").info().zones;
        [zones.start, zones.dma, zones.dma32, zones.normal].map(|pfn| pfn.phys().get() / GIB)
    };
    let one_gib: &[u32] = &[0xc000_0000, 0, 0, 0x4000_0000];
    assert_eq!(zones(&[0, 8 * GIB], None), [0, 4, 4, 8]);
    assert_eq!(zones(&[0, 8 * GIB], Some(one_gib)), [0, 1, 4, 8]);
    assert_eq!(zones(&[0, 2 * GIB], Some(one_gib)), [0, 1, 2, 2]);
    // RAM above 4 GiB only: nothing is below, so there is nothing to keep for devices.
    assert_eq!(zones(&[8 * GIB, 8 * GIB], None), [8, 16, 16, 16]);
    // A limit below all RAM leaves ZONE_DMA empty.
    assert_eq!(zones(&[2 * GIB, 6 * GIB], Some(one_gib)), [2, 2, 4, 8]);
}

#[test]
fn many_ranges_need_larger_arrays() {
    // Every other MiB of RAM; the first hundred are reserved, and so is more than the
    // array of reservations holds.
    let mut reg = Vec::new();
    let mut builder = Builder::new(2, 2);
    for n in 0..300 {
        reg.extend([GIB + 2 * n * MIB, MIB]);
        builder = builder.reserve(GIB + 2 * n * MIB + 4096, if n < 100 { 2 * MIB } else { 8192 });
    }
    let blob = builder.memory("memory", &reg).blob();
    let scanned = scan(blob.clone(), "memmap=4K$0x4d000000");
    scanned.info();
    assert_eq!(scanned.memory().len(), 300);
    assert_eq!(scanned.memblock.phys_mem_size(), 300 * MIB);
    assert_eq!(scanned.memblock.arrays().count(), 2);
    for array in scanned.memblock.arrays() {
        assert!(scanned.memblock.is_region_memory(array));
        let tree = Tree::new(&blob).unwrap();
        assert!(tree.reservations().all(|reg| !reg.range().overlaps(array)), "{array:?}");
    }
    assert!(scanned.memblock.capacity(Kind::Memory) >= 600);
    let refused = scan_with(blob, "", None).info.err();
    assert_eq!(refused, Some(ScanError::Memblock(MemblockError::Full)));
}

/// A place that the top of the address space would cut is none, whatever lies there.
#[test]
fn no_array_goes_to_the_top_of_the_address_space() {
    let mut builder = Builder::new(2, 2).open("memory@ffffffffffffffff");
    builder = builder.string("device_type", "memory").string("status", "disabled");
    builder = builder.longs("reg", &[u64::MAX, 1]).close();
    let reg: Vec<u64> = (0..300).flat_map(|n| [GIB + 2 * n * MIB, MIB]).collect();
    let scanned = scan(builder.memory("memory", &reg).blob(), "");
    assert_eq!(scanned.memory().len(), 300);
    for array in scanned.memblock.arrays() {
        assert!(scanned.memblock.is_region_memory(array), "{array:?}");
    }
}

#[test]
fn a_hook_that_fails_is_no_worse_than_none() {
    let refuse: Grow = |_| None;
    let mut reg = Vec::new();
    for n in 0..100 {
        reg.extend([GIB + 2 * n * MIB, MIB]);
    }
    // The estimate wants more than the array holds; in truth it holds enough.
    let scanned = scan_with(Builder::new(2, 2).memory("memory", &reg).blob(), "", Some(refuse));
    assert_eq!(scanned.memory().len(), 100);
    assert!(scanned.info.is_ok() && scanned.warned("cannot reach"));
}

#[test]
fn trees_with_absurdly_many_entries_are_refused() {
    let mut builder = virt();
    for n in 1..=4097 {
        builder = builder.reserve(n, 1);
    }
    let error = scan(builder.blob(), "").info.err();
    let expected =
        ScanError::TooManyEntries { what: "entries of the reservation map", count: 4097 };
    assert_eq!(error, Some(expected));
    assert!(format!("{expected}").contains("4097 entries of the reservation map"));
    let error = ScanError::Memblock(MemblockError::Full);
    assert!(!format!("{error}{}", ScanError::NoRam).contains('\n'));
}

/// Entries of 1 MiB, one in every 2 MiB, in the order of `of`.
fn scattered(of: impl Iterator<Item = u64>) -> Vec<u8> {
    let reg: Vec<u64> = of.flat_map(|n| [GIB + 2 * n * MIB, MIB]).collect();
    Builder::new(2, 2).memory("memory", &reg).blob()
}

#[test]
#[cfg_attr(miri, ignore)]
fn all_entries_of_ram_count() {
    let rising = scan_large(scattered(0..3000), "", grow);
    let all: Vec<_> = (0..3000).map(|n| ends(range(GIB + 2 * n * MIB, MIB))).collect();
    assert_eq!(rising.memory(), all);
    assert!(!rising.warned("left out") && !rising.warned("no room"), "{:?}", rising.messages);
    // In whatever order: the image lies in the first.
    assert_eq!(scan_large(scattered((0..3000).map(|n| n * 7 % 3000)), "", grow).memory(), all);
    assert_eq!(scan_large(scattered((0..3000).rev()), "", grow).memory(), all);
    // With as many reservations, some of them cut out of the map.
    let mut builder = Builder::new(2, 2);
    for n in 1..3000 {
        builder = builder.reserve(GIB + 2 * n * MIB + 4096, 4096);
    }
    let reg: Vec<u64> = (0..3000).flat_map(|n| [GIB + 2 * n * MIB, MIB]).collect();
    let both = scan_large(builder.memory("memory", &reg).blob(), "", grow);
    assert_eq!(both.memory(), all);
    assert!(both.info.is_ok() && both.reserved().len() >= 2999);
    // Those that touch are one region, however many.
    let reg: Vec<u64> = (0..100_000).flat_map(|n| [GIB + n * MIB, MIB]).collect();
    let touching = scan_large(Builder::new(2, 2).memory("memory", &reg).blob(), "", grow);
    assert_eq!(touching.memory(), [(GIB, GIB + 100_000 * MIB)]);
}

#[test]
#[cfg_attr(miri, ignore)]
fn ram_that_cannot_be_noted_is_left_out() {
    // Too many: the first count, and there is room for what is cut off them.
    let refuse: Grow = |_| None;
    let many = scan_large(scattered(0..20_000), "mem=1G memmap=4K$0x50000000", grow);
    many.info();
    let many = scan_large(scattered(0..20_000), "", grow);
    many.info();
    assert!(many.memory().len() > 8000, "{}", many.memory().len());
    assert!(many.warned("entries of RAM, ") && many.warned("are left out: "));
    // No larger array can be had.
    let few = scan_large(scattered(0..3000), "", refuse);
    few.info();
    assert!(few.memory().len() > 64 && few.warned("are left out: "));
    // It can, but is small: RAM lies in small pieces.
    let reg: Vec<u64> = (0..3000).flat_map(|n| [GIB + n * MIB, 128 << 10]).collect();
    let blob = Builder::new(2, 2).memory("memory", &reg).memory("memory", &[8 * GIB, MIB]);
    let pieces = scan_large(blob.blob(), "", grow);
    pieces.info();
    assert!(pieces.memory().len() > 1000, "{}", pieces.memory().len());
}

#[test]
fn a_limit_that_leaves_nothing_is_what_is_blamed() {
    for line in ["mem=1", "mem=4095", "mem=0x7ff"] {
        let error = scan(virt().blob(), line).info.err();
        let Some(ScanError::Limited(limit)) = error else { panic!("{line}: {error:?}") };
        assert_eq!(limit.of, GIB);
        let text = format!("{}", ScanError::Limited(limit));
        assert!(text.contains("mem=: ") && !text.contains("device tree"), "{text}");
    }
    // Where it leaves enough it is noted.
    let limited = scan(virt().blob(), "mem=512M");
    assert_eq!(limited.info().mem_limit, Some(MemLimit { bytes: GIB / 2, of: GIB }));
    assert_eq!(scan(virt().blob(), "mem=2G").info().mem_limit, None);
    assert_eq!(scan(Builder::new(2, 2).blob(), "mem=1").info.err(), Some(ScanError::NoRam));
}

#[test]
fn an_image_outside_ram_is_reported() {
    let blob: &'static [u8] = Box::leak(virt().blob().into_boxed_slice());
    let tree = Tree::new(blob).unwrap();
    let (_, dtb) = placed(&tree);
    let command_line = CommandLine::new("");
    let handover = Handover { tree, dtb, image: range(0, MIB), command_line, reach: REACH };
    let scanned = scan_handover(handover, None);
    assert!(scanned.info.is_ok() && scanned.warned("the kernel image"));
}

#[test]
fn what_the_cpu_does_not_reach_is_left_out_before_anything_is_placed() {
    let line = "cma=64M@0x10000000000-0x18000000000";
    let blob = virt().memory("memory@10000000000", &[1 << 40, GIB]).blob();
    let blob: &'static [u8] = Box::leak(blob.into_boxed_slice());
    let tree = Tree::new(blob).unwrap();
    let (image, dtb) = placed(&tree);
    let command_line = CommandLine::new(line);
    let handover = Handover { tree, dtb, image, command_line, reach: PhysAddr::new(1 << 40) };
    let scanned = scan_handover(handover, Some(grow));
    assert_eq!(scanned.memory(), [(GIB, 2 * GIB)]);
    assert_eq!(scanned.info().zones.normal, Pfn::new(2 << 18));
    assert!(scanned.warned("out of this CPU's reach") && scanned.warned("cma=: no 64 MiB"));
}
