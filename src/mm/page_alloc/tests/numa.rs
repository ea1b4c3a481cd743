//! Nodes without memory of their own.

use super::*;
use crate::mm::mmzone::NodeData;
use crate::mm::sparse;
use crate::mm::vmstat::{NodeStat, mod_node_page_state, node_page_state};
use crate::mm::{compaction, vmscan};

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

#[test]
fn each_node_with_memory_has_its_own_counters_and_requests() {
    let ranges = [ram(0x4000_0000, 16 * MIB), ram(0x4100_0000, 16 * MIB)];
    Machine::run(&ranges, |_| {
        let [none, far] = [1, 2].map(|n| NodeId::new(n).unwrap());
        let [low, high] = ranges.map(|range| range.whole_pages());
        sections::start(ZoneLimits::default(), &[(0, low), (2, high)], &[low, high]).unwrap();
        setup_watermarks();
        let state = |node| node_page_state(node, NodeStat::PageTable);
        for (range, n) in [(low, 3), (high, 5)] {
            mod_node_page_state(Frame::new(range.start()).unwrap(), NodeStat::PageTable, n);
        }
        let nodes = [None, Some(NodeId::FIRST), Some(none), Some(far)];
        assert_eq!(nodes.map(state), [8, 3, 0, 5]);
        let requested = || {
            [NodeId::FIRST, none, far]
                .map(|node| NodeData::of(node).map(|node| node.kswapd.is_requested()))
        };
        assert_eq!(requested(), [Some(false), None, Some(false)]);
        let gfp = KERNEL | Gfp::__GFP_THISNODE | Gfp::__GFP_NOWARN;
        while alloc_pages_node(far, gfp, Order::ZERO).is_some() {}
        vmscan::wakeup_kswapd(none, KERNEL, Order::ZERO, ZoneType::Movable);
        assert_eq!(requested(), [Some(false), None, Some(true)]);
        check_sums();
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
