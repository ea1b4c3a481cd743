//! `/reserved-memory`, memmap=, CMA.

use super::*;

const GIB: u64 = 1 << 30;
const MIB: u64 = 1 << 20;

/// `/reserved-memory` of a GiB of RAM at 1 GiB, to be closed with `close`.
fn regions() -> Builder {
    let builder = virt().open("reserved-memory");
    builder.cells("#address-cells", &[2]).cells("#size-cells", &[2]).flag("ranges")
}

fn nomap(scanned: &Scanned) -> Vec<(u64, u64)> {
    let regions = scanned.memblock.memory().iter().filter(|region| region.is_nomap());
    regions.map(|region| ends(region.range)).collect()
}

fn cma(builder: Builder, name: &str) -> Builder {
    builder.open(name).string("compatible", "shared-dma-pool").flag("reusable")
}

#[test]
fn static_regions_of_all_kinds() {
    let blob = regions()
        .open("plain@50000000")
        .longs("reg", &[0x5000_0000, 0x1800])
        .close()
        .open("hidden@51000000")
        .longs("reg", &[0x5100_0800, 0x1000, 0x5200_0000, 0x1000, 0x5300_0000, 0])
        .flag("no-map")
        .close()
        .open("off@54000000")
        .longs("reg", &[0x5400_0000, 0x1000])
        .string("status", "disabled")
        .close()
        .open("memory@55000000")
        .string("device_type", "memory")
        .longs("reg", &[0x5500_0000, 0x1000])
        .close()
        .close()
        .blob();
    let scanned = scan(blob, "");
    scanned.info();
    // A page in part is a page: the linear map knows nothing smaller.
    assert_eq!(nomap(&scanned), [(0x5100_0000, 0x5100_2000), (0x5200_0000, 0x5200_1000)]);
    for at in [0x5000_0000, 0x5000_1000, 0x5100_0800, 0x5200_0000, 0x5500_0000] {
        assert!(scanned.memblock.is_reserved(PhysAddr::new(at)), "{at:#x}");
    }
    for at in [0x5000_1800, 0x5100_2000, 0x5200_1000, 0x5300_0000, 0x5400_0000] {
        assert!(scanned.is_free(range(at, 1)), "{at:#x}");
    }
    assert_eq!(scanned.memblock.phys_mem_size(), GIB);
}

#[test]
fn no_map_wins_over_reservations_but_not_over_the_kernel() {
    let blob = regions()
        .open("over-the-image@40080000")
        .longs("reg", &[0x4000_0000, 0x20_0000])
        .flag("no-map")
        .close()
        .open("firmware@50000000")
        .longs("reg", &[0x5000_0000, 0x2000])
        .flag("no-map")
        .close()
        .close()
        .reserve(0x5000_0000, 0x1000)
        .blob();
    let scanned = scan(blob, "");
    assert_eq!(nomap(&scanned), [(0x5000_0000, 0x5000_2000)]);
    assert!(scanned.warned("over-the-image@40080000: stays mapped"));
    assert!(!scanned.is_free(range(0x4000_0000, 0x20_0000)));
}

#[test]
fn odd_nodes_are_taken_by_their_own_cells() {
    let blob = virt()
        .open("reserved-memory")
        .cells("#address-cells", &[1])
        .cells("#size-cells", &[1])
        .open("x@50000000")
        .cells("reg", &[0x5000_0000, 0x1000])
        .close()
        .close()
        .blob();
    let scanned = scan(blob, "");
    assert!(!scanned.is_free(range(0x5000_0000, 0x1000)));
    assert!(scanned.warned("/reserved-memory"));
}

