//! Large trees that are made to take long. `scan_into` counts the steps.

use super::*;

const GIB: u64 = 1 << 30;
const MIB: u64 = 1 << 20;

/// Nodes that mean nothing and have to be walked over.
fn padding(mut builder: Builder, nodes: usize) -> Builder {
    for _ in 0..nodes {
        builder = builder.open("").close();
    }
    builder
}

/// `/reserved-memory` with a thousand regions.
fn thousand(builder: Builder, region: impl Fn(Builder, u64) -> Builder) -> Vec<u8> {
    let mut builder = builder.open("reserved-memory").flag("ranges");
    builder = builder.cells("#address-cells", &[2]).cells("#size-cells", &[2]);
    for n in 0..1000 {
        builder = padding(region(builder.open("r"), n), 100).close();
    }
    builder.close().blob()
}

fn ram(entries: impl Iterator<Item = (u64, u64)>) -> Builder {
    let reg: Vec<u64> = entries.flat_map(|(base, size)| [base, size]).collect();
    Builder::new(2, 2).memory("memory", &reg)
}

#[test]
#[cfg_attr(miri, ignore)]
fn a_place_that_is_not_there_is_not_looked_for_for_ever() {
    // All RAM is reserved, from the top down, and named a thousand times.
    let entries = ram((0..1000).map(|_| (GIB, 1000 * MIB)));
    let blob = thousand(entries, |b, n| b.longs("reg", &[GIB + (999 - n) * MIB, MIB]));
    assert_eq!(scan(blob, "").info.err(), Some(ScanError::AllReserved));
}

#[test]
#[cfg_attr(miri, ignore)]
fn a_thousand_cma_regions() {
    let pieces = || ram((0..1000).map(|n| (GIB + n * 4 * MIB, 2 * MIB)));
    let cma = |b: Builder| b.string("compatible", "shared-dma-pool").flag("reusable");
    let fixed = thousand(pieces(), |b, n| cma(b).longs("reg", &[GIB + n / 2 * 4 * MIB, 2 * MIB]));
    let scanned = scan(fixed, "kernelcore=50%");
    assert!(scanned.info().cma.is_empty(), "each lies over another");
    assert!(scanned.warned("overlaps another") && scanned.warned("too many"));
    let dynamic = thousand(pieces(), |b, _| cma(b).longs("size", &[2 * MIB]));
    assert_eq!(scan(dynamic, "").info().cma.len(), MAX_CMA_AREAS);
}

#[test]
#[cfg_attr(miri, ignore)]
fn dma_ranges_that_lead_through_one_another() {
    let mut builder = ram([(GIB, GIB)].into_iter());
    // No entry of any bus is in reach of those of the bus above, until the last.
    for level in 0..20 {
        let parent: &[u32] = if level == 0 { &[0] } else { &[] };
        let window = |n: u32| [&[n][..], parent, &[n, 1][..]].concat();
        let windows: Vec<u32> = (1..4000).rev().flat_map(|n| window(n * 4096)).collect();
        builder = builder.open("bus").cells("#address-cells", &[1]).cells("#size-cells", &[1]);
        builder = builder.cells("dma-ranges", &windows);
    }
    for _ in 0..20 {
        builder = builder.close();
    }
    let scanned = scan(builder.blob(), "");
    assert!(scanned.info().dma_limit.is_some());
}

#[test]
#[cfg_attr(miri, ignore)]
fn what_is_deep_or_long_is_walked_once() {
    let mut builder = virt();
    for _ in 0..100_000 {
        builder = builder.open("d");
    }
    for _ in 0..100_000 {
        builder = builder.close();
    }
    scan(padding(builder, 50_000).blob(), "").info();
}
