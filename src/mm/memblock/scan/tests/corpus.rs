//! The trees in `tests/data`, as they are and mangled.

use super::*;
use crate::firmware::fdt::tests::corpus::{bad, good, pairs, sample};

/// Overlapping and touching ranges made one.
fn union(mut ranges: Vec<(u64, u64)>) -> Vec<(u64, u64)> {
    ranges.sort_unstable();
    let mut union: Vec<(u64, u64)> = Vec::new();
    for (start, end) in ranges.into_iter().filter(|(start, end)| start < end) {
        match union.last_mut() {
            Some((_, last)) if start <= *last => *last = end.max(*last),
            _ => union.push((start, end)),
        }
    }
    union
}

fn sized(list: Vec<(u64, u64)>) -> Vec<(u64, u64)> {
    union(list.into_iter().map(|(base, size)| ends(range(base, size))).collect())
}

#[test]
#[cfg_attr(miri, ignore)]
fn good_trees_give_their_ram() {
    for sample in good() {
        let scanned = scan_with(sample.blob.to_vec(), "", Some(grow));
        let ram = sample.expected["ram"].as_array().unwrap();
        let ram = serde_json::Value::from(
            ram.iter().map(|r| serde_json::json!([r[0], r[1]])).collect::<Vec<_>>(),
        );
        let ram = sized(pairs(&ram));
        match &scanned.info {
            Ok(_) => assert_eq!(union(scanned.memory()), ram, "{}", sample.name),
            Err(error) => {
                assert_eq!(*error, ScanError::NoRam, "{}", sample.name);
                assert!(ram.is_empty(), "{}", sample.name);
            }
        }
    }
}

#[test]
#[cfg_attr(miri, ignore)]
fn verdicts_and_facts_of_bad_trees() {
    for sample in bad() {
        let verdict = sample.expected["verdict"].as_str().unwrap();
        if Tree::new(sample.blob).is_err() {
            assert!(matches!(verdict, "reject" | "no-crash"), "{}", sample.name);
            continue;
        }
        let scanned = scan_with(sample.blob.to_vec(), "", Some(grow));
        match (&scanned.info, verdict) {
            (Ok(_), "accept" | "no-crash") => {}
            (Err(ScanError::NoRam), "no-ram") | (Err(_), "no-crash") => continue,
            (other, _) => panic!("{}: {verdict}, and yet {other:?}", sample.name),
        }
        let Some(facts) = sample.expected["facts"].as_object() else { continue };
        for (key, value) in facts {
            let memory = union(scanned.memory());
            let name = &sample.name;
            match &**key {
                "ram" | "ram_union" | "whole_pages" | "whole_entries" => {
                    assert_eq!(memory, sized(pairs(value)), "{name}");
                }
                "certain_ram" => {
                    for (base, size) in pairs(value) {
                        assert!(scanned.memblock.is_region_memory(range(base, size)), "{name}");
                    }
                }
                "reserved_union" => {
                    for (base, size) in pairs(value) {
                        assert!(!scanned.is_free(range(base, size)), "{name}");
                        let reserved = union(scanned.reserved());
                        let held =
                            |(start, end): &(u64, u64)| *start <= base && base + size <= *end;
                        assert!(reserved.iter().any(held), "{name}");
                    }
                }
                "ram_pieces" => assert_eq!(memory.len() as u64, value.as_u64().unwrap(), "{name}"),
                "ram_bytes" => {
                    let bytes = format!("{:#x}", scanned.memblock.phys_mem_size());
                    assert_eq!(value.as_str(), Some(&*bytes), "{name}");
                }
                other => panic!("{name}: what is {other}?"),
            }
        }
    }
}

#[test]
#[cfg_attr(miri, ignore)]
fn the_pi_has_its_cma_area_below_one_gib() {
    let blob = sample("dtbs/qemu-raspi4b-2g-filled").to_vec();
    let scanned = scan(blob.clone(), "");
    let info = scanned.info();
    assert_eq!(info.dma_limit, Some(PhysAddr::new(0x3fff_ffff)));
    assert_eq!(info.zones.normal.phys(), PhysAddr::new(0x3c00_0000));
    let [area] = &info.cma[..] else { panic!("{:?}", info.cma) };
    assert_eq!((area.range.len(), area.is_default), (64 << 20, true));
    assert_eq!(area.name, "linux,cma");
    // Page 0 holds the spin table.
    assert!(!scanned.is_free(range(0, 0x1000)));
    let by_parameter = scan(blob, "cma=32M");
    assert_eq!(by_parameter.info().cma[0].range.len(), 32 << 20);
    assert_eq!(by_parameter.info().cma.len(), 1);
}

#[test]
#[cfg_attr(miri, ignore)]
fn boards_without_ram_get_it_from_the_boot_loader() {
    // The boot loader fills the size in; here all of a plausible RAM.
    let blob = sample("dtbs/qcom-msm8929-wingtech-wt82918hd").to_vec();
    assert_eq!(scan(blob.clone(), "").info.err(), Some(ScanError::NoRam));
    let tree = Tree::new(&blob).unwrap();
    let reg = tree.memory_nodes().next().unwrap().node.property("reg").unwrap();
    let at = reg.as_ptr().addr() - blob.as_ptr().addr();
    let mut filled = blob.clone();
    filled[at..at + 16]
        .copy_from_slice(&[0x8000_0000u64, 0x4000_0000].map(u64::to_be_bytes).concat());
    let scanned = scan(filled, "");
    let info = scanned.info();
    // wcnss and mba; venus is disabled.
    let dynamic = || info.reserved.iter().filter(|region| region.is_dynamic);
    assert_eq!(dynamic().count(), 2, "{:?}", scanned.messages);
    for region in dynamic() {
        assert!(range(0x8680_0000, 0x800_0000).contains_range(region.range), "{region:?}");
        assert!(region.no_map && region.range.start().is_aligned(0x10_0000));
    }
}