#[test]
fn dynamic_regions_are_placed_where_they_may_lie() {
    let blob = regions()
        .open("taken@60000000")
        .longs("reg", &[0x6000_0000, 0x10_0000])
        .close()
        .open("second-choice")
        .longs("size", &[0x20_0000])
        .longs("alignment", &[0x20_0000])
        // Too small, taken, free.
        .longs(
            "alloc-ranges",
            &[0x5000_0000, 0x1000, 0x6000_0000, 0x20_0000, 0x6100_0000, 0x50_0000],
        )
        .cells("phandle", &[7])
        .close()
        .open("hidden")
        .longs("size", &[0x1234])
        .flag("no-map")
        .longs("alloc-ranges", &[0x7000_0000, 0x10_0000])
        .close()
        .open("anywhere")
        .cells("size", &[0x1000])
        .cells("alignment", &[0x1000])
        .close()
        .close()
        .blob();
    let scanned = scan(blob, "");
    let info = scanned.info();
    let dynamic: Vec<_> = info.reserved.iter().filter(|region| region.is_dynamic).collect();
    let placed: Vec<_> =
        dynamic.iter().map(|r| (r.name.to_str().unwrap(), ends(r.range))).collect();
    assert_eq!(
        placed,
        [
            ("second-choice", (0x6120_0000, 0x6140_0000)),
            ("hidden", (0x700f_e000, 0x7010_0000)),
            ("anywhere", (0x7fff_f000, 0x8000_0000)),
        ]
    );
    assert_eq!(dynamic[0].phandle, Some(7));
    assert!(dynamic[1].no_map);
    assert_eq!(nomap(&scanned), [(0x700f_e000, 0x7010_0000)]);
    assert!(info.cma.is_empty());
}

#[test]
fn dynamic_regions_that_cannot_be_placed_fail_alone() {
    let mut builder = regions();
    for (name, size, align, ranges) in [
        ("huge", &[1 << 40][..], &[][..], &[][..]),
        ("endless", &[u64::MAX], &[], &[]),
        ("crooked", &[0x1000], &[0x3000], &[]),
        ("far", &[0x1000], &[], &[1 << 40, 0x1000]),
        ("nothing", &[0], &[], &[]),
        ("sizeless", &[], &[], &[]),
        ("nowhere", &[0x1000], &[1 << 63], &[]),
    ] {
        builder = builder.open(name);
        for (key, value) in [("size", size), ("alignment", align), ("alloc-ranges", ranges)] {
            if !value.is_empty() {
                builder = builder.longs(key, value);
            }
        }
        builder = builder.close();
    }
    let blob = builder.open("last").longs("size", &[0x1000]).close().close().blob();
    let scanned = scan(blob, "");
    assert_eq!(scanned.info().reserved.len(), 1);
    assert_eq!(scanned.messages.iter().filter(|line| line.contains("not reserved")).count(), 7);
}

#[test]
fn more_regions_than_are_remembered_are_reserved_all_the_same() {
    let mut builder = regions();
    for n in 0..MAX_RESERVED_REGIONS as u64 + 2 {
        let region = builder.open(&format!("r{n}")).longs("size", &[0x1000]);
        builder = region.longs("alloc-ranges", &[0x5000_0000 + n * 0x2000, 0x1000]).close();
    }
    let scanned = scan(builder.close().blob(), "");
    assert_eq!(scanned.info().reserved.len(), MAX_RESERVED_REGIONS);
    assert!(scanned.warned("its name is forgotten"));
    let last = MAX_RESERVED_REGIONS as u64 + 1;
    assert!(!scanned.is_free(range(0x5000_0000 + last * 0x2000, 0x1000)));
}

#[test]
fn cma_from_the_tree() {
    let builder = cma(regions(), "static@50000000").longs("reg", &[0x5000_0000, 4 * MIB]).close();
    let builder = cma(builder, "linux,cma").longs("size", &[3 * MIB]).flag("linux,cma-default");
    let builder = builder.longs("alloc-ranges", &[0, 0x6000_0000]).close();
    let builder = cma(builder, "crooked@58000000").longs("reg", &[0x5800_1000, 4 * MIB]).close();
    let builder = cma(builder, "away@90000000").longs("reg", &[0x9000_0000, 4 * MIB]).close();
    let builder = cma(builder, "twice@50000000").longs("reg", &[0x5020_0000, 4 * MIB]).close();
    let builder = cma(builder, "hidden@5a000000")
        .longs("reg", &[0x5a00_0000, 4 * MIB])
        .flag("no-map")
        .close();
    let builder = cma(builder, "shared@5c000000").longs("reg", &[0x5c00_0000, 4 * MIB]).close();
    let scanned = scan(builder.close().reserve(0x5c10_0000, 1).blob(), "");
    let areas: Vec<_> = scanned.info().cma.iter().map(|a| (ends(a.range), a.is_default)).collect();
    // static and twice overlap: neither can know what the other lends.
    assert_eq!(areas, [((0x5fc0_0000, 0x6000_0000), true)]);
    for why in ["whole pageblocks", "not in RAM", "another reservation"] {
        assert!(scanned.warned(why), "{why}");
    }
    let builder = cma(regions(), "static@50000000").longs("reg", &[0x5000_0000, 4 * MIB]).close();
    let scanned = scan(builder.close().blob(), "");
    let area = &scanned.info().cma[0];
    assert_eq!((ends(area.range), area.is_default), ((0x5000_0000, 0x5040_0000), false));
    assert_eq!(area.name, "static@50000000");
}

