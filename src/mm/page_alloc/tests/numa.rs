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
        let (limits, mapped) = (ZoneLimits::default(), sparse::mapped_from_the_start);
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
