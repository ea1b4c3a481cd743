//! Small trees, a board's, and all that there are.

use super::*;
use crate::firmware::fdt::tests::corpus::{bad, good, sample};
use crate::mm::memblock::{Memblock, RegionFlags};
use proptest::prelude::*;
use std::string::{String, ToString};

fn range(start: u64, end: u64) -> PhysRange {
    PhysRange::new(PhysAddr::new(start), PhysAddr::new(end))
}

fn name(text: &'static str) -> Text<'static> {
    Text::new(text.as_bytes())
}

fn shown(resources: &Resources) -> String {
    IoMem(resources.as_slice()).to_string()
}

/// Sorted, and none crosses another.
fn check(resources: &Resources) {
    let all = resources.as_slice();
    assert!(all.is_sorted_by_key(|r| (r.range.start(), Reverse(r.range.end()))));
    for (n, a) in all.iter().enumerate() {
        for b in &all[n + 1..] {
            let apart = !a.range.overlaps(b.range);
            assert!(apart || a.range.contains_range(b.range), "{a:?} crosses {b:?}");
        }
    }
}

#[test]
fn iomem_reads_as_in_linux() {
    let mut memblock = Memblock::new();
    memblock.add(range(0x4000_0000, 0x1_0000_0000)).unwrap();
    memblock.mark_nomap(range(0x5000_0000, 0x5010_0000)).unwrap();
    memblock.reserve(range(0x4020_0000, 0x4060_0000)).unwrap();
    memblock.reserve(range(0x4ff0_0000, 0x5020_0000)).unwrap();
    memblock.reserve(range(0xffff_f000, 0x1_0000_2000)).unwrap();
    let image = [
        (range(0x4020_0000, 0x4030_0000), "Kernel code"),
        (range(0x4034_0000, 0x4050_0000), "Kernel data"),
    ];
    let mut resources = Resources::new();
    resources.add_memory(memblock.memory(), memblock.reserved(), &image).unwrap();
    resources.insert(range(0x900_0000, 0x900_1000), name("pl011@9000000")).unwrap();
    resources.insert(range(0x80_0000_0000, 0x80_4000_0000), name("pcie")).unwrap();
    check(&resources);
    assert_eq!(
        shown(&resources),
        "\
09000000-09000fff : pl011@9000000
40000000-4fffffff : System RAM
  40200000-402fffff : Kernel code
  40300000-4033ffff : reserved
  40340000-404fffff : Kernel data
  40500000-405fffff : reserved
  4ff00000-4fffffff : reserved
50000000-500fffff : reserved
50100000-ffffffff : System RAM
  50100000-501fffff : reserved
  fffff000-ffffffff : reserved
8000000000-803fffffff : pcie
"
    );
}

#[test]
fn a_resource_goes_where_it_belongs() {
    let mut resources = Resources::new();
    let mut insert = |start, end, text| resources.insert(range(start, end), name(text));
    insert(0x100, 0x200, "child").unwrap();
    insert(0x100, 0x300, "parent").unwrap();
    insert(0x100, 0x300, "same").unwrap();
    insert(0x0, 0x1000, "root").unwrap();
    insert(0x180, 0x1a0, "grandchild").unwrap();
    insert(0x300, 0x400, "brother").unwrap();
    assert_eq!(insert(0x180, 0x210, "crossing"), Err(ResourceError::Busy));
    assert_eq!(insert(0xf00, 0x1001, "crossing"), Err(ResourceError::Busy));
    assert_eq!(insert(0x500, 0x500, "empty"), Err(ResourceError::Empty));
    check(&resources);
    assert_eq!(
        shown(&resources),
        "\
00000000-00000fff : root
  00000100-000002ff : parent
    00000100-000002ff : same
      00000100-000001ff : child
        00000180-0000019f : grandchild
  00000300-000003ff : brother
"
    );
}

#[test]
fn very_deep_ones_are_shown_flat() {
    let mut resources = Resources::new();
    for n in 0..20 {
        resources.insert(range(n, 0x1000 - n), name("nested")).unwrap();
    }
    let last = shown(&resources).lines().last().unwrap().to_string();
    assert_eq!(last, " ".repeat(2 * MAX_DEPTH) + "00000013-00000fec : nested");
}

#[test]
fn a_machine_s_devices_are_there() {
    let tree = Tree::new(sample("dtbs/qemu-virt-default")).unwrap();
    let mut resources = Resources::new();
    resources.add_devices(&tree).unwrap();
    check(&resources);
    let text = shown(&resources);
    for line in [
        "00000000-03ffffff : flash@0",
        "08000000-0800ffff : intc@8000000",
        "08010000-0801ffff : intc@8000000",
        "09000000-09000fff : pl011@9000000",
        "09010000-09010fff : pl031@9010000",
        "0a000000-0a0001ff : virtio_mmio@a000000",
        "0a003e00-0a003fff : virtio_mmio@a003e00",
        "4010000000-401fffffff : pcie@10000000",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    assert!(!text.contains("memory@") && !text.contains("cpu@"), "{text}");
}

#[test]
fn all_trees_have_their_devices() {
    let (mut most, mut trees) = (0, 0);
    for blob in good().into_iter().chain(bad()).map(|sample| sample.blob) {
        let Ok(tree) = Tree::new(blob) else { continue };
        let mut resources = Resources::new();
        resources.add_devices(&tree).unwrap();
        check(&resources);
        trees += 1;
        most = most.max(resources.as_slice().len());
    }
    assert!(trees > 40 && most > 100 && most <= MAX_DEVICES, "{most} of {trees} trees");
}

proptest! {
    #[test]
    fn resources_never_cross(ranges in prop::collection::vec((0u64..64, 0u64..16, any::<bool>()), 0..40)) {
        let mut resources = Resources::new();
        let ram = range(16, 48);
        resources.insert(ram, name("System RAM")).unwrap();
        for (start, len, fills) in ranges {
            let (range, before) = (range(start, start + len), resources.as_slice().len());
            if fills {
                resources.fill(ram, range, name("reserved")).unwrap();
                // Each byte of it in RAM is somebody's now.
                for at in range.intersect(ram).start().get()..range.intersect(ram).end().get() {
                    let at = PhysAddr::new(at);
                    let inner = resources.as_slice().iter().filter(|r| r.range != ram);
                    assert!(inner.into_iter().any(|r| r.range.contains(at)), "{at} is nobody's");
                }
            } else if resources.insert(range, name("device")).is_err() {
                assert_eq!(resources.as_slice().len(), before);
            }
            check(&resources);
        }
    }

    #[test]
    fn reserved_memory_is_shown_to_the_byte(regions in prop::collection::vec((0u64..64, 1u64..8), 0..12)) {
        let mut memblock = Memblock::new();
        memblock.add(range(0x1000, 0x3000)).unwrap();
        memblock.add_node(range(0x5000, 0x6000), None, RegionFlags::HOTPLUG).unwrap();
        for (start, len) in regions {
            memblock.reserve(range(start << 8, (start + len) << 8)).unwrap();
        }
        let mut resources = Resources::new();
        let image = [(range(0x1800, 0x1a00), "Kernel code")];
        resources.add_memory(memblock.memory(), memblock.reserved(), &image).unwrap();
        check(&resources);
        for at in (0..0x7000).step_by(0x80).map(PhysAddr::new) {
            let is_in = |list: &[Region]| list.iter().any(|region| region.range.contains(at));
            let of = |text: &str| {
                resources.as_slice().iter().any(|r| r.name == text && r.range.contains(at))
            };
            assert_eq!(of("System RAM"), is_in(memblock.memory()));
            let reserved = is_in(memblock.memory()) && is_in(memblock.reserved());
            assert_eq!(of("reserved"), reserved && !of("Kernel code"));
        }
    }
}