#[test]
fn cma_parameter_replaces_the_default_area_only() {
    let builder = cma(regions(), "default@50000000").longs("reg", &[0x5000_0000, 4 * MIB]);
    let builder = builder.flag("linux,cma-default").close();
    let builder = cma(builder, "other@58000000").longs("reg", &[0x5800_0000, 4 * MIB]).close();
    let builder = cma(builder, "moving").longs("size", &[4 * MIB]).flag("linux,cma-default");
    let blob = builder.close().close().blob();
    let areas = |line| {
        let scanned = scan(blob.clone(), line);
        let areas = scanned.info().cma.iter();
        areas.map(|a| (a.name.to_str().unwrap(), ends(a.range).0, a.is_default)).collect::<Vec<_>>()
    };
    let top = 2 * GIB - 4 * MIB;
    let default = [("default@50000000", 0x5000_0000, true), ("other@58000000", 0x5800_0000, false)];
    assert_eq!(areas("")[..2], default);
    assert_eq!(areas("")[2], ("moving", top, false));
    let other = ("other@58000000", 0x5800_0000, false);
    assert_eq!(areas("cma=3M"), [other, ("linux,cma", top, true)]);
    assert_eq!(areas("cma=0"), [other]);
    assert!(scan(blob.clone(), "cma=0").is_free(range(0x5000_0000, 4 * MIB)));
    // What cannot be read replaces nothing.
    assert_eq!(areas("cma=x")[..2], default);
    assert!(scan(blob.clone(), "cma=x").warned("cma=\"x\" ignored"));
}

#[test]
fn cma_parameter_places() {
    let place = |line: &str| {
        let scanned = scan(virt().reserve(0x5000_0000, 0x1000).blob(), line);
        let areas: Vec<_> = scanned.info().cma.iter().map(|area| ends(area.range)).collect();
        assert!(areas.len() == 1 || scanned.warned("cma="), "{line}");
        areas.first().copied()
    };
    assert_eq!(place("cma=64M@0x60000000"), Some((0x6000_0000, 0x6400_0000)));
    assert_eq!(place("cma=64M@0x60000000-0x70000000"), Some((0x6c00_0000, 0x7000_0000)));
    // Taken, crooked, outside, too large.
    for line in ["cma=64M@0x4f000000", "cma=64M@0x60001000", "cma=4M@0", "cma=4M@0-1G", "cma=2G"] {
        assert_eq!(place(line), None, "{line}");
    }
    assert_eq!(place("cma=15E"), None);
}

