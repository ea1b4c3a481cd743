//! Sections whose descriptors are made of pages of other sections, since their own memory is reserved.

use super::sections::start;
use super::*;
use crate::mm::mmzone::{MAX_NUMNODES, ZoneLimits};
use crate::mm::sparse::{Section, populated_blocks};

#[test]
fn a_section_without_free_memory_borrows_its_descriptors() {
    let ranges = [ram(0x4000_0000, 16 * MIB), ram(0x4800_0000, 16 * MIB)];
    Machine::run(&ranges, |_| {
        let [a, b] = ranges.map(|r| r.whole_pages());
        start(ZoneLimits::default(), &[(0, a), (0, b)], &[a]).unwrap();
        assert!(Frame::new(b.start()).is_none());
        let before = zones().next().unwrap();
        // SAFETY: nobody uses it.
        assert_eq!(unsafe { free_reserved_area(b) }, b.len());
        check_sums();
        let after = zones().next().unwrap();
        assert_eq!(after.managed, before.managed + b.len() - 32);
        assert_eq!(after.used(), before.used());
    });
}

/// The free lists are empty, and another section has free memory and is not up yet: it comes up,
/// and lends the pages. Where it holds movable memory alone, it does not.
#[test]
fn pages_for_descriptors_bring_another_section_up() {
    if cfg!(miri) {
        return;
    }
    let mut ranges =
        [0x4000_0000, 0x4800_0000, 0x5000_0000, 0x5800_0000].map(|at| ram(at, 4 * MIB));
    ranges[3] = ram(0x5800_0000, 128 * MIB);
    let taken = 256;
    for movable in [Pfn::LIMIT, Pfn::new(0x4_8000)] {
        Machine::run(&ranges, |_| {
            let [a, b, c, reserved] = ranges.map(|range| range.whole_pages());
            let limits = ZoneLimits { movable: [movable; MAX_NUMNODES], ..ZoneLimits::default() };
            start(limits, &[(0, a), (0, b), (0, c), (0, reserved)], &[a, b, c]).unwrap();
            let zone = || zones().next().unwrap();
            // Each kind from a pageblock of its own: one that took the other's would rather bring
            // a section up. Movable memory of another zone is no help here.
            let other = if movable == Pfn::LIMIT { MOVABLE } else { KERNEL };
            while zone().free() - zone().deferred >= taken {
                let in_first = zone().free() - zone().deferred > 512;
                alloc_pages(if in_first { KERNEL } else { other }, Order::ZERO).unwrap();
            }
            let is_up = |range: PfnRange| populated_blocks(Section::of(range.start())) != 0;
            assert_eq!([b, c].map(is_up), [false; 2]);
            let (managed, used) = (zone().managed, zone().used());
            // SAFETY: nobody uses it.
            let given = unsafe { free_reserved_area(reserved) };
            check_sums();
            let ups = [b, c, reserved].map(is_up);
            if movable == Pfn::LIMIT {
                assert_eq!((given, ups), (reserved.len(), [true, false, true]));
                assert_eq!(zone().managed, managed + reserved.len() - taken);
            } else {
                assert_eq!((given, ups, zone().managed), (0, [false; 3], managed));
            }
            assert_eq!(zone().used(), used);
        });
    }
}

/// RAM on a node without zones is refused: it would be counted as another's.
#[test]
fn each_node_has_zones() {
    on(&[ram(0x4000_0000, 16 * MIB)], |_| {
        let [first, third] = [0, 2].map(|node| NodeId::new(node).unwrap());
        assert_eq!(node_data::check([first].into_iter()), Ok(()));
        let error = node_data::check([first, third].into_iter());
        assert_eq!(error, Err(InitError::NoZones(third)));
        assert_eq!(format!("{}", error.unwrap_err()), "node 2 has RAM and no zones");
    });
}
