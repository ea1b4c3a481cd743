use super::*;
use std::collections::BTreeSet;

/// A table may end within the descriptors of a block, and ranges may share a block: each table is
/// counted once.
#[test]
fn tables_are_counted_once_wherever_they_end() {
    let at = |start, end| PfnRange::new(Pfn::new(start), Pfn::new(end));
    let machines = [
        [at(0x4_0000, 0x4_1000), at(0x4_67f9, 0x4_6801), at(0x4_6801, 0x4_6802)],
        [at(0x4_0000, 0x4_0001), at(0x4_0001, 0x4_0002), at(0x4_0400, 0x4_8000)],
        [at(0x4_0000, 0x4_0000), at(0x4_03ff, 0x4_0401), at(0x5_0000, 0x5_0400)],
    ];
    for (ranges, offset) in machines.iter().flat_map(|m| (0..64).map(move |n| (m, n * 32))) {
        for shift in [10, 11, 14] {
            let table = |pfn: Pfn| (pfn.get() + offset) as usize >> shift;
            let mut all = BTreeSet::new();
            for range in ranges.iter().filter(|range| !range.is_empty()) {
                let (start, end) = (range.start().align_down(Order::MAX), range.end());
                let end = end.align_up(Order::MAX);
                all.extend((start.get()..end.get()).map(|pfn| table(Pfn::new(pfn))));
            }
            let counted = nr_tables(ranges.iter().copied(), table);
            assert_eq!(counted as usize, all.len(), "{ranges:x?} {offset} {shift}");
        }
    }
}