#[test]
fn cma_areas_do_not_span_zones() {
    // RAM on both sides of the limit at 1 GiB, free only around it.
    let builder = |size: u64| {
        let builder = Builder::new(2, 2).memory("memory", &[0, 2 * GIB]).open("soc");
        let builder = builder.cells("#address-cells", &[1]).cells("#size-cells", &[1]);
        let builder = builder.cells("dma-ranges", &[0, 0, 0, 0x4000_0000]).close();
        let builder = builder.open("reserved-memory").cells("#address-cells", &[2]);
        let builder = cma(builder.cells("#size-cells", &[2]).flag("ranges"), "pool");
        builder
            .longs("size", &[size])
            .longs("alloc-ranges", &[GIB - 4 * MIB, 16 * MIB])
            .close()
            .close()
    };
    let area = |size| {
        let scanned = scan(builder(size).blob(), "");
        scanned.info().cma.first().map(|area| ends(area.range))
    };
    assert_eq!(area(4 * MIB), Some((GIB - 4 * MIB, GIB)));
    assert_eq!(area(6 * MIB), Some((GIB + 6 * MIB, GIB + 12 * MIB)));
    assert_eq!(area(14 * MIB), None);
    // That of the command line lies in ZONE_DMA, where devices reach it.
    let scanned = scan(builder(4 * MIB).blob(), "cma=32M");
    assert_eq!(ends(scanned.info().cma[1].range), (GIB - 36 * MIB, GIB - 4 * MIB));
}

#[test]
fn memmap_reserves() {
    let scanned = scan(virt().blob(), "memmap=16M$0x50000000,4K$0x60000000 memmap=bad");
    for (start, size) in [(0x5000_0000, 16 * MIB), (0x6000_0000, 4096)] {
        assert!(!scanned.is_free(range(start, size)));
    }
    assert!(scanned.warned("memmap=\"bad\" ignored"));
}

#[test]
fn regions_are_remembered_with_what_they_are_for() {
    let pool = |b: Builder, name: &str| b.open(name).string("compatible", "shared-dma-pool");
    let builder = cma(regions(), "camera@50000000")
        .longs("reg", &[0x5000_0000, 4 * MIB])
        .cells("phandle", &[1])
        .close();
    let builder = cma(builder, "gpu").longs("size", &[8 * MIB]).cells("phandle", &[2]).close();
    let builder = pool(builder, "dsp@52000000")
        .longs("reg", &[0x5200_0000, 0x3000])
        .flag("no-map")
        .cells("phandle", &[3])
        .close();
    let builder = pool(builder, "mapped@53000000")
        .longs("reg", &[0x5300_0000, 0x1000])
        .cells("phandle", &[4])
        .close();
    let builder = cma(builder, "both@54000000")
        .longs("reg", &[0x5400_0000, 2 * MIB])
        .flag("no-map")
        .cells("phandle", &[5])
        .close();
    let builder = cma(builder, "crooked@55001000")
        .longs("reg", &[0x5500_1000, 2 * MIB])
        .cells("phandle", &[6])
        .close();
    let builder = builder
        .open("firmware@56000000")
        .longs("reg", &[0x5600_0000, 0x1000])
        .cells("phandle", &[7])
        .close()
        .open("both-moving")
        .string("compatible", "shared-dma-pool")
        .longs("size", &[2 * MIB])
        .flag("no-map")
        .flag("reusable")
        .close();
    let scanned = scan(builder.close().blob(), "");
    let found: Vec<_> = scanned
        .info()
        .reserved
        .iter()
        .map(|r| (r.phandle, r.kind, r.no_map, r.is_dynamic))
        .collect();
    use ReservedKind::{Cma, Coherent, Other, Refused};
    assert_eq!(
        found,
        [
            (Some(1), Cma, false, false),
            (Some(3), Coherent, true, false),
            (Some(4), Coherent, false, false),
            (Some(5), Refused, true, false),
            (Some(6), Refused, false, false),
            (Some(7), Other, false, false),
            (Some(2), Cma, false, true),
            (None, Refused, true, true),
        ]
    );
    for name in ["both@54000000", "both-moving"] {
        assert!(scanned.warned(&format!("{name}: reserved, but no pool: it is both")), "{name}");
    }
    assert!(scanned.warned("crooked@55001000: reserved, but no CMA area: it is not made of whole"));
    let hidden = nomap(&scanned);
    assert!(hidden.contains(&(0x5200_0000, 0x5200_3000)));
    assert!(hidden.contains(&(0x5400_0000, 0x5420_0000)));
    assert!(!hidden.iter().any(|&(start, _)| start == 0x5300_0000));
    // The areas are those of the tree that devices name, and none is for all.
    let areas: Vec<_> = scanned.info().cma.iter().map(|area| area.is_default).collect();
    assert_eq!(areas, [false, false]);
}
