//! Nodes without memory of their own.

use super::*;
use crate::mm::compaction;
use crate::mm::sparse;

#[test]
fn a_node_without_memory_asks_the_nearest_to_compact() {
    let ram = ram(0x4000_0000, 16 * MIB);
    Machine::run(&[ram], |_| {
        let [none, far, near] = [0, 1, 2].map(|n| NodeId::new(n).unwrap());
        let [low, high] = [0x4000_0000, 0x4080_0000].map(|start| frames(start, 8 * MIB));
        let present = [(far, low), (near, high)].into_iter();
        let (limits, mapped) = (ZoneLimits::default(), sparse::Populate::Mapped);
        // SAFETY: all RAM of a fresh machine.
        unsafe { free_area_init(limits, present, [low, high].into_iter(), mapped) }.unwrap();
        set_node_distances(|a, b| match (a.index(), b.index()) {
            (a, b) if a == b => 10,
            (0, 1) | (1, 0) => 40,
            _ => 20,
        });
        compaction::wakeup_kcompactd(none, Order::PAGEBLOCK);
        let asked = [none, far, near].map(compaction::kcompactd_wanted);
        assert_eq!(asked, [None, None, Some(Order::PAGEBLOCK)]);
        compaction::wakeup_kcompactd(far, Order::MAX);
        assert_eq!(compaction::kcompactd_wanted(far), Some(Order::MAX));
    });
}

/// A node's zone is asked for pages although all of its memory was reserved at boot.
#[test]
fn memory_that_is_handed_over_on_a_node_without_any_is_allocated() {
    let ranges = [ram(0x4000_0000, 16 * MIB), ram(0x4100_0000, 16 * MIB)];
    Machine::run(&ranges, |_| {
        let [low, high] = ranges.map(|range| range.whole_pages());
        let present = [(0, low), (1, high)];
        sections::start(ZoneLimits::default(), &present, &[low]).unwrap();
        let on_high = |frame: &Frame| high.contains(frame.pfn());
        assert!(!exhaust(KERNEL, Order::MAX).iter().any(on_high));
        // SAFETY: nobody uses it.
        assert_eq!(unsafe { free_reserved_area(high) }, high.len());
        setup_watermarks();
        let got = exhaust(KERNEL, Order::MAX);
        assert!(!got.is_empty() && got.iter().all(on_high), "{got:?}");
        check_sums();
    });
}
